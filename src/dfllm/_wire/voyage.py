"""Voyage's embeddings: OpenAI's shape with names of its own.

Source: the official SDK's ``api_resources`` and https://docs.voyageai.com/reference/embeddings-api.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dfllm._core.types import Terms
from dfllm._wire import openai_embeddings

TASKS = {"query": "query", "document": "document"}


def packer(terms: Terms, *, base64: bool) -> Callable[[Sequence[str]], bytes]:
    """Return the function from texts to the body of one request.

    A text that is too long is refused, not cut in silence, unless `extra` says otherwise.
    """
    task = TASKS.get(terms.task or "")
    fixed: dict[str, Any] = {"truncation": False, **({"input_type": task} if task else {})}
    return openai_embeddings.packer(terms, base64=base64, dimensions="output_dimension", fixed=fixed)
