"""JSON schemas made plain: references followed, and what must hold together written as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

Schema = Mapping[str, Any]
Subschema = Schema | bool  # true allows anything, false nothing

_FLOORS = frozenset({"exclusiveMinimum", "minItems", "minLength", "minProperties", "minimum"})
_CEILINGS = frozenset({"exclusiveMaximum", "maxItems", "maxLength", "maxProperties", "maximum"})


class BadReference(ValueError):
    """A ``$ref`` points at nothing in the schema."""


def follow(root: Schema, reference: str) -> Any:
    """Return what a reference such as ``#/$defs/Node`` points at."""
    place: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            raise BadReference(reference)
    if not reference.startswith("#") or not isinstance(place, Mapping | bool):
        raise BadReference(reference)
    return place


def types_of(schema: Schema) -> list[str]:
    """Return the types a schema allows, guessed from its keywords if it does not say."""
    named = schema.get("type")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    for kind, keywords in (
        ("object", ("properties", "required", "additionalProperties", "minProperties")),
        ("array", ("items", "prefixItems", "minItems", "maxItems")),
        ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    ):
        if any(keyword in schema for keyword in keywords):
            return [kind]
    return ["string"]


def both(first: Subschema, second: Subschema) -> Schema:
    """Return one schema for what satisfies two, as far as their keywords can be put together."""
    one, other = _as_mapping(first), _as_mapping(second)
    joined = {**one, **other}
    for keyword in one.keys() & other.keys():
        joined[keyword] = _together(keyword, one[keyword], other[keyword])
    return joined


def possible(schema: Schema) -> bool:
    """Tell whether anything can be of a type, or one of the values, that the schema names."""
    return schema.get("type") != [] and schema.get("enum") != []


def depth(schema: Subschema, root: Schema, refs: tuple[str, ...] = ()) -> float:
    """Return how many levels a value needs at least: -1 for null, infinite if one of ``refs`` must come again."""
    if isinstance(schema, bool):
        return 0
    if "$ref" in schema:
        reference = schema["$ref"]
        return math.inf if reference in refs else depth(follow(root, reference), root, (*refs, reference))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return min(depth(option, root, refs) for option in schema[union])
    if "null" in types_of(schema):
        return -1
    needed = [schema.get("properties", {}).get(name, True) for name in schema.get("required", ())]
    needed += [schema.get("items", True)] if schema.get("minItems") else []
    needed += [*schema.get("prefixItems", ()), *schema.get("allOf", ())]
    return max((1 + depth(part, root, refs) for part in needed), default=0)


def _as_mapping(schema: Subschema) -> Schema:
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    return schema


def _together(keyword: str, one: Any, other: Any) -> Any:
    if keyword in _FLOORS:
        return max(one, other)
    if keyword in _CEILINGS:
        return min(one, other)
    if keyword == "required":
        return list(dict.fromkeys([*one, *other]))
    if keyword == "enum":
        return [value for value in one if value in other]
    if keyword == "type":
        return _common_types(types_of({"type": one}), types_of({"type": other}))
    if keyword in ("properties", "$defs"):
        return {
            name: both(one[name], other[name]) if name in one and name in other else {**one, **other}[name]
            for name in {**one, **other}
        }
    if keyword in ("items", "additionalProperties"):
        return both(one, other)
    if keyword in ("anyOf", "oneOf"):
        return [both(left, right) for left in one for right in other]
    if keyword == "allOf":
        return [*one, *other]
    if keyword == "multipleOf" and isinstance(one, int) and isinstance(other, int):
        return math.lcm(one, other)
    return other


def _common_types(one: Sequence[str], other: Sequence[str]) -> list[str]:
    common = [kind for kind in one if kind in other]
    if "integer" not in common and "integer" in {*one, *other} and "number" in {*one, *other}:
        common.append("integer")
    return common
