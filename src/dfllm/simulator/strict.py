"""The part of JSON schema that OpenAI's strict mode takes; what lies outside is refused before anything is answered."""

from collections.abc import Iterator, Mapping
from typing import Any

_REFUSED = frozenset(
    {
        "allOf",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "then",
        "unevaluatedProperties",
    }
)


def complaint(schema: Any) -> str | None:
    """Say what strict mode has against a schema, in the provider's words; None if it is fine."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        kind = schema.get("type") if isinstance(schema, Mapping) else type(schema).__name__
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    return next(_complaints(schema, ()), None)


def _complaints(schema: Any, way: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    for keyword in sorted(_REFUSED & schema.keys()):
        yield f"In context={way}, '{keyword}' is not permitted."
    if schema.get("type") == "object" or "properties" in schema:
        yield from _object_complaints(schema, way)
    for keyword in ("properties", "$defs", "definitions"):
        parts = schema.get(keyword)
        for name, part in parts.items() if isinstance(parts, Mapping) else ():
            yield from _complaints(part, (*way, keyword, name))
    yield from _complaints(schema.get("items"), (*way, "items"))
    for place, option in enumerate(schema.get("anyOf") or ()):
        yield from _complaints(option, (*way, "anyOf", str(place)))


def _object_complaints(schema: Mapping[str, Any], way: tuple[str, ...]) -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        yield f"In context={way}, 'additionalProperties' is required to be supplied and to be false."
    names = schema.get("properties") or {}
    missing = [name for name in names if name not in (schema.get("required") or ())]
    if missing:
        yield (
            f"In context={way}, 'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0]}'."
        )
