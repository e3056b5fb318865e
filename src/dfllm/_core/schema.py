"""Schemas: what the user asked for, as it is sent, as it is checked, and as columns.

What is sent is plain JSON Schema in the shape strict providers take; the user's own meaning is checked on the answer.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dfllm._core.errors import OptionError
from dfllm._core.inputs import has_surrogate
from dfllm._core.output import Cell, OutputError, cell, parse
from dfllm._core.strict import Kind, emptied, fills, is_open, kind_of, lost_ref, nullable, strict

if TYPE_CHECKING:
    import pydantic  # takes longer to import than all of ours: only those who ask for a schema pay for it

Check: TypeAlias = Callable[[Any], Mapping[str, Any]]

#: The one property of a schema that is no object by itself, such as a list of labels.
ONLY = "answer"


@dataclass(frozen=True, slots=True)
class Schema:
    """What each answer must hold.

    Attributes:
        sent: JSON of the schema as the provider gets it.
        strict: whether it is in the strict subset.
        fields: top-level fields and the kind of their columns, in the user's order.
        single: whether the answer is one value, which goes into the result column itself.
        labels: what a single answer may be, as text; empty where it may be anything.
        check: takes parsed JSON, returns the fields' values; raises OutputError.
        main: the field that goes into the result column itself, beside the columns of the others.
    """

    sent: str
    strict: bool
    fields: Mapping[str, Kind]
    single: bool
    check: Check
    labels: tuple[str, ...] = ()
    main: str | None = None

    def read(self, text: str) -> tuple[Cell, ...]:
        """Return one cell per field, in order; lists and objects as JSON text.

        Raises:
            OutputError: the text is no JSON, or not of this shape.
        """
        values = self.check(parse(text))
        return tuple(cell(name, values.get(name), kind) for name, kind in self.fields.items())


def schema_of(asked: Any) -> Schema:
    """Return the Schema for a list of labels, a pydantic model, a mapping of fields to types, or a JSON schema.

    Raises:
        OptionError: it is none of these, or no provider could follow it.
    """
    if isinstance(asked, Schema):
        return asked
    if isinstance(asked, type) and issubclass(asked, enum.Enum):
        return _labels([member.value for member in asked])
    if typing.get_origin(asked) is Literal:
        return _labels(typing.get_args(asked))
    if isinstance(asked, type) and hasattr(asked, "model_json_schema"):
        return _model(asked)
    if isinstance(asked, Mapping):
        return _fields(asked) if _is_fields(asked) else _json_schema(asked)
    if hasattr(asked, "tolist"):  # an array or a column
        return _labels(asked.tolist())
    if isinstance(asked, Sequence) and not isinstance(asked, (str, bytes)):
        return _labels(asked)
    raise OptionError(
        f"schema takes a list of labels, a pydantic model, a mapping of fields to types or a JSON schema; "
        f"found {type(asked).__name__}."
    )


def _is_fields(asked: Mapping[Any, Any]) -> bool:
    # {"enum": ["a", "b"]} reads both ways; as a JSON schema it is common, as a field called enum it is not.
    return bool(asked) and set(asked) != {"enum"} and all(map(_is_type, asked.values()))


def _is_type(value: Any) -> bool:
    if isinstance(value, (type, types.UnionType)) or typing.get_origin(value) is not None or value is Any:
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(label, str) for label in value)


def _labels(labels: Sequence[Any]) -> Schema:
    labels = [label.item() if hasattr(label, "dtype") else label for label in labels]  # numpy's numbers
    kinds = {type(label) for label in labels}
    if kinds not in ({str}, {int}):
        raise OptionError(f"Labels must be all text or all whole numbers, at least one; found {list(labels)[:5]!r}.")
    if len(set(labels)) < len(labels):
        raise OptionError("A label stands twice in schema.")
    if "" in labels:
        raise OptionError("A label is the empty text.")
    known = frozenset(labels)
    text = kinds == {str}

    def check(value: Any) -> Mapping[str, Any]:
        label = value.get(ONLY) if isinstance(value, dict) else value
        if type(label) not in kinds or label not in known:
            raise OutputError(f"$.{ONLY}: {str(label)[:40]!r} not in enum")
        return {ONLY: label}

    # Sorted: the order of labels is the user's taste and must not change the key.
    only = {"type": "string" if text else "integer", "enum": sorted(labels)}
    return Schema(
        _line(_object({ONLY: only})),
        strict=True,
        fields={ONLY: "text" if text else "int"},
        single=True,
        check=check,
        labels=tuple(map(str, labels)),
    )


def _fields(asked: Mapping[Any, Any]) -> Schema:
    import pydantic

    if odd := [name for name in asked if not isinstance(name, str) or has_surrogate(name)]:
        raise OptionError(f"schema has a field called {odd[0]!r}; names of fields are text.")
    # By alias: a field may be called copy, json or _id, which pydantic keeps to itself.
    made = {
        f"field_{number}": (Literal[tuple(kind)] if isinstance(kind, list) else kind, pydantic.Field(alias=name))
        for number, (name, kind) in enumerate(asked.items())
    }
    try:
        return _model(pydantic.create_model("Fields", **made))  # type: ignore[call-overload]  # made at run time
    except (TypeError, pydantic.errors.PydanticUserError) as error:
        raise OptionError(f"schema cannot be read: {error}") from error


def _model(model: type[pydantic.BaseModel]) -> Schema:
    import pydantic

    try:
        asked = model.model_json_schema()
    except pydantic.errors.PydanticUserError as error:
        raise OptionError(f"{model.__name__} has a field without a JSON schema: {error.message}") from error
    if root := asked.get("$ref"):  # a model that holds itself: its fields stand among the definitions
        asked = asked["$defs"][root.removeprefix("#/$defs/")] | {"$defs": asked["$defs"]}
    given = asked.get("properties", {})
    if not given:
        raise OptionError(f"{model.__name__} has no fields.")
    dropped = {name for name in given if name not in asked.get("required", ()) and not nullable(given[name], asked)}
    deep = fills(asked, asked)

    def check(value: Any) -> Mapping[str, Any]:
        if deep:
            value = emptied(value, asked, asked)
        if isinstance(value, dict):  # once more, since an answer may lack a field or have one more
            value = {name: item for name, item in value.items() if item is not None or name not in dropped}
        try:
            return model.model_validate(value).model_dump(mode="json", by_alias=True)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            raise OutputError(f"${path}: {first['msg']}") from error

    return _built(asked, {name: kind_of(given[name], asked) for name in given}, single=False, check=check)


def _json_schema(given: Mapping[str, Any]) -> Schema:
    import jsonschema

    asked = dict(given)
    try:
        cls = jsonschema.validators.validator_for(asked, default=jsonschema.Draft202012Validator)
        cls.check_schema(asked)
    except jsonschema.SchemaError as error:
        raise OptionError(f"schema is no JSON schema: {error.message[:200]}") from error
    if not any(word in asked for word in ("type", "properties", "enum", "anyOf", "oneOf", "allOf", "$ref", "const")):
        raise OptionError("schema is an object without 'type' or 'properties'; a mapping of fields takes types.")
    if asked.get("type") == "object" and not asked.get("properties") and "$ref" not in asked:
        raise OptionError("schema is an object without properties, which would make no column.")
    if lost := lost_ref(asked, asked):
        raise OptionError(f"schema refers to {lost!r}, which is not in it.")
    whole = dict(asked)
    single = "properties" not in whole
    validator = cls(asked)
    deep = fills(asked, asked)

    def check(value: Any) -> Mapping[str, Any]:
        if single and isinstance(value, dict) and set(value) == {ONLY}:
            value = value[ONLY]
        if deep:
            value = emptied(value, asked, asked)
        if not single and isinstance(value, dict):
            kept = whole.get("required", ())
            value = {name: item for name, item in value.items() if item is not None or name in kept}
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            raise OutputError(f"{error.json_path}: {error.message[:120]}")
        return {ONLY: value} if single else typing.cast("Mapping[str, Any]", value)

    if single:
        defs: dict[str, Any] = {name: whole.pop(name) for name in ("$defs", "definitions") if name in whole}
        root: dict[str, Any] = {**_object({ONLY: whole}), **defs}
        return _built(root, {ONLY: kind_of(whole, defs)}, single=True, check=check)
    fields = {name: kind_of(inner, whole) for name, inner in whole["properties"].items()}
    return _built(whole, fields, single=False, check=check)


def _built(asked: Mapping[str, Any], fields: Mapping[str, Kind], *, single: bool, check: Check) -> Schema:
    fits = not is_open(asked)
    return Schema(_line(strict(asked) if fits else asked), fits, fields, single, check)


def _line(schema: Mapping[str, Any]) -> str:
    # Properties stay in the user's order: providers answer in it, and what comes first steers what comes after.
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
