"""Cohere's embeddings: v2/embed.

Source: the official SDK's ``v2/client.py`` and https://docs.cohere.com/reference/embed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dfllm._core.types import Failure, Outcome, Terms
from dfllm._wire.bodies import added, failed, loosely
from dfllm._wire.openai_embeddings import vectors_of

PATH = "/v2/embed"
MODELS_PATH = "/v1/models"
TASKS = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}

#: What `extra` must not set: the library decides these, and vectors would be lost or mixed up.
RESERVED = frozenset(
    {"model", "texts", "images", "inputs", "input_type", "embedding_types", "output_dimension", "stream"}
)

_json = msgspec.json.Encoder().encode


def packer(terms: Terms, *, base64: bool) -> Callable[[Sequence[str]], bytes]:
    """Return the function from texts to the body of one request.

    A text that is too long is refused, not cut in silence, unless `extra` says otherwise.
    """
    options: dict[str, Any] = {
        "input_type": TASKS[terms.task or "document"],
        "embedding_types": ["base64" if base64 else "float"],
        "output_dimension": terms.dimensions,
        "truncate": "NONE",
    }
    asked = {name: value for name, value in options.items() if value is not None} | added(terms, RESERVED)
    head, tail = b'{"model":%b,"texts":' % _json(terms.model), b",%b}" % _json(asked)[1:-1]

    def body(texts: Sequence[str]) -> bytes:
        return b"%b%b%b" % (head, _json(list(texts)), tail)

    return body


class _Kinds(msgspec.Struct, gc=False, rename={"floats": "float"}):
    floats: list[list[float]] | None = None
    base64: list[str] | None = None


class _Units(msgspec.Struct, gc=False):
    input_tokens: float | None = None


class _Meta(msgspec.Struct, gc=False):
    billed_units: _Units | None = None


class _Body(msgspec.Struct, gc=False):
    embeddings: _Kinds | None = None
    meta: _Meta | None = None
    message: Any = None


_decode = msgspec.json.Decoder(_Body).decode


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says; the vectors stand in the order of the texts."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "embeddings", usage="meta")
        if isinstance(found, Failure):
            return found
        said = found
    units = said.meta.billed_units if said.meta is not None else None
    tokens = None if units is None or units.input_tokens is None else round(units.input_tokens)
    kinds = said.embeddings or _Kinds()
    vectors: list[Any] = list(kinds.floats or kinds.base64 or ())
    if not vectors:
        return failed(said.message, paid=tokens is not None, nothing="no embeddings")
    return vectors_of(vectors, tokens=tokens)
