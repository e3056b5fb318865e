"""Vectors out of thin air: the same text, the same vector, of length 1."""

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm.simulator.vectors import MODELS, Texts, vector_of, written

ASKED = Texts("embed-small", ("a",), 8)


@given(st.text(max_size=50), st.integers(1, 64))
def test_a_vector_has_length_one(text, dimensions):
    """And as many numbers as were asked for, whatever the text."""
    vector = vector_of(Texts("embed-small", (), dimensions), text)

    assert dimensions == len(vector)
    assert 1.0 == pytest.approx(math.hypot(*vector), abs=1e-5)


def test_what_decides_a_vector():
    """Text, model, length, task and seed; not how it goes out, and not the other texts."""
    same = [ASKED, Texts("embed-small", ("b", "a"), 8, base64=True)]
    others = [Texts("embed-large", (), 8), Texts("embed-small", (), 8, task="query")]
    vectors = [vector_of(asked, "a").tobytes() for asked in (*same, *others)]

    assert 3 == len(set(vectors))
    assert vectors[0] == vectors[1]
    assert 2 == len({vector_of(ASKED, "a", seed).tobytes() for seed in (0, 1)})
    assert vector_of(ASKED, "a") != vector_of(ASKED, "b")


def test_a_text_is_billed_under_one_hash():
    """In whatever request it comes, and in whatever form it goes out."""
    first, second = Texts("embed-small", ("a", "b"), 8), Texts("embed-small", ("b",), 8, base64=True)

    assert first.hashes()[1] == second.hashes()[0]
    assert first.ask().hash != second.ask().hash


def test_both_forms_say_the_same():
    """Lists of numbers, and base64 of floats with the low byte first."""
    vector = vector_of(ASKED, "a")

    raw = base64.b64decode(written(vector, in_base64=True))

    assert written(vector, in_base64=False) == list(struct.unpack("<8f", raw)) == vector.tolist()


def test_models_have_their_lengths():
    """As the docs say."""
    assert {"embed-small": 256, "embed-large": 1_536} == MODELS
