"""OpenAI's embeddings: many texts a request, spoken by OpenAI and everyone who is compatible with it.

Mistral's and Voyage's differ in the names of fields alone, so they are read here too.
Sources: the official SDK's ``types/create_embedding_response.py`` and
https://platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

import binascii
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dfllm._core.types import Failure, Outcome, Terms
from dfllm._core.vectors import FLOAT_BYTES, Vectors
from dfllm._wire.bodies import added, failed, loosely

PATH = "/embeddings"
MODELS_PATH = "/models"

#: What `extra` must not set: the library decides these, and vectors would be lost or mixed up.
RESERVED = frozenset({"model", "input", "encoding_format", "dimensions", "output_dimension", "output_dtype"})

_json = msgspec.json.Encoder().encode


def packer(
    terms: Terms, *, base64: bool, dimensions: str = "dimensions", fixed: dict[str, Any] | None = None
) -> Callable[[Sequence[str]], bytes]:
    """Return the function from texts to the body of one request under these terms.

    Args:
        terms: what all texts share.
        base64: whether vectors are asked for in base64, which is a third of the bytes and exact.
        dimensions: what this API calls the number of dimensions.
        fixed: further fields, which `extra` may change.
    """
    options = {dimensions: terms.dimensions, "encoding_format": "base64" if base64 else None}
    asked = {name: value for name, value in options.items() if value is not None}
    rest = _json(asked | (fixed or {}) | added(terms, RESERVED))[1:-1]
    head, tail = b'{"model":%b,"input":' % _json(terms.model), b",%b}" % rest if rest else b"}"

    def body(texts: Sequence[str]) -> bytes:
        return b"%b%b%b" % (head, _json(list(texts)), tail)

    return body


class _One(msgspec.Struct, gc=False):
    embedding: str | list[float]
    index: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Body(msgspec.Struct, gc=False):
    data: list[_One] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Body).decode


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "a list of embeddings")
        if isinstance(found, Failure):
            return found
        said = found
    if not said.data:
        return failed(said.error, paid=said.usage is not None, nothing="no embeddings")
    usage = said.usage or _Usage()
    tokens = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    return vectors_of(
        [one.embedding for one in said.data],
        places=tuple(one.index for one in said.data),
        tokens=tokens,
        model=said.model,
    )


def vectors_of(
    said: Sequence[str | list[float]],
    *,
    tokens: int | None,
    model: str | None = None,
    places: tuple[int | None, ...] | None = None,
) -> Vectors | Failure:
    """Return an answer's vectors, from lists of numbers or from base64."""
    try:
        vectors = tuple(map(_bytes_of, said))
    except (ValueError, OverflowError):
        return Failure("BadResponse", "a vector that is no base64", "paid" if tokens is not None else "maybe")
    used = None if tokens is None or tokens < 0 else tokens
    return Vectors(
        "",
        finish="",
        tokens_in=used,
        tokens_out=None if used is None else 0,
        model=model,
        vectors=vectors,
        places=places,
    )


def _bytes_of(said: str | list[float]) -> bytes:
    if isinstance(said, str):
        return binascii.a2b_base64(said, strict_mode=True)
    numbers = array("f", said)
    assert numbers.itemsize == FLOAT_BYTES
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
