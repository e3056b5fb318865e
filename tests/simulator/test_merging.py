"""References are followed, and what must hold together becomes one schema."""

import math

import pytest

from dfllm.simulator.merging import BadReference, both, depth, follow, possible, types_of

ROOT = {
    "$defs": {
        "List": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/List"}, {"type": "null"}]}}, "required": ["next"]},
        "Loop": {"properties": {"self": {"$ref": "#/$defs/Loop"}}, "required": ["self"]},
        "a/b": True,
    },
    "anyOf": [{"type": "string"}],
}


@pytest.mark.parametrize(
    ("reference", "found"),
    [("#", ROOT), ("#/$defs/a~1b", True), ("#/%24defs/a~1b", True), ("#/anyOf/0", {"type": "string"})],
)
def test_references_are_followed(reference, found):
    """A reference leads through names and places, escaped or not."""
    assert found == follow(ROOT, reference)


@pytest.mark.parametrize("reference", ["#/$defs/None", "#/anyOf/1", "#/anyOf/x", "#/$defs/List/required", "other.json"])
def test_bad_references_are_refused(reference):
    """A reference to nothing, or to what is no schema, is refused."""
    with pytest.raises(BadReference):
        follow(ROOT, reference)


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ({"minimum": 1}, {"minimum": 2, "maximum": 5}, {"minimum": 2, "maximum": 5}),
        ({"maxLength": 3}, {"maxLength": 2}, {"maxLength": 2}),
        ({"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
        ({"enum": [1, 2]}, {"enum": [2, 3]}, {"enum": [2]}),
        ({"type": "number"}, {"type": ["integer", "string"]}, {"type": ["integer"]}),
        ({"type": "string"}, {"type": "null"}, {"type": []}),
        ({"multipleOf": 4}, {"multipleOf": 6}, {"multipleOf": 12}),
        ({"items": {"minimum": 1}}, {"items": {"maximum": 2}}, {"items": {"minimum": 1, "maximum": 2}}),
        ({"properties": {"a": True}}, {"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"minimum": 1}}}),
        ({"title": "A"}, {"title": "B"}, {"title": "B"}),
        (True, {"minimum": 1}, {"minimum": 1}),
        ({}, False, {"enum": []}),
    ],
)
def test_both_holds_for_both(one, other, joined):
    """Each keyword is put together in its own way."""
    assert joined == both(one, other)


def test_impossible_is_noticed():
    """A schema that allows no type or value is found out."""
    joined = both({"type": "string"}, {"type": "null"})

    assert not possible(joined)


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": ["null", "string"]}, ["null", "string"]),
        ({"properties": {}}, ["object"]),
        ({"items": {}}, ["array"]),
        ({"minimum": 1}, ["number"]),
        ({}, ["string"]),
    ],
)
def test_types_are_guessed(schema, types):
    """Where no type is given, the keywords tell."""
    assert types == types_of(schema)


@pytest.mark.parametrize(
    ("schema", "levels"),
    [
        (True, 0),
        ({"type": "null"}, -1),
        ({"$ref": "#/$defs/List"}, 0),
        ({"$ref": "#/$defs/Loop"}, math.inf),
        ({"type": "array", "items": {"type": "array", "items": True, "minItems": 1}, "minItems": 1}, 2),
    ],
)
def test_depth_finds_the_way_out(schema, levels):
    """What ends soonest has the least depth, and what never ends has no end."""
    assert levels == depth(schema, ROOT)
