"""Strict mode takes the schemas that OpenAI takes."""

import pytest

from dfllm.simulator import strict

GOOD = {
    "type": "object",
    "properties": {
        "label": {"enum": ["a", "b"]},
        "more": {"anyOf": [{"$ref": "#/$defs/More"}, {"type": "null"}]},
        "list": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "required": ["label", "more", "list"],
    "additionalProperties": False,
    "$defs": {"More": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}},
}


def test_strict_takes_its_subset():
    """A schema within the subset is taken."""
    assert strict.complaint(GOOD) is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {}}, 'type: "object"'),
        ({"anyOf": [GOOD]}, 'type: "object"'),
        (True, 'type: "object"'),
        (GOOD | {"additionalProperties": True}, "'additionalProperties' is required"),
        (GOOD | {"required": ["label", "list"]}, "Missing 'more'"),
        (GOOD | {"allOf": []}, "'allOf' is not permitted"),
        (GOOD | {"$defs": {"More": {"oneOf": [GOOD]}}}, "'oneOf' is not permitted"),
        (
            GOOD | {"properties": {"list": {"type": "array", "items": {"type": "object"}}}, "required": ["list"]},
            "items",
        ),
        (GOOD | {"properties": {"one": {"anyOf": [{"not": {}}]}}, "required": ["one"]}, "'not' is not permitted"),
    ],
)
def test_strict_refuses_the_rest(schema, words):
    """What lies outside is refused, and the message says where."""
    assert words in strict.complaint(schema)
