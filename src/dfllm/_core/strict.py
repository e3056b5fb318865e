"""JSON schemas as strict providers take them, and the kind of column each property makes.

The strict subset: every property required, nothing else allowed, and null for what was optional; see
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "int", "float", "bool", "json", "vector"]

_KINDS: dict[str, Kind] = {"string": "text", "integer": "int", "number": "float", "boolean": "bool"}


def _target(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    seen: set[str] = set()
    while isinstance(ref := schema.get("$ref"), str) and ref.startswith("#/") and ref not in seen:
        seen.add(ref)
        found: Any = root
        for part in ref[2:].split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        schema = found
    return schema


def lost_ref(schema: Any, root: Mapping[str, Any]) -> str | None:
    """Return the first reference that leads to nothing in the schema itself; None where all lead somewhere."""
    if isinstance(schema, Mapping):
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref != "#" and (not ref.startswith("#/") or not _target(schema, root)):
            return ref
        return next((lost for inner in schema.values() if (lost := lost_ref(inner, root))), None)
    if isinstance(schema, list):
        return next((lost for inner in schema if (lost := lost_ref(inner, root))), None)
    return None


def _choices(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    schema = _target(schema, root)
    inner = schema.get("anyOf") or schema.get("oneOf") or []
    return [choice for item in inner for choice in _choices(item, root)] or [schema]


def nullable(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    return any(
        choice.get("type") == "null"
        or (isinstance(choice.get("type"), list) and "null" in choice["type"])
        or None in choice.get("enum", ())
        for choice in _choices(schema, root)
    )


def kind_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Kind:
    kinds: set[Kind] = set()
    for choice in _choices(schema, root):
        named = choice.get("type")
        if named is None and ("enum" in choice or "const" in choice):
            values = [value for value in choice.get("enum", [choice.get("const")]) if value is not None]
            words = {str: "text", bool: "bool", int: "int", float: "float"}
            kinds |= {typing.cast("Kind", words.get(type(value), "json")) for value in values}
            continue
        for word in named if isinstance(named, list) else [named]:
            if word != "null":
                kinds.add(_KINDS.get(str(word), "json"))
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else "json"


def is_open(schema: Any) -> bool:
    """Return whether the schema needs what the strict subset has not: free keys, or words it does not know."""
    if isinstance(schema, list):
        return any(map(is_open, schema))
    if not isinstance(schema, Mapping):
        return False
    if schema.get("type") == "object" and not schema.get("properties"):
        return True
    free = schema.get("additionalProperties", False)
    unknown = {"allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    if free not in (False, None) or unknown & set(schema) or {"oneOf", "prefixItems"} & set(schema):
        return True
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [*schema.get("definitions", {}).values(), schema.get("items"), *schema.get("anyOf", [])]
    return any(map(is_open, inner))


def strict(schema: Any) -> Any:
    """Return the schema with every property required, optional ones nullable, and no defaults."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    nested = ("properties", "$defs", "definitions")
    made = {
        word: {name: strict(inner) for name, inner in value.items()} if word in nested else value
        for word, value in schema.items()
        if word not in ("default", "$schema", "$id")
    }
    for word in ("items", "anyOf"):
        if word in made:
            made[word] = strict(made[word])
    if "properties" in made:
        needed = schema.get("required", ())
        made["properties"] = {
            name: inner if name in needed else _or_null(inner) for name, inner in made["properties"].items()
        }
        made |= {"type": "object", "required": list(made["properties"]), "additionalProperties": False}
    return made


def _or_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if nullable(schema, {}):
        return schema
    inner = schema.get("anyOf", [schema])
    return {"anyOf": [*inner, {"type": "null"}]}


def fills(schema: Any, root: Mapping[str, Any]) -> bool:
    """Return whether the strict form of a schema has nulls for what the user's own form leaves out."""
    if isinstance(schema, list):
        return any(fills(one, root) for one in schema)
    if not isinstance(schema, Mapping):
        return False
    needed = schema.get("required", ())
    properties = schema.get("properties", {})
    if any(name not in needed and not nullable(inner, root) for name, inner in properties.items()):
        return True
    inner = [*properties.values(), *schema.get("$defs", {}).values(), *schema.get("definitions", {}).values()]
    return fills([*inner, schema.get("items"), *schema.get("anyOf", []), *schema.get("oneOf", [])], root)


def emptied(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return an answer in the strict form as it is in the user's own.

    Strict providers must answer every field: null stands for "left out" where null itself is not allowed. What is in
    neither form stays as it is, for whoever checks it to complain of.
    """
    if isinstance(value, list):
        items = next((one["items"] for one in _choices(schema, root) if isinstance(one.get("items"), Mapping)), None)
        return value if items is None else [emptied(item, items, root) for item in value]
    if not isinstance(value, dict):
        return value
    meant = next((one for one in _choices(schema, root) if _may_be(value, one, root)), None)
    if meant is None:
        return value
    needed, properties = meant.get("required", ()), meant["properties"]
    return {
        name: emptied(item, properties[name], root)
        for name, item in value.items()
        if item is not None or name in needed or nullable(properties[name], root)
    }


def _may_be(value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether an object is of this one of several forms: it has its properties, and the constants that tell them."""
    properties = schema.get("properties", {})
    if not properties or value.keys() != properties.keys():
        return False
    for name, inner in properties.items():
        told = _target(inner, root)
        if value[name] is None and name not in schema.get("required", ()):
            continue  # left out
        if "const" in told and value[name] != told["const"]:
            return False
        if "enum" in told and value[name] is not None and value[name] not in told["enum"]:
            return False
    return True
