"""Tools on the wire: the contract of every dialect that has a place for them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._wire.callers import CALLERS, LIMA, OSLO
from tests._wire.test_contract import ASK, sent
from tests._wire.vendors import VENDORS, packed

from dfllm._core.errors import OptionError
from dfllm._core.retry import is_kept
from dfllm._core.schema import schema_of
from dfllm._core.tools import tools_of
from dfllm._core.types import Failure, Response
from dfllm._wire.dialects import DIALECTS


def weather(city: str, days: int) -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def look_up(query: str, most: int = 3) -> list[str]:
    """Look something up.

    Args:
        query: what to look for.
        most: so many.
    """
    raise AssertionError("nothing is ever called")


TOOLS = tools_of([weather, look_up])
SCHEMA = schema_of({"mood": ["good", "bad"], "stars": int})
#: Where arguments are an object, which cannot be broken.
UNBREAKABLE = ("anthropic", "vertex-claude")
every_caller = pytest.mark.parametrize("name", CALLERS)


def offer(name, tools=TOOLS, *, strict=True):
    """Return the part of a body that offers tools."""
    return DIALECTS[name].tools(tools, strict=strict)


def read(name, which):
    """Return the outcome of one of the vendor's answers with calls."""
    return DIALECTS[name].read(200, {}, packed(getattr(CALLERS[name], which)))


def validated(name, body):
    """Return a body as the official type reads it, each of its tools looked at: pydantic is lazy with an Iterable."""
    checked = VENDORS[name].asked.validate_python(body)
    if name != "converse":  # which has them in a place of their own, and whose check is not lazy
        assert len(body["tools"]) == len([*(checked["tools"] if isinstance(checked, dict) else checked.tools)])
    return checked


def test_every_dialect_with_tools_is_held_to_it():
    """A dialect that offers tools fails here until its vendor's calls are known."""
    assert set(CALLERS) == {name for name, dialect in DIALECTS.items() if dialect.tools is not None}


@every_caller
def test_a_call_is_an_answer(name):
    """Also without a text; its arguments are an object, however the wire has them."""
    outcome = read(name, "one")

    known_by = CALLERS[name].ids[0]
    assert ("", CALLERS[name].finish) == (outcome.text, outcome.finish)
    assert [{**OSLO, "id": known_by}] == json.loads(outcome.calls)


@every_caller
def test_calls_come_in_the_order_they_were_said(name):
    """Two calls of one tool stay two."""
    first, second = CALLERS[name].ids

    assert [{**OSLO, "id": first}, {**LIMA, "id": second}] == json.loads(read(name, "two").calls)


@every_caller
def test_text_beside_a_call_is_kept(name):
    """Both are the answer."""
    outcome = read(name, "both")

    assert ("Let me see.", 1) == (outcome.text, len(json.loads(outcome.calls)))


@every_caller
def test_a_call_that_was_cut_is_none(name):
    """The text before it stays; half of a call must never look whole."""
    outcome = read(name, "cut")

    assert ("Truncated", "paid", "Let me see.", None) == (
        outcome.type,
        outcome.billing,
        outcome.response.text,
        outcome.response.calls,
    )


@every_caller
def test_broken_arguments_are_a_paid_failure(name):
    """Nobody could follow the call; it was paid for and stays the row's."""
    if CALLERS[name].broken is None:
        assert name in UNBREAKABLE
        return
    outcome = read(name, "broken")

    assert ("InvalidOutput", "paid", True) == (outcome.type, outcome.billing, is_kept(outcome))
    assert "call" in outcome.reason


@pytest.mark.parametrize("name", ["openai", "openai-responses"])
def test_broken_arguments_stay_the_text_they_were(name):
    """Behind the failure, for whoever reads the store."""
    assert '{"city":"Os' == json.loads(read(name, "broken").response.calls)[0]["arguments"]


@every_caller
def test_sample_calls_are_valid_by_the_official_types(name):
    """What this suite reads is what the vendor's own client reads."""
    for which in ("one", "two", "both", "cut", "broken"):
        if (sample := getattr(CALLERS[name], which)) is not None:
            VENDORS[name].answer.validate_json(packed(sample))


@pytest.mark.parametrize(
    ("name", "choice"), [(name, choice) for name, caller in CALLERS.items() for choice in caller.choices]
)
@pytest.mark.parametrize("strict", [True, False])
def test_bodies_with_tools_are_valid_by_the_official_types(name, choice, strict):
    """The vendor's own type of requests takes them, with no field that it does not know."""
    body = sent(name, ASK, tools=offer(name, strict=strict), tool_choice=choice)

    checked = validated(name, body)

    assert set(body) == set(
        checked if isinstance(checked, dict) else checked.model_dump(exclude_unset=True, by_alias=True)
    )


@every_caller
def test_what_a_tool_is_arrives(name):
    """Names, descriptions and arguments, in the user's order."""
    body = json.dumps(sent(name, tools=offer(name)))

    words = ("weather", "Tell the weather.", "city", "days", "look_up", "Look something up.", "what to look for.")
    assert [] == [word for word in words if word not in body]
    assert body.index('"city"') < body.index('"days"') < body.index('"query"') < body.index('"most"')


@every_caller
def test_every_choice_is_another_body(name):
    """No word is dropped."""
    bodies = [json.dumps(sent(name, tools=offer(name), tool_choice=choice)) for choice in CALLERS[name].choices]

    assert len(CALLERS[name].choices) == len(set(bodies)) > 4


@every_caller
def test_nothing_is_said_of_tools_where_there_are_none(name):
    """Bodies stay as they were before there were tools."""
    assert "tool" not in json.dumps(sent(name)).lower()


@every_caller
def test_tools_in_extra_stay_the_users_own(name):
    """Unless ours would be lost with them."""
    assert [] == sent(name, extra={"tools": []})["tools"]
    with pytest.raises(OptionError, match="extra must not set tools"):
        sent(name, tools=offer(name), extra={"tools": []})


@pytest.mark.parametrize(
    ("name", "inner", "otherwise"), [("openai", "function", {}), ("openai-responses", None, {"strict": False})]
)
def test_strict_is_said_where_it_changes_nothing(name, inner, otherwise):
    """A tool with an optional argument would have to be written anew for it, with another meaning."""
    told = [tool[inner] if inner else tool for tool in json.loads(offer(name))]
    unstrict = [tool[inner] if inner else tool for tool in json.loads(offer(name, strict=False))]

    assert True is told[0]["strict"]
    assert [otherwise] * 3 == [
        {word: tool[word] for word in ("strict",) if word in tool} for tool in (told[1], *unstrict)
    ]


def test_gemini_takes_what_it_can_say():
    """What its schemas do not know goes into the description; a tool without arguments has no schema at all."""
    tools = tools_of(
        [
            {
                "name": "a",
                "parameters": {"type": "object", "properties": {"code": {"type": "string", "pattern": "^x"}}},
            },
            {"name": "b"},
        ]
    )

    first, second = json.loads(offer("gemini", tools))[0]["functionDeclarations"]

    assert '(pattern: "^x")' == first["parametersJsonSchema"]["properties"]["code"]["description"]
    assert {"name": "b"} == second


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"name": "1st"}, "Gemini wants a letter or _ first"),
        (
            {"name": "a", "parameters": {"type": "object", "properties": {"x": {"not": {"type": "string"}}}}},
            "Tool 'a': its schema holds 'not', which Gemini does not take",
        ),
    ],
)
def test_gemini_refuses_what_it_cannot_say(tool, said):
    """Before anything is sent."""
    with pytest.raises(OptionError, match=said):
        offer("gemini", tools_of([tool]))


def test_converse_refuses_to_call_nothing():
    """It has no word for that, and the tools are not left out behind the user's back."""
    with pytest.raises(OptionError, match="takes no tool_choice='none'; leave tools= out"):
        sent("converse", tools=offer("converse"), tool_choice="none")


def test_converse_is_told_no_empty_description():
    """It refuses one; a schema stands as it is."""
    (tool,) = json.loads(offer("converse", tools_of([{"name": "b"}])))

    assert {"toolSpec": {"name": "b", "inputSchema": {"json": {"type": "object", "properties": {}}}}} == tool


def test_a_schema_may_be_asked_for_by_a_tool():
    """One that must be called, alone; the body is valid by the official types."""
    asked = DIALECTS["anthropic"].by_tool().response_format(SCHEMA.sent, strict=True)
    body = sent("anthropic", schema=asked)

    assert {"type": "tool", "name": "answer", "disable_parallel_tool_use": True} == body["tool_choice"]
    assert json.loads(SCHEMA.sent) == body["tools"][0]["input_schema"]
    assert "output_config" not in body
    validated("anthropic", body)


def test_the_tools_arguments_are_the_answer():
    """As if they had been said; the usage stays."""
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {"mood": "good", "stars": 5}}
    body = packed(CALLERS["anthropic"].one | {"content": [block]})
    by_tool = DIALECTS["anthropic"].by_tool()

    outcome = by_tool.read(200, {}, body)

    assert ('{"mood":"good","stars":5}', None, 12) == (outcome.text, outcome.calls, outcome.tokens_in)
    assert outcome == by_tool.decode(body)


def test_another_tool_is_no_answer():
    """What was not asked for stays a call."""
    assert read("anthropic", "one") == DIALECTS["anthropic"].by_tool().decode(packed(CALLERS["anthropic"].one))


def test_a_schema_by_a_tool_leaves_no_room_for_others():
    """The one must be called, so that no other can be."""
    asked = DIALECTS["anthropic"].by_tool().response_format(SCHEMA.sent, strict=True)

    with pytest.raises(OptionError, match="Leave tools= or schema= out"):
        sent("anthropic", schema=asked, tools=offer("anthropic"))
    with pytest.raises(OptionError, match="extra must not set tools"):
        sent("anthropic", schema=asked, extra={"tools": []})


def test_only_some_dialects_answer_by_tools():
    """The others have a place for schemas."""
    with pytest.raises(ValueError, match="no answers by tools"):
        DIALECTS["openai"].by_tool()


@pytest.mark.parametrize("arguments", ["", "  ", None])
def test_no_arguments_are_an_empty_object(arguments):
    """So say some servers of a tool that takes none."""
    body = json.loads(packed(CALLERS["openai"].one))
    body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = arguments

    assert {} == json.loads(DIALECTS["openai"].decode(packed(body)).calls)[0]["arguments"]


def test_a_forced_call_may_end_with_stop():
    """OpenAI says so where one tool was named; the call is not lost."""
    body = json.loads(packed(CALLERS["openai"].both))
    body["choices"][0]["finish_reason"] = "stop"

    assert OSLO["name"] == json.loads(DIALECTS["openai"].decode(packed(body)).calls)[0]["name"]


def test_the_way_of_before_there_were_several_is_read():
    """`function_call` is one call without an id."""
    body = json.loads(packed(VENDORS["openai"].plain))
    body["choices"][0]["message"] |= {"content": None, "function_call": {"name": "look", "arguments": '{"q":1}'}}

    calls = DIALECTS["openai"].decode(packed(body)).calls

    assert [{"name": "look", "arguments": {"q": 1}, "id": None}] == json.loads(calls)


def test_a_search_of_the_providers_own_is_no_call():
    """Tools that the provider has itself leave a text behind."""
    body = json.loads(packed(VENDORS["openai-responses"].plain))
    body["output"].insert(0, {"type": "web_search_call", "id": "w", "status": "completed"})

    assert None is DIALECTS["openai-responses"].decode(packed(body)).calls


def test_a_tool_that_bedrock_calls_itself_is_no_call():
    """It was called and has answered; the text is the answer."""
    used = {"toolUse": {"toolUseId": "t", "name": "web", "input": {}, "type": "server_tool_use"}}
    message = {"role": "assistant", "content": [used, {"text": "In Norway."}]}
    body = VENDORS["converse"].plain | {"output": {"message": message}}

    outcome = DIALECTS["converse"].decode(packed(body))

    assert ("In Norway.", None) == (outcome.text, outcome.calls)


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@every_caller
@given(value=odd, data=st.data())
def test_no_odd_call_breaks_the_reader(name, value, data):
    """Whatever stands where a call would, a row gets an outcome, and calls are JSON of the one form."""
    text = packed(CALLERS[name].both).decode()
    at = data.draw(
        st.sampled_from(['"weather"', '"Oslo"', '{"city": "Oslo", "days": 2}', '"call_0"', '"toolu_0"', '"tooluse_0"'])
    )

    outcome = DIALECTS[name].decode(text.replace(at, json.dumps(value)).encode())

    assert isinstance(outcome, (Response, Failure))
    response = outcome.response if isinstance(outcome, Failure) else outcome
    for call in json.loads((response and response.calls) or "[]"):
        assert ["name", "arguments", "id"] == list(call)
