"""The strict form of a schema: it says the same as the user's own, with nulls for what is left out."""

import json

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.schema import schema_of
from dfllm._core.strict import emptied, fills, is_open, strict
from dfllm._wire.schemas import for_anthropic, for_bedrock, for_gemini

PLAIN = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "boolean"},
        {"type": ["string", "null"]},
        {"enum": ["a", "b"]},
        {"const": 7},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "string", "maxLength": 3},
        {"$ref": "#/$defs/part"},
    ]
)


@st.composite
def objects(draw, inner):
    """Return a closed object, some of whose properties may be left out."""
    properties = draw(st.dictionaries(st.sampled_from("pqrs"), inner, min_size=1, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


INNER = st.recursive(
    PLAIN,
    lambda inner: (
        objects(inner)
        | inner.map(lambda one: {"type": "array", "items": one})
        | inner.map(lambda one: {"anyOf": [one, {"type": "null"}]})
    ),
    max_leaves=4,
)


@st.composite
def schemas(draw):
    """Return a whole schema, with a part that may be referred to."""
    return draw(objects(INNER)) | {"$defs": {"part": draw(objects(PLAIN.filter(lambda one: "$ref" not in one)))}}


def answers(schema, root):
    """Return answers that fit a schema; what may be left out sometimes is."""
    if "$ref" in schema:
        return answers(root["$defs"]["part"], root)
    if "anyOf" in schema:
        return st.one_of([answers(one, root) for one in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    made = {
        "null": st.none(),
        "boolean": st.booleans(),
        "string": st.text("ab", max_size=3),
        "integer": st.integers(0, 9),
    }
    if kinds == ["array"]:
        return st.lists(answers(schema["items"], root), max_size=2)
    if kinds == ["object"]:
        needed = {name: answers(one, root) for name, one in schema["properties"].items() if name in schema["required"]}
        others = {name: answers(one, root) for name, one in schema["properties"].items() if name not in needed}
        return st.fixed_dictionaries(needed, optional=others)
    return st.one_of([made[kind] for kind in kinds])


@given(schema=schemas(), data=st.data())
def test_what_fits_the_strict_form_fits_the_users_once_it_is_emptied(schema, data):
    """So no answer that a strict provider gives is paid for and thrown away."""
    answer = data.draw(answers(strict(schema), strict(schema)))

    jsonschema.validate(answer, strict(schema))
    jsonschema.validate(emptied(answer, schema, schema), schema)


@given(schema=schemas(), data=st.data())
def test_what_fits_the_users_form_can_be_said_in_the_strict_one(schema, data):
    """With null where something is left out: nothing that was asked for is forbidden."""
    answer = data.draw(answers(schema, schema))

    jsonschema.validate(filled(answer, schema, schema), strict(schema))


def filled(value, schema, root):
    """Return an answer with null for what was left out."""
    if "$ref" in schema:
        return filled(value, root["$defs"]["part"], root)
    for one in schema.get("anyOf", ()):
        if jsonschema.Draft202012Validator(one | {"$defs": root["$defs"]}).is_valid(value):
            return filled(value, one, root)
    if isinstance(value, list):
        return [filled(item, schema["items"], root) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: filled(value[name], inner, root) if name in value else None
        for name, inner in schema["properties"].items()
    }


@given(schema=schemas(), data=st.data())
@pytest.mark.parametrize("narrow", [for_anthropic, for_gemini, for_bedrock])
def test_narrower_forms_forbid_no_right_answer(narrow, schema, data):
    """What an API does not take is looser there, and checked here."""
    whole = strict(schema)
    answer = data.draw(answers(whole, whole))

    jsonschema.validate(answer, json.loads(narrow(json.dumps(whole))))


@given(schema=schemas(), data=st.data())
def test_an_answer_is_read_as_the_user_asked(schema, data):
    """By the schema that a call makes of it: each field is there, or missing."""
    made = schema_of(schema)
    answer = data.draw(answers(strict(schema), strict(schema)))

    cells = made.read(json.dumps(answer))

    assert list(schema["properties"]) == list(made.fields)
    assert len(cells) == len(made.fields)


class Room(pydantic.BaseModel):
    """A part with a default, which is no null."""

    beds: int
    view: str = "none"


class Hotel(pydantic.BaseModel):
    """A whole of such parts."""

    name: str
    best: Room
    rooms: list[Room] = []


def test_defaults_of_parts_stand_where_a_strict_provider_says_null():
    """At any depth."""
    text = '{"name":"Oslo","best":{"beds":2,"view":null},"rooms":[{"beds":1,"view":null},{"beds":3,"view":"sea"}]}'

    name, best, rooms = schema_of(Hotel).read(text)

    assert ("Oslo", {"beds": 2, "view": "none"}) == (name, json.loads(best))
    assert ["none", "sea"] == [room["view"] for room in json.loads(rooms)]


def test_forms_are_told_apart_by_their_constants():
    """A null that one of them allows is kept in that one only."""
    one = {"properties": {"kind": {"const": "a"}, "x": {"type": "string"}}, "required": ["kind"]}
    two = {"properties": {"kind": {"const": "b"}, "x": {"type": ["string", "null"]}}, "required": ["kind", "x"]}
    schema = {"anyOf": [one, two]}

    assert [{"kind": "a"}, {"kind": "b", "x": None}] == [
        emptied({"kind": kind, "x": None}, schema, schema) for kind in "ab"
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, False),
        ({"properties": {"a": {"type": ["string", "null"]}}}, False),
        ({"properties": {"a": {"type": "string"}}}, True),
        ({"items": {"properties": {"a": {"type": "string"}}}}, True),
    ],
)
def test_only_forms_that_were_filled_need_to_be_emptied(schema, expected):
    """A row of all others costs nothing more."""
    assert expected == fills(schema, schema)


def test_tuples_are_beyond_the_strict_form():
    """What stands in them could not be rewritten."""
    assert is_open({"type": "array", "prefixItems": [{"type": "string"}]})
