"""Functions to JSON schemas of their arguments, by hints and docstring. The function is looked at and never called."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from dfllm._core.docstrings import described
from dfllm._core.errors import OptionError

_REF = re.compile(r'"#/\$defs/([^"]+)"')


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a function's arguments: those with a default are optional, others there are none.

    Raises:
        OptionError: an argument has no hint, or one that no schema can say, or the function takes any number of them.
    """
    import pydantic

    name = function.__name__
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise OptionError(f"The hints of tool {name!r} cannot be read: {error}.") from error
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(inspect.signature(function).parameters.values()):
        _check_parameter(name, parameter, hints)
        default = ... if parameter.default is parameter.empty else parameter.default
        # By alias: an argument may be called copy, json or _id, which pydantic keeps to itself.
        fields[f"argument_{number}"] = (hints[parameter.name], pydantic.Field(default, alias=parameter.name))
    try:
        made = pydantic.create_model("Arguments", **fields).model_json_schema(schema_generator=_generator())
    except (TypeError, pydantic.errors.PydanticUserError) as error:
        said = str(error).partition("\n")[0]
        raise OptionError(f"The hints of tool {name!r} have no JSON schema: {said}") from error
    schema = _plain(made)
    for argument, said in described(inspect.getdoc(function) or "").items():
        if argument in schema.get("properties", {}):
            schema["properties"][argument].setdefault("description", said)
    # A function takes what it names and nothing else.
    return {"type": "object", "properties": {}, **_inlined(schema), "additionalProperties": False}


def _check_parameter(name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise OptionError(
            f"Tool {name!r} takes {stars}{parameter.name}, and a model must know each argument. Name them one by one."
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise OptionError(
            f"Tool {name!r} takes {parameter.name!r} by place only, and calls have names. Drop the slash."
        )
    if parameter.name not in hints:
        raise OptionError(f"The argument {parameter.name!r} of tool {name!r} has no hint; a model must know its type.")


def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        # A default that is no JSON is left out of the schema, and nobody need hear of it.
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as its parent has it

    return Quiet


def _plain(schema: Any) -> Any:
    """Return the schema without titles, which pydantic makes of names, and without defaults that are no JSON."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("properties", "$defs"):
            made[word] = {name: _plain(inner) for name, inner in value.items()}
        elif word in ("enum", "const", "examples") or (word == "default" and _is_json(value)):
            made[word] = value
        elif word not in ("title", "default"):
            made[word] = _plain(value)
    return made


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with what a reference points at in its place where more is said beside the reference.

    Strict modes take a reference alone, and would lose what is said beside it.
    """
    defs = schema.get("$defs", {})

    def inline(inner: Any) -> Any:
        if isinstance(inner, list):
            return [inline(one) for one in inner]
        if not isinstance(inner, Mapping):
            return inner
        made = {word: inline(value) for word, value in inner.items()}
        ref = str(made.get("$ref", ""))
        if len(made) == 1 or not ref.startswith("#/$defs/"):
            return made
        return {**defs[ref.removeprefix("#/$defs/")], **{word: made[word] for word in made if word != "$ref"}}

    whole: dict[str, Any] = inline({word: value for word, value in schema.items() if word != "$defs"})
    defs = {name: inline(inner) for name, inner in defs.items()}
    used: dict[str, Any] = {}
    todo: list[Any] = [whole]
    while todo:
        for name in _REF.findall(json.dumps(todo.pop(), ensure_ascii=False)):
            if name not in used:
                used[name] = defs[name]
                todo.append(defs[name])
    return {**whole, "$defs": used} if used else whole
