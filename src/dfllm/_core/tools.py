"""Tools: what a model may ask to be called, from functions or JSON, in one neutral form. None of it is ever called.

A typed Python function is read for its name, its docstring and its hints; the function itself goes no further than this
file. What is left is a name, a description and a JSON schema, which each dialect writes in its own words.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dfllm._core.docstrings import opening
from dfllm._core.errors import OptionError, listed, near
from dfllm._core.functions import parameters_of
from dfllm._core.strict import lost_ref, strict

#: What `tools=` may hold: JSON as the vendors document it, or a function with hints.
Given: TypeAlias = Mapping[str, Any] | Callable[..., Any]

#: What `tool_choice=` may be beside a tool's name.
WORDS = ("auto", "required", "none")

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SCHEMA_FIELDS = ("parameters", "input_schema")
_FIELDS = frozenset({"type", "name", "description", "strict", *_SCHEMA_FIELDS})
#: What strict modes take without a word being changed: https://platform.openai.com/docs/guides/structured-outputs
_STRICT_WORDS = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs", "definitions"}
    | {"enum", "const", "description", "title", "pattern", "format", "minItems", "maxItems", "multipleOf"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "$schema", "$id"}
)
_STRICT_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"},
)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool, as every dialect can say it.

    Attributes:
        name: what a call names it by.
        description: when it is of use; empty where nothing says so.
        parameters: JSON schema of its arguments, an object.
        strict: whether strict modes take that schema, every argument being required, without another meaning.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool


def tools_of(given: Any) -> tuple[Tool, ...]:
    """Return the tools of a list of functions and JSON tools.

    Raises:
        OptionError: one of them cannot be offered to a model, or two have one name.
    """
    if not isinstance(given, (list, tuple)) or not given:
        what = "an empty list" if isinstance(given, (list, tuple)) else type(given).__name__
        raise OptionError(f"tools takes a list of functions or JSON tools, at least one; found {what}.")
    made = tuple(_from_json(one) if isinstance(one, Mapping) else _from_function(one) for one in given)
    names = [tool.name for tool in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"Two tools are called {twice!r}; a call could not tell them apart. Rename one.")
    return made


def choice_of(given: Any, tools: Sequence[Tool]) -> str | None:
    """Return what `tool_choice` says, once it is known to make sense.

    Raises:
        OptionError: it is none of the words and no tool's name, or there are no tools.
    """
    if given is None:
        return None
    if not tools:
        raise OptionError(
            f"tool_choice={given!r} chooses among tools, and there are none. Say tools=, or leave it out."
        )
    names = [tool.name for tool in tools]
    if not isinstance(given, str) or given not in (*WORDS, *names):
        hint = near(given, [*WORDS, *names]) if isinstance(given, str) else ""
        words = ", ".join(map(repr, WORDS))
        raise OptionError(f"tool_choice={given!r} does not fit; it takes {words} or a tool: {listed(names)}.{hint}")
    return given


def _built(name: Any, description: Any, parameters: Mapping[str, Any], *, may_be_strict: bool = True) -> Tool:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"A tool is called {name!r}; names have 1 to 64 of the characters a-z, A-Z, 0-9, _ and -. Rename it."
        )
    if name in WORDS:
        raise OptionError(f"A tool is called {name!r}, which tool_choice= has another meaning for. Rename it.")
    if not isinstance(description, str):
        raise OptionError(f"The description of tool {name!r} is no text; found {type(description).__name__}.")
    return Tool(name, description, parameters, may_be_strict and "properties" in parameters and _fits(parameters))


def _from_json(given: Mapping[str, Any]) -> Tool:
    inner = given.get("function")
    if given.get("type") == "function" and isinstance(inner, Mapping) and set(given) == {"type", "function"}:
        given = inner
    if given.get("type", "function") not in ("function", "custom"):
        raise OptionError(
            f"tools holds a {given['type']!r}, which is no function but a tool of the provider's; say it in extra=."
        )
    if odd := sorted(str(field) for field in given.keys() - _FIELDS):
        raise OptionError(f"A tool in tools has {odd[0]!r}; it takes name, description and parameters.{_hint(odd[0])}")
    if "name" not in given:
        raise OptionError("A tool in tools has no name; it takes name, description and parameters.")
    schemas = [given[field] for field in _SCHEMA_FIELDS if given.get(field) is not None]
    if len(schemas) > 1:
        raise OptionError(f"Tool {given['name']!r} has both parameters and input_schema; one of them is enough.")
    parameters = _schema(given["name"], schemas[0] if schemas else {})
    return _built(
        given["name"],
        "" if given.get("description") is None else given["description"],
        parameters,
        may_be_strict=given.get("strict") is not False,
    )


def _hint(field: str) -> str:
    return near(field, sorted(_FIELDS - {"type"}))


def _schema(name: Any, given: Any) -> dict[str, Any]:
    """Return a JSON schema of arguments, found to be one."""
    import jsonschema

    if not isinstance(given, Mapping):
        raise OptionError(f"The parameters of tool {name!r} are no JSON schema; found {type(given).__name__}.")
    try:
        schema: dict[str, Any] = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"The parameters of tool {name!r} are no JSON: {error}.") from error
    try:
        cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        cls.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise OptionError(f"The parameters of tool {name!r} are no JSON schema: {error.message[:200]}") from error
    if schema.get("type", "object") != "object":
        raise OptionError(f"The parameters of tool {name!r} must be an object; found type {schema['type']!r}.")
    if lost := lost_ref(schema, schema):
        raise OptionError(f"The parameters of tool {name!r} refer to {lost!r}, which is not in them.")
    return {"type": "object", **schema} if schema else {"type": "object", "properties": {}}


def _from_function(function: Any) -> Tool:
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise OptionError(
            f"tools takes functions, and JSON tools with name, description and parameters; found "
            f"{function.__name__ if isinstance(function, type) else type(function).__name__}."
        )
    name = function.__name__
    if name == "<lambda>":
        raise OptionError("tools holds a lambda, which has neither a name nor hints. Define a function.")
    return _built(name, opening(inspect.getdoc(function) or ""), parameters_of(function))


def _fits(schema: Any) -> bool:
    """Return whether strict modes take a schema as it is, save that they want its objects closed."""
    return all(_is_strict(one) for one in _nodes(schema)) and "anyOf" not in schema


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not schema.keys() <= _STRICT_WORDS:
        return False
    if schema.get("format", "date") not in _STRICT_FORMATS or ("$ref" in schema and len(schema) > 1):
        return False
    if schema.get("additionalProperties", False) is not False:
        return False
    properties = schema.get("properties", {})
    is_object = "properties" in schema or "object" in _types(schema)
    return not is_object or (bool(properties) and set(properties) == set(schema.get("required", ())))


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    named = schema.get("type", ())
    return (named,) if isinstance(named, str) else named


def _nodes(schema: Any) -> Iterator[Any]:
    """Yield the schema and every one in it."""
    yield schema
    if not isinstance(schema, Mapping):
        return
    for word in ("properties", "$defs", "definitions"):
        for inner in schema.get(word, {}).values():
            yield from _nodes(inner)
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _nodes(inner)


def in_strict_form(tool: Tool) -> Mapping[str, Any]:
    """Return the parameters as strict modes want them, objects closed, where they may be asked of this tool."""
    made: Mapping[str, Any] = strict(tool.parameters)
    return made
