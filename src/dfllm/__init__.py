"""A prompt per row of a pandas frame; every paid answer kept, nothing paid twice."""

from __future__ import annotations

import logging

from dfllm import accessor as _accessor
from dfllm import prompts
from dfllm._core.budget import Budget
from dfllm._core.errors import (
    AccessorWarning,
    AuthFailed,
    BadRequest,
    ConnectFailed,
    DfllmError,
    DfllmWarning,
    KeyMissing,
    ModelNotFound,
    ModelWarning,
    OptionError,
    PermissionDenied,
    PromptCacheWarning,
    ProviderError,
    ProviderUnknown,
    QuotaExhausted,
    RateLimited,
    RowsFailed,
    RowsFailedWarning,
    RunStopped,
    SamplesWarning,
    StoreError,
    StoreWarning,
    TemplateError,
    TlsError,
)
from dfllm._core.plan import Plan
from dfllm._run.registering import register_provider
from dfllm._run.settings import Limits, configure, options
from dfllm._stream import Completion
from dfllm.accessor import llm
from dfllm.books import runs
from dfllm.report import Run, last_run
from dfllm.stores import Store, store

__version__ = "0.1.0"

__all__ = [
    "AccessorWarning",
    "AuthFailed",
    "BadRequest",
    "Budget",
    "Completion",
    "ConnectFailed",
    "DfllmError",
    "DfllmWarning",
    "KeyMissing",
    "Limits",
    "ModelNotFound",
    "ModelWarning",
    "OptionError",
    "PermissionDenied",
    "Plan",
    "PromptCacheWarning",
    "ProviderError",
    "ProviderUnknown",
    "QuotaExhausted",
    "RateLimited",
    "RowsFailed",
    "RowsFailedWarning",
    "Run",
    "RunStopped",
    "SamplesWarning",
    "Store",
    "StoreError",
    "StoreWarning",
    "TemplateError",
    "TlsError",
    "__version__",
    "configure",
    "last_run",
    "llm",
    "options",
    "prompts",
    "register_provider",
    "runs",
    "store",
]

logging.getLogger("dfllm").addHandler(logging.NullHandler())
_accessor.register()
