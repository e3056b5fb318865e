"""Whatever schema is asked for, the answer fits it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dfllm.simulator.schemas import BadSchema, fit

REVIEW = (
    "Review: The staff in Oslo was friendly, the 3 rooms were clean, I love it. Mail anna@hotel.example, 2024-05-17."
)
NODE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
            "required": ["name", "next", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/Node",
}
PATTERNS = ("^[A-Z]{2}$", r"^\d+$", "^(yes|no)$", "[a-f]+x?")
FORMATS = ("date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid")


def valid(value, schema):
    """Tell whether a value fits a schema, by the reference implementation."""
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(value)


def bounded(kind, low, span, keywords):
    """Return a number's schema with some of its bounds."""
    bounds = {"minimum": low, "maximum": low + span, "exclusiveMinimum": low - 1, "exclusiveMaximum": low + span + 1}
    return {"type": kind, **{keyword: bounds[keyword] for keyword in keywords}}


numbers = st.builds(
    bounded,
    st.sampled_from(["integer", "number"]),
    st.integers(-1_000, 1_000),
    st.integers(0, 50),
    st.sets(st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])),
)
multiples = st.builds(
    lambda kind, step, low: {"type": kind, "multipleOf": step, "minimum": low, "maximum": low + 10 * step},
    st.sampled_from(["integer", "number"]),
    st.integers(1, 20),
    st.integers(-100, 100),
)
texts = st.builds(
    lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
    st.integers(0, 60),
    st.integers(0, 60),
)
scalars = st.one_of(
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": "string"}, {}, True]
    ),
    numbers,
    multiples,
    texts,
    st.builds(lambda pattern: {"type": "string", "pattern": pattern}, st.sampled_from(PATTERNS)),
    st.builds(lambda form: {"type": "string", "format": form}, st.sampled_from(FORMATS)),
    st.builds(
        lambda values: {"enum": values}, st.lists(st.text() | st.integers() | st.none(), min_size=1, unique=True)
    ),
    st.builds(lambda value: {"const": value}, st.text() | st.booleans()),
    st.just({"$ref": "#/$defs/Node"}),
)


def lists_of(items):
    """Return schemas of arrays."""
    sizes = st.fixed_dictionaries({}, optional={"minItems": st.integers(0, 3), "maxItems": st.integers(3, 5)})
    plain = st.builds(lambda item, size: {"type": "array", "items": item, **size}, items, sizes)
    tuples = st.builds(
        lambda parts: {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)},
        st.lists(items, min_size=1, max_size=3),
    )
    return plain | tuples


def objects_of(items):
    """Return schemas of objects and mappings."""
    fields = st.dictionaries(st.text(max_size=5) | st.sampled_from(["score", "summary", "$ref"]), items, max_size=4)
    plain = st.builds(
        lambda fields, needed, closed: {
            "type": "object",
            "properties": fields,
            "required": [name for name in fields if len(name) % 2 == needed],
            **({"additionalProperties": False} if closed else {}),
        },
        fields,
        st.integers(0, 1),
        st.booleans(),
    )
    mappings = st.builds(lambda item: {"type": "object", "additionalProperties": item, "minProperties": 1}, items)
    joined = st.builds(
        lambda one, other: {"allOf": [{"type": "object", "properties": part} for part in (one, other)]},
        st.dictionaries(st.sampled_from("abc"), items),
        st.dictionaries(st.sampled_from("def"), items),
    )
    return plain | mappings | joined


schemas = st.recursive(
    scalars,
    lambda items: st.one_of(
        lists_of(items),
        objects_of(items),
        st.builds(lambda options: {"anyOf": options}, st.lists(items, min_size=1, max_size=3)),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(schema=schemas, text=st.text() | st.just(REVIEW), key=st.text(max_size=5))
def test_values_fit_random_schemas(schema, text, key):
    """Random schemas of the subset get valid values, whatever the text and the luck."""
    whole = {"type": "object", "properties": {"value": schema}, "required": ["value"], "$defs": NODE["$defs"]}

    value = fit(whole, text, key)

    assert valid(json.loads(json.dumps(value)), whole)


@pytest.mark.parametrize(
    "schema",
    [
        NODE,
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {
            "$defs": {
                "Sum": {"type": "array", "items": {"$ref": "#/$defs/Term"}, "minItems": 2},
                "Term": {"anyOf": [{"$ref": "#/$defs/Sum"}, {"type": "integer"}]},
            },
            "$ref": "#/$defs/Sum",
        },
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 5},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3},
        {"oneOf": [{"type": "string"}, {"type": "integer", "minimum": 3}]},
        {"type": "integer", "allOf": [{"minimum": 3}, {"minimum": 7, "maximum": 9}, {"multipleOf": 4}]},
        {"type": "string", "anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}]},
        {"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
        {"type": "number", "multipleOf": 0.1, "minimum": 0.35, "maximum": 0.75},
        {"type": "integer", "exclusiveMaximum": -10},
        {"type": "integer", "multipleOf": 250},
        {"properties": {"a~b/c%": {"type": "null"}, "d": {"$ref": "#/properties/a~0b~1c%25"}}, "required": ["d"]},
        {"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1},
        {"type": "object", "minProperties": 3},
        {"type": "object", "required": ["unknown"], "additionalProperties": {"type": "integer"}},
    ],
)
def test_values_fit_tricky_schemas(schema):
    """References to itself come to an end, and what must hold together does."""
    values = [fit(schema, REVIEW, str(turn)) for turn in range(30)]

    assert all(valid(value, schema) for value in values)


@pytest.mark.parametrize(
    ("name", "schema", "value"),
    [
        ("label", {"enum": ["positive", "negative", "neutral"]}, "positive"),
        ("rating", {"type": "integer", "minimum": 1, "maximum": 5}, 4),
        ("rooms", {"type": "integer", "maximum": 9}, 3),
        ("email", {"type": "string", "format": "email"}, "anna@hotel.example"),
        ("date", {"type": "string", "format": "date"}, "2024-05-17"),
        ("is_positive", {"type": "boolean"}, True),
    ],
)
def test_values_look_at_the_text(name, schema, value):
    """What the text says is taken, where it fits."""
    whole = {"type": "object", "properties": {name: schema}, "required": [name]}

    assert {name: value} == fit(whole, REVIEW, "key")


def test_fields_come_in_order():
    """Fields are in the schema's order, as they are with the vendor."""
    schema = {"type": "object", "properties": {name: {"type": "null"} for name in "zab"}}

    assert ["z", "a", "b"] == list(fit(schema, "", "key"))


def test_optional_is_seldom_null():
    """What may be null mostly is not, but sometimes."""
    schema = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    nulls = [fit(schema, "", str(turn)) is None for turn in range(200)]

    assert 5 < sum(nulls) < 60


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Nowhere"},
        {"$ref": "https://example.com/schema"},
        {"properties": []},
        {"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]},
        {"enum": 3},
        {"type": "integer", "minimum": "low"},
        {"anyOf": []},
    ],
)
def test_nonsense_is_refused(schema):
    """What is no schema, or has no value, is refused by name."""
    with pytest.raises(BadSchema):
        fit(schema, "", "key")
