"""Forms: what the answers to the verbs must hold, where `schema_of` has no word for it."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from dfllm._core.errors import OptionError
from dfllm._core.inputs import has_surrogate
from dfllm._core.output import OutputError
from dfllm._core.schema import ONLY, Schema, schema_of

#: Scales of so many numbers are sent as a choice of them.
_FEW = 32


def several(labels: Sequence[str]) -> Schema:
    """Return the form of any number of labels, as a list in the order given here, each at most once."""
    known = frozenset(labels)

    def check(value: Any) -> Mapping[str, Any]:
        found = value.get(ONLY) if isinstance(value, dict) else value
        if not isinstance(found, list):
            raise OutputError(f"$.{ONLY}: no list of labels")
        for place, label in enumerate(found):
            if not isinstance(label, str) or label not in known:
                raise OutputError(f"$.{ONLY}[{place}]: {str(label)[:40]!r} not in enum")
        return {ONLY: [label for label in labels if label in found]}

    # Sorted, as for one label: their order is no part of the question.
    only = {"type": "array", "items": {"type": "string", "enum": sorted(labels)}}
    return Schema(
        _sent({ONLY: only}), strict=True, fields={ONLY: "json"}, single=True, check=check, labels=tuple(labels)
    )


def whole_number(low: int, high: int, *, reason: bool) -> Schema:
    """Return the form of a whole number within bounds, which are part of it; with its reason, if one is asked for."""
    name = "score" if reason else ONLY

    def check(value: Any) -> Mapping[str, Any]:
        found = value if isinstance(value, dict) else {name: value}
        number = found.get(name)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if type(number) is not int or not low <= number <= high:
            raise OutputError(f"$.{name}: {str(number)[:40]} is no whole number from {low} to {high}")
        if not reason:
            return {name: number}
        if not isinstance(why := found.get("reason"), str):
            raise OutputError("$.reason: no text")
        return {name: number, "reason": why}

    numbers = list(range(low, high + 1)) if high - low < _FEW else []
    # Every provider holds a model to a choice; not all do to bounds.
    bounded = {"type": "integer", "enum": numbers} if numbers else {"type": "integer", "minimum": low, "maximum": high}
    if not reason:
        return Schema(_sent({name: bounded}), strict=True, fields={name: "int"}, single=True, check=check)
    # Providers answer in this order: a reason that follows the number would only defend it.
    sent = _sent({"reason": {"type": "string"}, name: bounded})
    return Schema(sent, strict=True, fields={name: "int", "reason": "text"}, single=False, check=check, main=name)


def fields_of(asked: Any) -> tuple[Schema, dict[str, str]]:
    """Return the form of named fields, and what each of them means where that is said.

    Args:
        asked: a mapping from name to type, to what it means, or to both; a pydantic model; or a JSON schema.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(asked, Mapping) and not isinstance(asked.get("properties"), Mapping):
        return _named(asked)
    if not (isinstance(asked, Mapping) or hasattr(asked, "model_json_schema")):
        raise OptionError(
            "fields takes a mapping from names to types or descriptions, a pydantic model or a JSON schema; "
            f"found {type(asked).__name__}."
        )
    schema = schema_of(asked)
    properties = json.loads(schema.sent)["properties"]
    return schema, {name: str(properties[name].get("description", "")) for name in schema.fields}


def _named(asked: Mapping[Any, Any]) -> tuple[Schema, dict[str, str]]:
    if not asked:
        raise OptionError("fields is empty; name at least one.")
    kinds = {}
    means = {}
    for name, given in asked.items():
        if not isinstance(name, str) or not name.strip() or has_surrogate(name) or "\x00" in name:
            raise OptionError(f"fields has one called {name!r}; names of fields are text.")
        kinds[name], means[name] = _field(name, given)
    return schema_of(_model(kinds)), means


def _field(name: str, given: Any) -> tuple[Any, str]:
    """Return a field's type and what it means."""
    pair = (str, given) if isinstance(given, str) else (given, "")
    kind, means = given if isinstance(given, tuple) and len(given) == 2 else pair
    if not isinstance(means, str) or has_surrogate(means) or "\x00" in means:
        raise OptionError(f"Field {name!r} has a description that is no text: {means!r}.")
    if isinstance(kind, list) and kind and all(isinstance(label, str) for label in kind):
        return Literal[tuple(kind)], means
    if not isinstance(kind, type | types.UnionType) and typing.get_origin(kind) is None and kind is not Any:
        raise OptionError(f"Field {name!r} takes a type, a description, or (type, description); found {given!r:.80}.")
    return kind, means


def _model(kinds: Mapping[str, Any]) -> Any:
    """Return a pydantic model of these fields, each of which may be null."""
    import pydantic  # takes longer to import than all of ours: only those who ask for fields pay for it

    try:
        made = {
            f"field_{number}": (kind | None, pydantic.Field(alias=name))
            for number, (name, kind) in enumerate(kinds.items())
        }
        return pydantic.create_model("Fields", **cast("Any", made))
    except (TypeError, pydantic.errors.PydanticUserError) as error:
        raise OptionError(f"fields cannot be read: {str(error).splitlines()[0]}") from error


def _sent(properties: Mapping[str, Any]) -> str:
    asked = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
