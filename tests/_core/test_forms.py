"""The forms of the verbs' answers: what is sent, what is let in, and what is refused."""

import json
from typing import Any, Literal

import pydantic
import pytest

from dfllm._core.errors import OptionError
from dfllm._core.forms import fields_of, several, whole_number
from dfllm._core.output import OutputError
from dfllm._core.schema import schema_of


def sent(schema):
    """Return the properties that the provider gets."""
    return json.loads(schema.sent)["properties"]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('{"answer": ["cheap", "light", "cheap"]}', '["light","cheap"]'),
        ('["cheap"]', '["cheap"]'),
        ('{"answer": []}', "[]"),
    ],
)
def test_several_labels_come_once_each_in_their_own_order(said, read):
    """What the provider repeats or turns round is put right; none is an answer too."""
    assert (read,) == several(["light", "cheap", "good"]).read(said)


@pytest.mark.parametrize("said", ['{"answer": ["dear"]}', '{"answer": "cheap"}', "{}", '{"answer": [["cheap"]]}'])
def test_other_things_than_labels_are_no_answer(said):
    """A label nobody gave, a text in the place of the list, or nothing at all."""
    with pytest.raises(OutputError):
        several(["light", "cheap"]).read(said)


def test_order_of_labels_is_not_sent():
    """Turning the labels round changes no question."""
    assert several(["light", "cheap"]).sent == several(["cheap", "light"]).sent


@pytest.mark.parametrize(("said", "read"), [('{"answer": 1}', 1), ('{"answer": 5.0}', 5), ("3", 3)])
def test_a_number_within_bounds_is_a_score(said, read):
    """The bounds belong to it, and a number written as 5.0 is a whole one."""
    (number,) = whole_number(1, 5, reason=False).read(said)

    assert read == number
    assert int is type(number)


@pytest.mark.parametrize("said", ['{"answer": 0}', '{"answer": 6}', '{"answer": 2.5}', '{"answer": true}', "{}", '"3"'])
def test_any_other_number_is_none(said):
    """Out of bounds, broken, truth or text: no score."""
    with pytest.raises(OutputError, match="no whole number from 1 to 5"):
        whole_number(1, 5, reason=False).read(said)


@pytest.mark.parametrize(
    ("high", "bounds"),
    [(5, {"enum": [1, 2, 3, 4, 5]}), (32, {"enum": [*range(1, 33)]}), (33, {"minimum": 1, "maximum": 33})],
)
def test_a_short_scale_is_sent_as_a_choice(high, bounds):
    """Some providers do not hold a model to bounds, all do to a choice; a long one would be a long schema."""
    assert {"answer": {"type": "integer", **bounds}} == sent(whole_number(1, high, reason=False))


def test_reason_is_answered_before_the_score_and_stands_behind_it():
    """Providers answer in the order of the schema; columns have the score first."""
    schema = whole_number(1, 5, reason=True)

    assert ["reason", "score"] == list(sent(schema))
    assert (4, "Useful.") == schema.read('{"reason": "Useful.", "score": 4}')
    with pytest.raises(OutputError, match="reason"):
        schema.read('{"reason": null, "score": 4}')


def test_fields_may_be_null_and_have_the_types_that_were_given():
    """A type, a description, both, or a choice: each is a field that may be missing."""
    schema, means = fields_of({"price": float, "what": "the product", "count": (int, "how many"), "tone": ["a", "b"]})

    assert {"price": "float", "what": "text", "count": "int", "tone": "text"} == schema.fields
    assert {"price": "", "what": "the product", "count": "how many", "tone": ""} == means
    assert all({"type": "null"} in one["anyOf"] for one in sent(schema).values())
    assert (None, None, None, None) == schema.read('{"price":null,"what":null,"count":null,"tone":null}')


class Facts(pydantic.BaseModel):
    """A user's own model."""

    price: float = pydantic.Field(description="in euros")
    what: str | None


def test_models_and_json_schemas_say_themselves_what_may_be_null():
    """They are taken as `complete` takes them, with their own descriptions."""
    schema, means = fields_of(Facts)
    other, _ = fields_of(Facts.model_json_schema())

    assert schema_of(Facts).sent == schema.sent
    assert sent(schema) == sent(other)
    assert {"price": "in euros", "what": ""} == means
    with pytest.raises(OutputError):
        schema.read('{"price":null,"what":null}')


@pytest.mark.parametrize("kind", [str, int, float, bool, list[str], dict[str, int], int | None, Literal["a", "b"], Any])
def test_types_of_every_sort_are_fields(kind):
    """Whatever pydantic has a schema for may be null besides."""
    schema, _ = fields_of({"one": kind})

    assert (None,) == schema.read('{"one": null}')


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "empty"),
        ({"a": 5}, "Field 'a'"),
        ({"a": object()}, "Field 'a'"),
        ({"a": memoryview}, "cannot be read"),
        ({"a": None}, "Field 'a'"),
        ({"a": (int, 5)}, "description"),
        ({"a": (int, "b", "c")}, "Field 'a'"),
        ({"a": ("b", "c")}, "Field 'a'"),
        ({"a": {"type": "string"}}, "Field 'a'"),
        ({"a": []}, "Field 'a'"),
        ({3: int}, "called 3"),
        ({" ": int}, "called ' '"),
        (["a", "b"], "found list"),
        ("a", "found str"),
        (None, "found NoneType"),
        ({"properties": {}, "type": "object"}, "without properties"),
    ],
)
def test_fields_of_no_known_kind_are_refused(asked, said):
    """The message names the field, or what was found in the place of fields."""
    with pytest.raises(OptionError, match=said):
        fields_of(asked)
