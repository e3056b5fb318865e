"""JSON schemas in the forms that providers take, where these are narrower than OpenAI's strict one.

What a provider refuses goes into the description, so that the model still reads it; whether the answer keeps to it is
checked here in any case. What no form can say is refused before anything is sent.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dfllm._core.errors import OptionError

_ANTHROPIC_WORDS = frozenset(
    {"type", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "definitions", "properties", "required"}
    | {"additionalProperties", "items", "description", "title", "default", "format", "pattern", "minItems"}
)
_ANTHROPIC_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
#: Left out without a word: they say nothing about the answer.
_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"})
_NAMED = ("properties", "$defs", "definitions")
_CANNOT = {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "prefixItems"}


def for_anthropic(schema: str) -> str:
    """Return the schema as Anthropic takes it: closed objects, no bounds, few formats.

    Raises:
        OptionError: it asks for what cannot be said so, such as an object with free keys.
    """
    return json.dumps(_anthropic(json.loads(schema)), ensure_ascii=False, separators=(",", ":"))


def _anthropic(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_anthropic(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if odd := _CANNOT & schema.keys():
        raise OptionError(f"schema holds {sorted(odd)[0]!r}, which Anthropic does not take. Leave it out.")
    made: dict[str, Any] = {}
    told: list[str] = []
    for word, value in schema.items():
        if word in _NAMED:
            made[word] = {name: _anthropic(inner) for name, inner in value.items()}
        elif word == "oneOf":
            made["anyOf"] = _anthropic(value)
        elif word in ("items", "anyOf", "allOf"):
            made[word] = _anthropic(value)
        elif _anthropic_takes(word, value):
            made[word] = value
        elif word not in _SILENT:
            told.append(f"{word}: {json.dumps(value, ensure_ascii=False)}")
    if told:
        made["description"] = " ".join(filter(None, [made.get("description"), f"({', '.join(told)})"]))
    kinds = made.get("type")
    if "properties" in made or kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        if not made.get("properties") or made.get("additionalProperties", False) is not False:
            raise OptionError(
                "schema holds an object with free keys, which Anthropic does not take. Name its properties, "
                "or ask for a list of objects with a name and a value."
            )
        made["additionalProperties"] = False
    return made


def _anthropic_takes(word: str, value: Any) -> bool:
    if word == "format":
        return value in _ANTHROPIC_FORMATS
    if word == "minItems":
        return value in (0, 1)
    return word in _ANTHROPIC_WORDS
