"""The dialects of Google's cloud: what Gemini and Claude say elsewhere, with the project and the model in the path.

Sources: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference and
https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dfllm._core.errors import OptionError
from dfllm._core.types import Messages, Terms
from dfllm._wire import anthropic
from dfllm._wire.bodies import added

GEMINI_PATH = "/publishers/google/models/{model}:generateContent"
CLAUDE_PATH = "/publishers/anthropic/models/{model}:rawPredict"
#: What is listed there are models that one has made oneself.
MODELS_PATH = ""

_VERSION = b'"anthropic_version":"vertex-2023-10-16"'


def headers(terms: Terms) -> Mapping[str, str]:
    """Return the headers of a request under these terms; the token goes as ``Authorization: Bearer``."""
    return {}


def claude_encoder(terms: Terms) -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; the version stands in place of the model.

    Raises:
        OptionError: an option has no place there.
    """
    added(terms, frozenset({"anthropic_version"}))
    if terms.service_tier is not None:
        raise OptionError("Claude on Vertex knows no service_tier; leave it out.")
    return anthropic.encoder(terms, _VERSION)
