"""Calls: one form for all vendors, read strictly, and a cell of their own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.calls import Said, calling, with_calls
from dfllm._core.mending import mending
from dfllm._core.output import interpreter
from dfllm._core.schema import schema_of
from dfllm._core.types import Failure, Message, Response

SAID = Response("", "tool_calls", 12, 4)
CALLED = Response("", "tool_calls", calls='[{"name":"look","arguments":{},"id":null}]')
MOOD = schema_of({"mood": ["good", "bad"], "stars": int})

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    max_size=3,
)


@given(json_objects)
def test_arguments_are_the_same_as_text_and_as_an_object(value):
    """Vendors have them either way."""
    as_text, as_object = (with_calls(SAID, [Said("look", one)]) for one in (json.dumps(value), value))

    assert as_text == as_object
    assert [{"name": "look", "arguments": value, "id": None}] == json.loads(as_text.calls)


def test_no_calls_leave_an_answer_as_it_is():
    """There is nothing to say of them."""
    assert SAID is with_calls(SAID, [])


@pytest.mark.parametrize(
    ("name", "arguments", "reason", "kept"),
    [
        ("look", '{"a":1', "the arguments of a call: not JSON", '{"a":1'),
        ("look", "[1]", "the arguments of a call: no JSON object", "[1]"),
        ("look", [1], "the arguments of a call: no JSON object", "[1]"),
        ("look", '"{}"', "the arguments of a call: no JSON object", '"{}"'),
        ("look", '{"a":NaN}', "the arguments of a call: NaN is not JSON", '{"a":NaN}'),
        ("look", '{"a":1,"a":2}', "the arguments of a call: a key stands twice in one object", '{"a":1,"a":2}'),
        ("look", {"a": float("inf")}, "the arguments of a call are not JSON", "{'a': inf}"),
        ("look", '{"a":' * 70 + "1" + "}" * 70, "the arguments of a call: nested deeper than 64", None),
        (None, "{}", "a call names no tool", "{}"),
        ("", "{}", "a call names no tool", "{}"),
        (7, "{}", "a call names no tool", "{}"),
    ],
)
def test_what_nobody_could_follow_is_a_failure(name, arguments, reason, kept):
    """It was paid for; what was said stands behind it."""
    outcome = with_calls(SAID, [Said("look", "{}", "1"), Said(name, arguments, 2)])

    assert ("InvalidOutput", "paid", reason) == (outcome.type, outcome.billing, outcome.reason)
    first, second = json.loads(outcome.response.calls)
    assert ({"name": "look", "arguments": {}, "id": "1"}, "2") == (first, second["id"])
    assert kept in (None, second["arguments"])


def test_a_lone_surrogate_in_arguments_stays():
    """It is legal JSON; columns scrub it."""
    outcome = with_calls(SAID, [Said("look", r'{"a":"\ud83d"}')])

    assert {"a": "\ud83d"} == json.loads(outcome.calls)[0]["arguments"]


def test_a_call_that_nobody_offered_is_a_failure():
    """With a text beside it too, and with a schema: nothing is ever run."""
    for read in (None, MOOD.read):
        for said in (CALLED, Response('{"mood":"good","stars":1}', calls=CALLED.calls)):
            outcome, cells = interpreter(read)(said)

            assert ("InvalidOutput", "function call", said, None) == (
                outcome.type,
                outcome.reason,
                outcome.response,
                cells,
            )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Response("In Norway."), ("In Norway.", None)),
        (CALLED, (None, CALLED.calls)),
        (Response(" \n", calls="[1]"), (None, "[1]")),
        (Response("Let me see.", calls="[1]"), ("Let me see.", "[1]")),
        (Failure("Truncated", "x", "paid", response=Response("In Nor")), ("In Nor", None)),
        (Failure("Refused", "x", "paid", response=Response("no")), None),
    ],
)
def test_calls_have_a_cell_of_their_own(said, expected):
    """Behind that of the text, which is missing where there was none."""
    assert (said, expected) == calling(interpreter(None), 1)(said)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Response('{"mood":"good","stars":1}'), ("good", 1, None)),
        (CALLED, (None, None, CALLED.calls)),
        (Response('{"mood":"good","stars":1}', calls="[1]"), ("good", 1, "[1]")),
    ],
)
def test_a_schema_is_held_to_where_there_is_a_text(said, expected):
    """A call instead of it is an answer too."""
    assert (said, expected) == calling(interpreter(MOOD.read), 2)(said)


def test_a_text_beside_calls_must_fit_the_schema():
    """The failure keeps all that was said."""
    said = Response("Let me see.", calls="[1]")

    outcome, cells = calling(interpreter(MOOD.read), 2)(said)

    assert ("InvalidOutput", said, None) == (outcome.type, outcome.response, cells)


@pytest.mark.parametrize(
    "failure",
    [
        Failure("InvalidOutput", "function call", "paid"),
        Failure("InvalidOutput", "function call, MALFORMED_FUNCTION_CALL", "paid", response=SAID),
        Failure("InvalidOutput", "the arguments of a call: not JSON", "paid", response=CALLED),
    ],
)
def test_calls_are_not_mended(failure):
    """They are what the model wanted; asking for nothing but JSON would ask for something else."""
    assert None is mending((Message("user", "x"),), failure)
