"""JSON schemas in the forms that providers take, where these are narrower than OpenAI's strict one.

What a provider refuses goes into the description, so that the model still reads it; whether the answer keeps to it is
checked here in any case. What no form can say is refused before anything is sent.

Sources: https://platform.claude.com/docs/en/build-with-claude/structured-outputs and
https://ai.google.dev/gemini-api/docs/structured-output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dfllm._core.errors import OptionError

_ANTHROPIC_WORDS = frozenset(
    {"type", "enum", "const", "$ref", "required", "additionalProperties", "description", "title", "default", "pattern"}
)
_ANTHROPIC_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_GEMINI_WORDS = frozenset(
    {"type", "enum", "$ref", "required", "additionalProperties", "description", "title", "format", "$anchor"}
    | {"minItems", "maxItems", "minimum", "maximum"}
)
#: Left out without a word: they say nothing about the answer.
_SILENT = frozenset({"$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"})
_NAMED = ("properties", "$defs", "definitions")
_NESTED = ("items", "anyOf", "allOf", "prefixItems")
_CANNOT = frozenset({"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"})


class _Form(NamedTuple):
    """What one API takes: keywords with these values, and which keywords it cannot do without the meaning."""

    whose: str
    takes: Callable[[str, Any], bool]
    cannot: frozenset[str]


def for_anthropic(schema: str) -> str:
    """Return the schema as Anthropic takes it: closed objects, no bounds, few formats.

    Raises:
        OptionError: it asks for what cannot be said so, such as an object with free keys.
    """
    made = _narrowed(json.loads(schema), _ANTHROPIC)
    _close(made, _ANTHROPIC.whose)
    return _line(made)


def for_bedrock(schema: str) -> str:
    """Return the schema as Bedrock takes it, whosever the model is: as Anthropic does, the narrowest of them.

    Raises:
        OptionError: it asks for what cannot be said so.
    """
    made = _narrowed(json.loads(schema), _BEDROCK)
    _close(made, _BEDROCK.whose)
    return _line(made)


def for_gemini(schema: str) -> str:
    """Return the schema as Gemini takes it: no patterns and no bounds of texts, one constant as a choice of one.

    Raises:
        OptionError: it asks for what cannot be said so.
    """
    return _line(_narrowed(json.loads(schema), _GEMINI))


def _line(schema: Any) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _anthropic_takes(word: str, value: Any) -> bool:
    if word == "format":
        return value in _ANTHROPIC_FORMATS
    if word == "minItems":
        return value in (0, 1)
    return word in _ANTHROPIC_WORDS


_ANTHROPIC = _Form("Anthropic", _anthropic_takes, _CANNOT | {"prefixItems"})
_BEDROCK = _ANTHROPIC._replace(whose="Bedrock")
_GEMINI = _Form("Gemini", lambda word, value: word in _GEMINI_WORDS, _CANNOT | {"allOf"})


def _narrowed(schema: Any, form: _Form) -> Any:
    if isinstance(schema, list):
        return [_narrowed(one, form) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if odd := form.cannot & schema.keys():
        raise OptionError(f"schema holds {sorted(odd)[0]!r}, which {form.whose} does not take. Leave it out.")
    made: dict[str, Any] = {}
    told: list[str] = []
    for word, value in schema.items():
        if word in _NAMED:
            made[word] = {name: _narrowed(inner, form) for name, inner in value.items()}
        elif word == "oneOf" or word in _NESTED:
            made["anyOf" if word == "oneOf" else word] = _narrowed(value, form)
        elif form.takes(word, value):
            made[word] = value
        elif word == "const":
            made["enum"] = [value]
        elif word not in _SILENT:
            told.append(f"{word}: {json.dumps(value, ensure_ascii=False)}")
    if told:
        made["description"] = " ".join(filter(None, [made.get("description"), f"({', '.join(told)})"]))
    return made


def _close(schema: Any, whose: str) -> None:
    """Close every object; refuse one with free keys."""
    if isinstance(schema, list):
        for one in schema:
            _close(one, whose)
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type")
    if "properties" in schema or kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        if not schema.get("properties") or schema.get("additionalProperties", False) is not False:
            raise OptionError(
                f"schema holds an object with free keys, which {whose} does not take. Name its properties, "
                "or ask for a list of objects with a name and a value."
            )
        schema["additionalProperties"] = False
    for word in _NAMED:
        _close(list(schema.get(word, {}).values()), whose)
    for word in _NESTED:
        _close(schema.get(word), whose)
