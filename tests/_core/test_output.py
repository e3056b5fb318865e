"""Answers to cells: read strictly, remembered safely, never stored."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.output import OutputError, interpreter, parse
from dfllm._core.schema import schema_of
from dfllm._core.types import Failure, Response


def test_text_is_its_own_cell():
    """Without a schema the answer is taken as it is."""
    said = Response(" as is\n")

    assert (said, (" as is\n",)) == interpreter(None)(said)


def test_cut_text_has_cell_and_failure():
    """The one outcome with both."""
    cut = Failure("Truncated", "4 output tokens", "paid", response=Response("In Nor", "length"))

    assert (cut, ("In Nor",)) == interpreter(None)(cut)


def test_cut_object_has_no_cell():
    """Half an object is none."""
    cut = Failure("Truncated", "4 output tokens", "paid", response=Response('{"answer": "go', "length"))

    assert (cut, None) == interpreter(schema_of(["good"]).read)(cut)


@pytest.mark.parametrize("kind", ["Refused", "ContentFiltered"])
def test_other_failures_have_no_cell(kind):
    """What was said in refusing is no answer."""
    failure = Failure(kind, "x", "paid", response=Response("no"))

    assert (failure, None) == interpreter(None)(failure)


def test_wrong_shape_is_a_paid_failure():
    """The answer was paid for, and is kept behind its failure."""
    said = Response('{"answer": "ugly"}')

    outcome, cells = interpreter(schema_of(["good"]).read)(said)

    assert ("InvalidOutput", "paid", said, None) == (outcome.type, outcome.billing, outcome.response, cells)


def test_remembered_answers_are_not_mixed_up():
    """The same text gives the same cells, another text its own."""
    interpret = interpreter(schema_of(["a", "b"]).read)

    read = [interpret(Response(f'{{"answer": "{label}"}}'))[1] for label in "abab"]

    assert [("a",), ("b",), ("a",), ("b",)] == read


json_objects = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    min_size=1,
)


@given(json_objects)
def test_json_comes_back_as_it_was(value):
    """Bare and in a fence."""
    text = json.dumps(value)

    assert value == parse(text)
    assert value == parse(f"```json\n{text}\n```")


@given(st.text(max_size=100))
def test_no_text_breaks_the_parser(text):
    """Any text is JSON or an OutputError."""
    with contextlib.suppress(OutputError):
        parse(text)
