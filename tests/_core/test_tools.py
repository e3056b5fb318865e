"""Tools: what may be offered, what is refused before anything is sent, and that no function is ever called."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import pydantic
import pytest

from dfllm._core.errors import OptionError
from dfllm._core.tools import Tool, choice_of, in_strict_form, tools_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NEUTRAL = {"name": "weather", "description": "Tell the weather.", "parameters": SCHEMA}


def weather(city: str) -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def careful(*names: str) -> str:
    """Take any number of names."""
    raise AssertionError


def loose(**names: str) -> str:
    """Take any names."""
    raise AssertionError


def bare(city) -> str:
    """Take something."""
    raise AssertionError


def by_place(city: str, /) -> str:
    """Take a city, by place."""
    raise AssertionError


def lost(city: Nowhere) -> str:  # noqa: F821  # that is what is tested
    """Take what is not there."""
    raise AssertionError


def callback(call: Callable[[], int]) -> str:
    """Take what no schema can say."""
    raise AssertionError


class Weather(pydantic.BaseModel):
    """A model is no function."""

    city: str


@pytest.mark.parametrize(
    "given",
    [
        NEUTRAL,
        {"type": "function", "function": NEUTRAL},
        {"type": "function", **NEUTRAL},
        {"name": "weather", "description": "Tell the weather.", "input_schema": SCHEMA},
        {"type": "custom", "name": "weather", "description": "Tell the weather.", "input_schema": SCHEMA},
        {**NEUTRAL, "strict": True},
    ],
    ids=["neutral", "chat completions", "responses", "anthropic", "anthropic with its type", "strict"],
)
def test_each_vendors_form_is_the_same_tool(given):
    """Whoever has tools for one can offer them to another."""
    assert (Tool("weather", "Tell the weather.", SCHEMA, strict=True),) == tools_of([given])


def test_a_function_is_a_tool():
    """Name, docstring and hints; nothing is called."""
    (tool,) = tools_of([weather])

    assert ("weather", "Tell the weather.") == (tool.name, tool.description)
    assert {**SCHEMA, "additionalProperties": False} == tool.parameters


def test_a_method_is_a_tool_without_its_self():
    """What it is bound to is no argument."""

    class Station:
        def weather(self, city: str) -> str:
            """Tell the weather."""
            raise AssertionError

    (tool,) = tools_of([Station().weather])

    assert ["city"] == list(tool.parameters["properties"])


def test_a_tool_may_take_nothing():
    """Then its schema is an object without properties, which is never strict."""

    def now() -> str:
        raise AssertionError

    made = tools_of([now, {"name": "then"}, {"name": "when", "parameters": None, "description": None}])

    assert [{}] * 3 == [tool.parameters["properties"] for tool in made]
    assert [("", False)] * 3 == [(tool.description, tool.strict) for tool in made]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "at least one; found an empty list"),
        (weather, "takes a list of functions or JSON tools, at least one; found function"),
        ("weather", "found str"),
        (NEUTRAL, "found dict"),
        ([weather, NEUTRAL], "Two tools are called 'weather'"),
        ([lambda city: city], "holds a lambda"),
        ([functools.partial(weather, "Oslo")], "found partial"),
        ([Weather], "found Weather"),
        ([print], "found builtin_function_or_method"),
        (["weather"], "found str"),
        ([careful], r"Tool 'careful' takes \*names"),
        ([loose], r"Tool 'loose' takes \*\*names"),
        ([bare], "argument 'city' of tool 'bare' has no hint"),
        ([by_place], "takes 'city' by place only"),
        ([lost], "hints of tool 'lost' cannot be read: name 'Nowhere' is not defined"),
        ([callback], "hints of tool 'callback' have no JSON schema"),
        ([{"description": "x"}], "has no name"),
        ([{"name": ""}], "called ''"),
        ([{"name": "a" * 65}], "1 to 64"),
        ([{"name": "naïve"}], "called 'naïve'"),
        ([{"name": "a b"}], "called 'a b'"),
        ([{"name": 7}], "called 7"),
        ([{"name": "auto"}], "tool_choice= has another meaning"),
        ([{"name": "a", "description": 7}], "description of tool 'a' is no text"),
        ([{"name": "a", "paramters": {}}], "has 'paramters'.*Did you mean 'parameters'"),
        ([{"name": "a", "parameters": {}, "input_schema": {}}], "has both parameters and input_schema"),
        ([{"name": "a", "parameters": []}], "parameters of tool 'a' are no JSON schema; found list"),
        ([{"name": "a", "parameters": {"type": "string"}}], "must be an object; found type 'string'"),
        ([{"name": "a", "parameters": {"type": "nothing"}}], "are no JSON schema"),
        ([{"name": "a", "parameters": {"properties": {"x": {"$ref": "#/$defs/X"}}}}], "refer to '#/\\$defs/X'"),
        ([{"name": "a", "parameters": {"default": {1, 2}}}], "are no JSON"),
        ([{"name": "a", "parameters": {"default": float("nan")}}], "are no JSON"),
        ([{"type": "web_search_20250305", "name": "web_search"}], "a tool of the provider's; say it in extra="),
    ],
)
def test_what_is_no_tool_is_refused(given, said):
    """It says what was found, and what to do."""
    with pytest.raises(OptionError, match=said):
        tools_of(given)


@pytest.mark.parametrize(
    ("properties", "required", "more"),
    [
        ({"a": {"type": "string"}}, [], {}),
        ({"a": {"type": "string", "minLength": 2}}, ["a"], {}),
        ({"a": {"type": "string", "format": "uri"}}, ["a"], {}),
        ({"a": {"type": "string", "default": "x"}}, ["a"], {}),
        ({"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}, ["a"], {}),
        ({"a": {"type": "object"}}, ["a"], {}),
        ({"a": {"type": "array", "items": {"properties": {"b": {}}}}}, ["a"], {}),
        ({"a": {"type": "object", "additionalProperties": {"type": "integer"}}}, ["a"], {}),
        ({"a": {"type": "string"}}, ["a"], {"additionalProperties": True}),
        ({"a": {"type": "string"}}, ["a"], {"anyOf": [{"required": ["a"]}]}),
        ({"a": {"$ref": "#/$defs/A", "description": "x"}}, ["a"], {"$defs": {"A": {"type": "string"}}}),
        ({"a": {"$ref": "#/$defs/A"}}, ["a"], {"$defs": {"A": {"type": "object", "properties": {"b": {}}}}}),
        ({"a": True}, ["a"], {}),
    ],
)
def test_strict_modes_are_asked_for_what_they_take_as_it_is(properties, required, more):
    """Anything else would have to be written anew, with another meaning."""
    schema = {"type": "object", "properties": properties, "required": required, **more}

    assert not tools_of([{"name": "a", "parameters": schema}])[0].strict


def test_the_user_may_say_no_to_strict():
    """As in the vendor's own form."""
    assert not tools_of([{**NEUTRAL, "strict": False}])[0].strict


def test_strict_form_closes_objects_and_changes_nothing_else():
    """Nested ones too; an open object means that nobody thought of closing it."""
    place = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    schema = {"type": "object", "properties": {"at": place}, "required": ["at"]}

    (tool,) = tools_of([{"name": "a", "parameters": schema}])

    closed = {**schema, "properties": {"at": {**place, "additionalProperties": False}}, "additionalProperties": False}
    assert tool.strict
    assert closed == in_strict_form(tool)


def test_what_the_user_gave_is_not_changed():
    """Neither is it kept: a tool that is changed later is another one."""
    given = json.loads(json.dumps(NEUTRAL))

    (tool,) = tools_of([given])
    given["parameters"]["properties"]["city"]["type"] = "integer"

    assert SCHEMA == tool.parameters


@pytest.mark.parametrize("choice", [None, "auto", "required", "none", "weather"])
def test_a_choice_is_a_word_or_a_tool(choice):
    """And stays what it is."""
    assert choice == choice_of(choice, tools_of([weather]))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("wether", "tool_choice='wether' does not fit.*Did you mean 'weather'"),
        ("any", "it takes 'auto', 'required', 'none' or a tool: weather"),
        (True, "tool_choice=True does not fit"),
        ({"type": "any"}, "does not fit"),
    ],
)
def test_another_choice_is_refused(choice, said):
    """It names what there is."""
    with pytest.raises(OptionError, match=said):
        choice_of(choice, tools_of([weather]))


def test_without_tools_there_is_no_choice():
    """The one would be sent and mean nothing."""
    with pytest.raises(OptionError, match="there are none"):
        choice_of("auto", ())
