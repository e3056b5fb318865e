"""Schemas in narrower forms: nothing the user meant is lost, and what cannot be said is refused."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from dfllm._core.errors import OptionError
from dfllm._core.schema import schema_of
from dfllm._wire.schemas import for_anthropic


class Child(pydantic.BaseModel):
    """A part of another."""

    name: str = pydantic.Field(min_length=1)
    parts: list[Child] = pydantic.Field(max_length=3)


class Parent(pydantic.BaseModel):
    """All that an API might not take."""

    age: int = pydantic.Field(ge=0, le=120, description="in years")
    mail: str | None = None
    url: pydantic.AnyUrl
    codes: list[str] = pydantic.Field(min_length=2)
    child: Child


def narrowed(asked: Any) -> dict[str, Any]:
    """Return a schema as it is sent to Anthropic."""
    return json.loads(for_anthropic(schema_of(asked).sent))


def test_labels_are_as_they_were():
    """What is narrow already stays."""
    assert json.loads(schema_of(["good", "bad"]).sent) == narrowed(["good", "bad"])


def test_bounds_move_into_the_description():
    """The model still reads them, behind what the user said."""
    age = narrowed(Parent)["properties"]["age"]

    assert {"title": "Age", "type": "integer", "description": "in years (maximum: 120, minimum: 0)"} == age


def test_nothing_refused_is_left():
    """At no depth, and not in a definition either."""
    made = narrowed(Parent)

    words = set(words_of(made))
    assert set() == words & {"minimum", "maximum", "minLength", "maxLength", "maxItems", "minItems", "oneOf"}
    assert False is made["additionalProperties"] is made["$defs"]["Child"]["additionalProperties"]
    assert [*Parent.model_fields] == [*made["properties"]] == made["required"]


def words_of(schema):
    """Yield every keyword of a schema."""
    if isinstance(schema, list):
        for one in schema:
            yield from words_of(one)
    elif isinstance(schema, dict):
        for word, value in schema.items():
            yield word
            named = word in ("properties", "$defs")
            yield from words_of(list(value.values()) if named else value)


def test_one_of_becomes_any_of():
    """The nearest the API has; that only one fits is checked on the answer."""
    asked = {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}}

    assert [{"type": "string"}, {"type": "null"}] == narrowed(asked)["properties"]["a"]["anyOf"]


@pytest.mark.parametrize(
    "asked",
    [
        {"counts": dict[str, int]},
        {"anything": dict},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}},
    ],
    ids=["counts", "anything", "not", "free"],
)
def test_what_cannot_be_said_is_refused(asked):
    """The call hears of it before anything is sent."""
    with pytest.raises(OptionError, match="Anthropic"):
        narrowed(asked)
