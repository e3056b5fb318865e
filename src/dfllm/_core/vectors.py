"""Vectors: what an embedding is, the share of its request that one text pays, and how it is kept.

A pack is one request with many texts. Its answer is cut into one piece for each text: the vector as it came, 32-bit
floats with the low byte first, and a share of the tokens, so that the shares of a pack come to what it cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dfllm._core.output import Cells
from dfllm._core.types import Failure, Outcome, Response

#: Bytes of one number.
FLOAT_BYTES = 4


class Vector(Response, frozen=True, gc=False):
    """The vector of one text.

    Attributes:
        vector: its numbers, as 32-bit floats with the low byte first.
    """

    vector: bytes = b""


class Vectors(Response, frozen=True, gc=False):
    """What the answer to a pack says.

    Attributes:
        vectors: the texts' vectors, in the order they came, as `Vector.vector`.
        places: for each of them, the place in the pack of the text it belongs to; None where their order says that.
    """

    vectors: tuple[bytes, ...] = ()
    places: tuple[int | None, ...] | None = None


class _Kept(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What stands before a kept vector."""

    dimensions: int
    tokens: int | None = None
    model: str | None = None


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Kept).decode
_END = b"\n"


def packed(vector: Vector) -> bytes:
    """Return a vector as the store keeps it: a line of JSON, and its bytes as they came."""
    size = len(vector.vector) // FLOAT_BYTES
    return _write(_Kept(size, vector.tokens_in, vector.model)) + _END + vector.vector


def unpacked(body: bytes) -> Outcome:
    """Return what `packed` wrote. The same bytes always give the same Outcome."""
    head, _, vector = body.partition(_END)
    try:
        kept = _read(head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure("BadResponse", "what is stored is no vector", "maybe")
    if len(vector) != FLOAT_BYTES * kept.dimensions:
        return Failure("BadResponse", "what is stored is part of a vector", "maybe")
    return _vector(vector, kept.tokens, kept.model)


def as_cell(outcome: Outcome) -> tuple[Outcome, Cells | None]:
    """Return what was said and what the row gets of it: the vector's bytes."""
    return outcome, (outcome.vector,) if isinstance(outcome, Vector) else None


def ordered(said: Vectors, count: int, dimensions: int | None) -> Vectors | Failure:
    """Return the answer with its vectors in the order of the texts, or what is wrong with it.

    Args:
        said: the answer.
        count: how many texts were sent.
        dimensions: how many numbers each vector should have; None where that is the model's to say.
    """
    found = len(said.vectors)
    if found != count:
        return _odd(said, f"{found:,} vectors for {count:,} texts")
    vectors = said.vectors
    if said.places is not None:
        at = {place: vector for place, vector in zip(said.places, vectors, strict=True) if place is not None}
        if set(at) != set(range(count)):
            return _odd(said, "an index that is missing or stands twice")
        vectors = tuple(at[place] for place in range(count))
    sizes = {len(vector) for vector in vectors}
    wanted = {FLOAT_BYTES * dimensions} if dimensions is not None else sizes
    if len(sizes) != 1 or sizes != wanted or min(sizes) < FLOAT_BYTES or min(sizes) % FLOAT_BYTES:
        lengths = " and ".join(f"{size / FLOAT_BYTES:g}" for size in sorted(sizes)[:3])
        return _odd(said, f"vectors of {lengths} numbers" + (f", not {dimensions}" if dimensions else ""))
    return msgspec.structs.replace(said, vectors=vectors, places=None)


def _odd(said: Vectors, reason: str) -> Failure:
    return Failure("BadResponse", reason, "paid" if said.tokens_in is not None else "maybe")


def shared_out(said: Vectors, sizes: Sequence[int]) -> list[Vector]:
    """Return the vectors of an answer that is `ordered`, each with its share of the tokens.

    Args:
        said: the answer.
        sizes: bytes of each text, by which the tokens are shared.
    """
    if said.tokens_in is None:
        return [_vector(vector, None, said.model) for vector in said.vectors]
    parts = shares(said.tokens_in, sizes)
    return [_vector(vector, part, said.model) for vector, part in zip(said.vectors, parts, strict=True)]


def _vector(vector: bytes, tokens: int | None, model: str | None) -> Vector:
    used = None if tokens is None else 0
    return Vector("", finish="", tokens_in=tokens, tokens_out=used, model=model, vector=vector)


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Return whole shares of a total that are in proportion to the sizes and add up to it exactly.

    What is left after rounding down goes, one each, to those who lost most by it; of equals, to the first.

    Example:
        >>> shares(10, [1, 1, 1]), shares(3, [0, 0])
        ([4, 3, 3], [2, 1])
    """
    whole = sum(sizes)
    if not whole:
        sizes, whole = [1] * len(sizes), len(sizes)
    made = [total * size // whole for size in sizes]
    left = total - sum(made)
    if left:
        lost = sorted(range(len(sizes)), key=lambda place: -(total * sizes[place] % whole))
        for place in lost[:left]:
            made[place] += 1
    return made
