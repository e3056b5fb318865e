"""Schemas: what is sent, what columns it makes, and what an answer must hold."""

from __future__ import annotations

import enum
import json
from typing import Literal

import numpy as np
import pandas as pd
import pydantic
import pytest

from dfllm._core.errors import OptionError
from dfllm._core.output import OutputError
from dfllm._core.schema import schema_of


class Verdict(pydantic.BaseModel):
    """A model with every kind of field."""

    label: Literal["good", "bad"]
    stars: int = pydantic.Field(ge=1, le=5)
    share: float
    sure: bool
    note: str | None
    tags: list[str] = []
    place: dict[str, str] | None = None


class Flat(pydantic.BaseModel):
    """A model in the strict subset, with an optional field that may not be null."""

    first: str
    second: int = 3


class Colour(enum.Enum):
    """Labels as an enum."""

    RED = "red"
    BLUE = "blue"


def sent(asked):
    """Return the schema as the provider gets it."""
    return json.loads(schema_of(asked).sent)


def test_labels_are_one_value():
    """A list of labels is one text in the result column itself."""
    schema = schema_of(["good", "bad"])

    assert (True, True, {"answer": "text"}) == (schema.single, schema.strict, schema.fields)
    assert ("good",) == schema.read('{"answer": "good"}')


@pytest.mark.parametrize("asked", [["blue", "red"], ["red", "blue"], Colour, Literal["red", "blue"], ("red", "blue")])
def test_labels_are_sent_sorted(asked):
    """Their order is the user's taste and must not change the key."""
    assert schema_of(["red", "blue"]).sent == schema_of(asked).sent


def test_number_labels_make_a_number_column():
    """Ratings may be labels."""
    schema = schema_of([1, 2, 3])

    assert {"answer": "int"} == schema.fields
    assert (2,) == schema.read('{"answer": 2}')


@pytest.mark.parametrize("asked", [[], ["a", "a"], ["a", 1], ["a", ""], [1.5], [True, False], "abc", 5, {}, {"a": 1}])
def test_what_is_no_schema_is_refused(asked):
    """Before anything is sent, and naming the option."""
    with pytest.raises(OptionError, match=r"(?i)schema|label"):
        schema_of(asked)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"answer": "ugly"}', r"\$\.answer: 'ugly' not in enum"),
        ('{"answer": null}', "not in enum"),
        ('{"answer": 1}', "not in enum"),
        ('{"other": "good"}', "not in enum"),
        ("[]", "not in enum"),
        ("It is good.", "not JSON"),
        ("", "not JSON"),
        ('{"answer": "good", "answer": "bad"}', "twice"),
        ('{"answer": NaN}', "NaN"),
        ('{"answer": ' + "[" * 100 + "]" * 100 + "}", "deeper"),
        ('{"answer": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_answers_that_are_no_label_are_refused(text, reason):
    """With a word on where and why."""
    with pytest.raises(OutputError, match=reason):
        schema_of(["good", "bad"]).read(text)


@pytest.mark.parametrize(
    "text",
    ['```json\n{"answer": "good"}\n```', 'Sure! {"answer": "good"} Anything else?', ' \n{"answer":"good"}', '"good"'],
)
def test_json_in_prose_is_found(text):
    """Fences and surrounding words are taken off."""
    assert ("good",) == schema_of(["good", "bad"]).read(text)


def test_model_makes_a_column_per_field():
    """In the model's order, with the kind each field calls for."""
    schema = schema_of(Verdict)

    assert not schema.single
    assert {
        "label": "text",
        "stars": "int",
        "share": "float",
        "sure": "bool",
        "note": "text",
        "tags": "json",
        "place": "json",
    } == schema.fields


class Node(pydantic.BaseModel):
    """A model that holds itself."""

    name: str
    parts: list[Node] = []


def test_model_that_holds_itself_has_its_fields():
    """Its JSON schema begins with a reference to a definition, where the fields are."""
    schema = schema_of(Node)
    told = {"name": "a", "parts": [{"name": "b", "parts": None}]}

    assert {"name": "text", "parts": "json"} == dict(schema.fields)
    assert "object" == json.loads(schema.sent)["type"]
    assert {"name": "a", "parts": [{"name": "b", "parts": []}]} == schema.check(told)


def test_model_is_read_into_cells():
    """Lists and objects become JSON text, whole numbers stay whole."""
    said = {"label": "good", "stars": 4, "share": 1, "sure": True, "note": None, "tags": ["é"], "place": None}

    assert ("good", 4, 1.0, True, None, '["é"]', None) == schema_of(Verdict).read(json.dumps(said))


def test_model_in_the_strict_subset_is_sent_strict():
    """Everything is required, nothing else allowed, and what was optional may be null."""
    schema = schema_of(Flat)

    assert schema.strict
    assert ["first", "second"] == sent(Flat)["required"]
    assert sent(Flat)["additionalProperties"] is False
    assert {"type": "null"} in sent(Flat)["properties"]["second"]["anyOf"]


def test_null_stands_for_left_out():
    """A strict provider must answer every field; the model's default fills in."""
    assert ("x", 3) == schema_of(Flat).read('{"first": "x", "second": null}')


def test_free_objects_are_sent_loose():
    """A mapping of any keys has no strict form, so none is claimed."""
    assert not schema_of(Verdict).strict


def test_fields_keep_their_order_on_the_wire():
    """What the model says first steers what it says next."""
    assert ["zebra", "ape"] == list(sent({"zebra": str, "ape": int})["properties"])


def test_mapping_of_types_is_a_schema():
    """Types, unions and lists of labels."""
    schema = schema_of({"mood": ["up", "down"], "age": int | None, "tags": list[str]})

    assert {"mood": "text", "age": "int", "tags": "json"} == schema.fields
    assert ("up", None, "[]") == schema.read('{"mood": "up", "age": null, "tags": []}')


def test_validators_of_a_model_count():
    """The user's own meaning is checked here, though the provider never sees it."""
    with pytest.raises(OutputError, match=r"\$\.stars: "):
        schema_of(Verdict).read(
            '{"label": "good", "stars": 9, "share": 0, "sure": true, "note": "", "tags": [], "place": null}'
        )


def test_json_schema_is_checked_as_written():
    """Draft 2020-12, with the path of what is wrong."""
    schema = schema_of(
        {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}, "required": ["n"]},
    )

    assert {"n": "int"} == schema.fields
    assert (3,) == schema.read('{"n": 3}')
    with pytest.raises(OutputError, match=r"\$\.n: 4 is greater"):
        schema.read('{"n": 4}')


def test_json_schema_that_is_no_object_is_wrapped():
    """Strict providers want an object at the root; the column gets the value alone."""
    schema = schema_of({"type": "array", "items": {"type": "integer"}})

    assert schema.single
    assert ["answer"] == list(json.loads(schema.sent)["properties"])
    assert ("[1,2]",) == schema.read('{"answer": [1, 2]}')
    assert ("[1,2]",) == schema.read("[1, 2]")


def test_references_are_followed():
    """A field behind $ref has the kind of what it refers to."""
    asked = {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/count"}, "m": {"anyOf": [{"$ref": "#/$defs/count"}, {"type": "null"}]}},
        "$defs": {"count": {"type": "integer"}},
        "required": ["n", "m"],
    }

    assert {"n": "int", "m": "int"} == schema_of(asked).fields
    assert (1, None) == schema_of(asked).read('{"n": 1, "m": null}')


def test_numbers_that_fit_no_column_are_refused():
    """A whole number over 64 bits would break the column for everyone."""
    with pytest.raises(OutputError, match="64 bits"):
        schema_of({"n": int}).read('{"n": 9223372036854775808}')


def test_broken_json_schema_is_refused():
    """With the schema's own complaint."""
    with pytest.raises(OptionError, match="no JSON schema"):
        schema_of({"type": "integr"})


def test_a_bare_enum_is_a_json_schema():
    """Not a field of that name."""
    schema = schema_of({"enum": ["a", "b"]})

    assert (True, ("a",)) == (schema.single, schema.read('{"answer": "a"}'))


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/z"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.org/z.json"}}},
        {"type": "object", "properties": {}},
    ],
)
def test_schemas_that_lead_nowhere_are_refused(asked):
    """A reference to nothing, and an object that makes no column."""
    with pytest.raises(OptionError, match="schema"):
        schema_of(asked)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (pd.Series(["good", "bad"]), ["good", "bad"]),
        (pd.Series(["good", "bad", "good"]).unique(), ["good", "bad"]),
        (np.array([1, 2]), [1, 2]),
        ([np.int64(1), np.int64(2)], [1, 2]),
    ],
    ids=["column", "unique", "array", "numbers of numpy"],
)
def test_labels_of_the_data_are_labels(given, same):
    """As they come out of a frame."""
    assert schema_of(same).sent == schema_of(given).sent
