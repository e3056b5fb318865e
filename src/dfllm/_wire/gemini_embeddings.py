"""Gemini's embeddings: batchEmbedContents of the Gemini API, where each text is a request of its own inside one.

Source: the official SDK's ``types`` and https://ai.google.dev/api/embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dfllm._core.types import Failure, Outcome, Terms
from dfllm._wire.bodies import added, failed, loosely
from dfllm._wire.openai_embeddings import vectors_of

PATH = "/v1/models/{model}:batchEmbedContents"
MODELS_PATH = "/v1/models"
TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
}

#: What `extra` must not set: the library decides these, and vectors would be lost or mixed up.
RESERVED = frozenset({"model", "content", "requests", "outputDimensionality", "output_dimensionality"})

_json = msgspec.json.Encoder().encode


def packer(terms: Terms, *, base64: bool) -> Callable[[Sequence[str]], bytes]:
    """Return the function from texts to the body of one request; `extra` goes into each text's own part."""
    asked: dict[str, Any] = {"outputDimensionality": terms.dimensions, "taskType": TASKS.get(terms.task or "")}
    rest = _json({name: value for name, value in asked.items() if value is not None} | added(terms, RESERVED))[1:-1]
    head = b'{"model":%b,"content":{"parts":[{"text":' % _json(f"models/{terms.model}")
    tail = b"}]},%b}" % rest if rest else b"}]}}"

    def body(texts: Sequence[str]) -> bytes:
        return b'{"requests":[%b]}' % b",".join([b"%b%b%b" % (head, _json(text), tail) for text in texts])

    return body


class _One(msgspec.Struct, gc=False):
    values: list[float]


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None


class _Body(msgspec.Struct, gc=False, rename="camel"):
    embeddings: list[_One] | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Body).decode


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says; the vectors stand in the order of the texts."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "a list of embeddings", usage="usageMetadata")
        if isinstance(found, Failure):
            return found
        said = found
    if not said.embeddings:
        return failed(said.error, paid=said.usage_metadata is not None, nothing="no embeddings")
    usage = said.usage_metadata or _Usage()
    return vectors_of([one.values for one in said.embeddings], tokens=usage.prompt_token_count)
