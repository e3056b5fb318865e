"""Tools: called by name or by order, deterministically, with arguments that fit; cut where the allowance ends."""

import json
from dataclasses import replace

import jsonschema
import pytest

from dfllm.simulator import Faults, openai
from dfllm.simulator.answers import answers_to
from dfllm.simulator.asks import Ask, tokens_of
from dfllm.simulator.openai_faults import go_wrong
from dfllm.simulator.schemas import BadSchema
from dfllm.simulator.tools import Call, Offer, Tool, broken, calls_of

WEATHER = Tool(
    "weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city", "days", "unit"],
        "additionalProperties": False,
    },
)
LOOK = Tool("look_up", {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]})
OFFER = Offer((WEATHER, LOOK))
ASK = Ask(hash="0f" * 32, model="small", text="weather in Oslo?", prompt_tokens=12, offer=OFFER)


def named(offer, text, key="k"):
    """Return the names of the tools that are called."""
    return [call.name for call in calls_of(offer, text, key)]


@pytest.mark.parametrize(
    ("offer", "text", "expected"),
    [
        (OFFER, "What is the weather?", ["weather"]),
        (OFFER, "look_up the weather, then weather again", ["look_up", "weather", "weather"]),
        (OFFER, "Where is Oslo?", []),
        (OFFER, "weathering, re-look_up, my_weather", []),
        (OFFER, "weather " * 20, ["weather"] * 8),
        (replace(OFFER, at_once=False), "look_up the weather", ["look_up"]),
        (replace(OFFER, named="look_up"), "weather", ["look_up"]),
        (replace(OFFER, must=True), "weather", ["weather"]),
        (Offer((), must=True), "weather", []),
        (Offer((Tool("a", LOOK.parameters), Tool("a-b", LOOK.parameters))), "a-b", ["a-b"]),
    ],
)
def test_tools_are_called_by_their_names(offer, text, expected):
    """Once for each time, eight times at most; a name within a word is none."""
    assert expected == named(offer, text)


def test_one_that_must_be_called_is_picked_by_luck():
    """Each tool has some, and the same key the same."""
    picked = [named(replace(OFFER, must=True), "Where is Oslo?", str(key)) for key in range(20)]

    assert {("weather",), ("look_up",)} == set(map(tuple, picked))
    assert picked == [named(replace(OFFER, must=True), "Where is Oslo?", str(key)) for key in range(20)]


def test_arguments_fit_and_are_about_the_question():
    """And two calls of one tool are two."""
    first, second = calls_of(OFFER, "The weather in Oslo, and the weather in Oslo again", "k")

    for call in (first, second):
        jsonschema.validate(json.loads(call.arguments), WEATHER.parameters)
        assert "weather" not in call.arguments
    assert first.id != second.id


def test_a_schema_that_nothing_fits_is_told():
    """As with any other schema."""
    with pytest.raises(BadSchema):
        calls_of(Offer((Tool("a", {"$ref": "#/nowhere"}),), named="a"), "x", "k")


def test_an_answer_may_be_a_call_and_nothing_else():
    """`large` says something first; the tokens are those of both."""
    (small,), (large,) = (answers_to(replace(ASK, model=model)) for model in ("small", "large"))

    assert ("", "tool_calls", ["weather"]) == (small.text, small.finish, [call.name for call in small.calls])
    assert "Oslo" in large.text
    assert [tokens_of(answer.text) for answer in (small, large)] == [
        answer.tokens - sum(tokens_of(call.name) + tokens_of(call.arguments) for call in answer.calls)
        for answer in (small, large)
    ]


def test_no_call_is_an_answer_like_any_other():
    """Tools on offer change no answer that calls none."""
    ask = replace(ASK, text="Where is Oslo?")

    assert answers_to(replace(ask, offer=None)) == answers_to(ask)


@pytest.mark.parametrize("allowance", [1, 5, 12, 15])
def test_the_allowance_ends_in_the_middle_of_a_call(allowance):
    """What comes before stays whole, and no more is charged than was allowed."""
    ask = replace(ASK, text="weather and look_up Oslo", allowance=allowance)
    whole = answers_to(replace(ask, allowance=None))[0].calls

    (cut,) = answers_to(ask)

    assert ("length", allowance) == (cut.finish, cut.tokens)
    *before, half = cut.calls
    assert list(whole[: len(before)]) == before
    assert broken(half.arguments)
    assert whole[len(before)].arguments.startswith(half.arguments)


def test_a_text_that_is_cut_is_followed_by_no_call():
    """It would have come later."""
    (cut,) = answers_to(replace(ASK, model="large", allowance=2))

    assert ("length", ()) == (cut.finish, cut.calls)


def test_a_completion_tells_of_calls():
    """In the vendor's shape; a text that is none is null."""
    completion = openai.completion(ASK, answers_to(ASK), 1, 0)
    (choice,) = completion["choices"]

    (call,) = choice["message"]["tool_calls"]
    assert ("tool_calls", None) == (choice["finish_reason"], choice["message"]["content"])
    assert ("function", "weather") == (call["type"], call["function"]["name"])


def wrong(fault, ask=ASK):
    """Return the choice of a completion that goes wrong."""
    body = openai.completion(ask, answers_to(ask), 1, 0)
    return json.loads(go_wrong(fault, ask, body, Faults()).body)["choices"][0]


def test_arguments_may_be_broken():
    """Those of each call, also of one that nobody offered."""
    two = replace(ASK, text="weather, weather")

    for choice, calls in ((wrong("badargs", two), 2), (wrong("badargs", replace(ASK, offer=None)), 1)):
        assert "tool_calls" == choice["finish_reason"]
        assert [True] * calls == [broken(call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]


def test_length_cuts_the_last_call():
    """Those before it stay whole."""
    choice = wrong("length", replace(ASK, text="weather, weather"))

    assert "length" == choice["finish_reason"]
    assert [False, True] == [broken(call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]


@pytest.mark.parametrize("fault", ["blank", "refusal", "filter", "think_out", "prose", "fenced", "xss", "surrogate"])
def test_other_faults_of_the_text_leave_no_call(fault):
    """What is said is wrong, and nothing else is."""
    assert "tool_calls" not in wrong(fault)["message"]


@pytest.mark.parametrize(
    ("arguments", "expected"), [("{}", False), ('{"a":1}', False), ("{", True), ("[]", True), ("", True)]
)
def test_broken_arguments_are_known(arguments, expected):
    """Anything but a whole JSON object is."""
    assert expected == broken(arguments)


def test_a_call_is_its_tool_and_arguments():
    """Its id is made of luck and place, so that no two are the same."""
    (call,) = calls_of(OFFER, "weather", "k")

    assert isinstance(call, Call)
    assert calls_of(OFFER, "weather", "k") == (call,) != calls_of(OFFER, "weather", "other")
