"""Warnings at the line that made the call, also where the call was awaited."""

from __future__ import annotations

import sys
import warnings

from dfllm._core.controls import visible
from dfllm._core.errors import DfllmWarning

_PASSED_OVER = ("dfllm", "asyncio")


def warn(said: str, kind: type[DfllmWarning]) -> None:
    """Give one warning, at the line that called this library; what it quotes has no control characters."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_OVER:
        level, frame = level + 1, frame.f_back
    warnings.warn(visible(said), kind, stacklevel=level)
