"""Functions to schemas: hints, defaults and docstrings as a model reads them."""

from __future__ import annotations

import enum
import json
import warnings
from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest

from dfllm._core.functions import parameters_of


class Mood(enum.Enum):
    """How it feels."""

    GOOD = "good"
    BAD = "bad"


class Place(pydantic.BaseModel):
    """Where it is."""

    title: str
    zip: int | None = None


class Node(pydantic.BaseModel):
    """What has children of its kind."""

    name: str
    children: list[Node]


def schema_of(hint: Any, *default: Any) -> dict[str, Any]:
    """Return the schema of a function's one argument, and whether it is required."""

    def tool(given): ...

    tool.__annotations__ = {"given": hint}
    tool.__defaults__ = default
    return parameters_of(tool)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}),
        (list[int], {"items": {"type": "integer"}, "type": "array"}),
        (dict[str, int], {"additionalProperties": {"type": "integer"}, "type": "object"}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Annotated[int, pydantic.Field(ge=1, description="so many")], {"description": "so many", "minimum": 1}),
        (Any, {}),
    ],
    ids=str,
)
def test_a_hint_is_a_schema(hint, expected):
    """And without a default it is required."""
    made = schema_of(hint)

    assert expected.items() <= made["properties"]["given"].items()
    assert ["given"] == made["required"]


def test_a_default_makes_an_argument_optional():
    """The model is told what it is."""
    made = schema_of(int, 3)

    assert {"default": 3, "type": "integer"} == made["properties"]["given"]
    assert "required" not in made


@pytest.mark.parametrize("default", [float("nan"), float("inf"), object()])
def test_a_default_that_is_no_json_is_not_told(default):
    """Nobody is warned of it either."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = schema_of(float, default)

    assert {"given": {"type": "number"}} == made["properties"]


@pytest.mark.parametrize("name", ["copy", "json", "_id", "model_config", "schema", "self_", "title", "default"])
def test_an_argument_may_have_any_name(name):
    """Also one that pydantic keeps to itself."""
    names: dict[str, Any] = {}
    exec(f"def tool({name}: str): ...", names)

    assert [name] == list(parameters_of(names["tool"])["properties"])


def read(place: Place, mood: Mood, node: Node, title: str, at: Place | None = None) -> None:
    """Read it.

    Args:
        place: where to look,
            and how.
        mood (Mood): what to feel.
        node: of the tree.
        title: of the book.
        at: where else.
        nobody: is no argument.

    Returns:
        title: is no argument here.
    """


def test_arguments_are_described_by_the_docstring():
    """Also where the type is one of its own, which is then written out in its place; a word of its own goes before."""
    made = parameters_of(read)["properties"]

    assert "where to look, and how." == made["place"]["description"]
    assert {"description": "what to feel.", "enum": ["good", "bad"], "type": "string"} == made["mood"]
    assert {"description": "of the book.", "type": "string"} == made["title"]


def test_models_within_models_stay_together():
    """References lead somewhere, and what nobody refers to is not sent."""
    made = parameters_of(read)

    assert {"Node", "Place"} == set(made["$defs"])
    jsonschema.Draft202012Validator.check_schema(made)
    value = {
        "place": {"title": "x"},
        "mood": "bad",
        "node": {"name": "a", "children": [{"name": "b", "children": []}]},
        "title": "t",
    }
    jsonschema.validate(value, made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "node": {"name": "a", "children": [{}]}}, made)


def test_nothing_else_is_taken():
    """A function takes what it names; pydantic's titles say nothing, and a property of that name is one."""
    made = parameters_of(read)

    assert False is made["additionalProperties"]
    assert "title" in made["$defs"]["Place"]["properties"]
    assert '"title": "' not in json.dumps(made)
