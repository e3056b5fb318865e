"""Vectors: shares that add up, and bytes that come back as they were."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.types import Failure, Response
from dfllm._core.vectors import Vector, Vectors, as_cell, ordered, packed, shared_out, shares, unpacked

ONE, TWO, THREE = (struct.pack("<2f", number, -number) for number in (1.0, 2.0, 3.0))
sizes = st.lists(st.integers(0, 10_000), min_size=1, max_size=600)


def said(*vectors, places=None, tokens=7, model="m"):
    """Return what the answer to a pack says."""
    used = None if tokens is None else 0
    return Vectors("", finish="", tokens_in=tokens, tokens_out=used, model=model, vectors=vectors, places=places)


@given(st.integers(0, 10**9), sizes)
def test_shares_come_to_the_whole(total, sizes):
    """Nothing is lost or made up by rounding, and nobody is more than one off its fair share."""
    parts = shares(total, sizes)

    assert total == sum(parts)
    whole = sum(sizes)
    fair = [total * size / whole if whole else total / len(sizes) for size in sizes]
    assert all(abs(part - share) <= 1 for part, share in zip(parts, fair, strict=True))


@given(sizes)
def test_the_larger_text_never_pays_less(sizes):
    """Shares grow with the text."""
    parts = shares(1_000, sizes)

    paid = sorted(zip(sizes, parts, strict=True), key=lambda pair: pair[0])
    least = {size: min(part for other, part in paid if other == size) for size in sizes}
    most = {size: max(part for other, part in paid if other == size) for size in sizes}
    steps = sorted(set(sizes))
    assert all(most[one] <= least[other] + 1 for one, other in pairwise(steps))


@given(st.binary(min_size=4, max_size=64).map(lambda b: b[: len(b) // 4 * 4]), st.none() | st.integers(0, 10**6))
def test_a_vector_comes_back_bit_by_bit(numbers, tokens):
    """Whatever the bytes are, line ends among them, and with what it cost."""
    used = None if tokens is None else 0
    vector = Vector("", finish="", tokens_in=tokens, tokens_out=used, model="m\n2", vector=numbers)

    assert vector == unpacked(packed(vector))


@pytest.mark.parametrize("body", [b"", b"{}\n", b"{", b"\xff\n", packed(Vector("", vector=ONE))[:-1], b'{"data":[]}'])
def test_what_is_no_vector_is_not_taken_for_one(body):
    """What is stored under a key is believed only if it is whole."""
    assert "BadResponse" == unpacked(body).type


def test_vectors_are_joined_by_their_index():
    """The order in which they come says nothing where they have one."""
    found = ordered(said(TWO, ONE, places=(1, 0)), 2, None)

    assert (ONE, TWO) == found.vectors


def test_vectors_without_an_index_are_in_order():
    """Some providers have none."""
    assert (TWO, ONE) == ordered(said(TWO, ONE), 2, 2).vectors


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (said(ONE), "1 vectors for 2 texts"),
        (said(ONE, TWO, THREE), "3 vectors for 2 texts"),
        (said(ONE, TWO, places=(0, 0)), "index"),
        (said(ONE, TWO, places=(0, None)), "index"),
        (said(ONE, TWO, places=(1, 2)), "index"),
        (said(ONE, TWO[:4]), "vectors of 1 and 2 numbers"),
        (said(ONE, TWO[:6]), "vectors of 1.5 and 2 numbers"),
        (said(ONE[:6], TWO[:6]), "vectors of 1.5 numbers"),
        (said(b"", b""), "vectors of 0 numbers"),
    ],
)
@pytest.mark.parametrize(("tokens", "billing"), [(7, "paid"), (None, "maybe")])
def test_an_answer_that_does_not_fit_is_none(answer, says, tokens, billing):
    """It was paid for where it says what it cost."""
    found = ordered(said(*answer.vectors, places=answer.places, tokens=tokens), 2, None)

    assert isinstance(found, Failure)
    assert ("BadResponse", billing, True) == (found.type, found.billing, says in found.reason)


def test_vectors_have_the_length_that_was_asked_for():
    """A model that does not know `dimensions` may ignore it."""
    assert "vectors of 2 numbers, not 3" == ordered(said(ONE, TWO), 2, 3).reason


def test_each_text_gets_its_share_and_who_served_it():
    """Of a pack's seven tokens."""
    found = shared_out(said(ONE, TWO), [10, 4])

    assert [(5, 0, "m", ONE), (2, 0, "m", TWO)] == [(v.tokens_in, v.tokens_out, v.model, v.vector) for v in found]


def test_what_nobody_knows_is_not_shared():
    """Without usage there are no shares of it."""
    assert [None, None] == [vector.tokens_in for vector in shared_out(said(ONE, TWO, tokens=None), [1, 2])]


def test_only_a_vector_is_a_cell():
    """Failures have none, and other answers neither."""
    vector, failure = Vector("", vector=ONE), Failure("NotSent", "x")

    assert [(ONE,), None, None] == [as_cell(one)[1] for one in (vector, failure, Response("text"))]
