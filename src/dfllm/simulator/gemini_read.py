"""Gemini's generateContent, the way in: a body is read into a question, or refused in the vendor's words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from . import gemini_media, tools_read
from .answers import MODELS
from .asks import Ask, hash_of, tokens_of
from .media import Seen
from .openai import Rejected, error

_FIELDS = frozenset(
    {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings", "cachedContent"}
    | {"serviceTier", "labels", "store", "continuationToken", "model"}
)
_CONFIG = frozenset(
    {"temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "responseMimeType"}
    | {"responseSchema", "responseJsonSchema", "responseLogprobs", "logprobs", "presencePenalty", "frequencyPenalty"}
    | {"thinkingConfig", "mediaResolution", "responseModalities", "speechConfig", "imageConfig"}
)
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
_REFUSED = frozenset({"not", "if", "then", "else", "allOf", "patternProperties", "const", "pattern"})


def read(raw: bytes, given: Mapping[str, str]) -> Ask:
    """Read a request for generated content.

    Args:
        raw: its body.
        given: ``model``, from its path.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    if len(raw) > gemini_media.MOST_BYTES:
        _reject(f"Request payload size exceeds the limit: {gemini_media.MOST_BYTES} bytes.")
    body = _body(raw)
    config = body.get("generationConfig") or {}
    if not isinstance(config, dict):
        _reject("Invalid value at 'generation_config'")
    for known, fields, where in ((_FIELDS, body, ""), (_CONFIG, config, " at 'generation_config'")):
        for name in fields:
            if name not in known:
                _reject(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')
    said, seen = _contents(body)
    name = given.get("model", "")
    ask = Ask(
        hash=hash_of(body | {"model": name}),
        model=name,
        text=next((text for role, text in reversed(said) if role == "user"), ""),
        prompt_tokens=sum(4 + tokens_of(text) for _, text in said)
        + sum(one.tokens for one in seen)
        + _tool_tokens(body),
        choices=_whole(config, "candidateCount", 8) or 1,
        allowance=_whole(config, "maxOutputTokens", 2**31),
        stops=_stops(config),
        schema=_schema(config),
        seen=tuple(one.said for one in seen),
        offer=tools_read.from_gemini(body, lambda schema: next(_complaints(schema), None)),
    )
    temperature = config.get("temperature", 0)
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 2:
        _reject("Unable to submit request because 'temperature' must be in the range [0.0, 2.0].")
    level = (config.get("thinkingConfig") or {}).get("thinkingLevel", "LOW")
    if level not in _LEVELS:
        _reject(f"Invalid value at 'generation_config.thinking_config.thinking_level': \"{level}\"")
    if name not in MODELS:
        message = f"models/{name} is not found for API version v1, or is not supported for generateContent."
        raise Rejected(error(404, message))
    return ask


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError):
        _reject("Invalid JSON payload received. Parsing terminated before end of input.")
    if not isinstance(body, dict):
        _reject("Invalid JSON payload received. Expected an object.")
    return body


def _contents(body: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[Seen]]:
    """Return roles and texts, the system's first, and what is shown."""
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        _reject("* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction")
    said = [("system", _text_of("systemInstruction", system))] if system else []
    seen: list[Seen] = []
    for place, turn in enumerate(contents):
        where = f"contents[{place}]"
        role = turn.get("role", "user") if isinstance(turn, dict) else None
        if role not in ("user", "model"):
            _reject("Please use a valid role: user, model.")
        said.append((role, _text_of(where, turn)))
        shown = (gemini_media.seen(part, f"{where}.parts[{number}]") for number, part in enumerate(turn["parts"]))
        seen += [one for one in shown if one is not None]
    return said, seen


def _text_of(where: str, turn: Any) -> str:
    parts = turn.get("parts") if isinstance(turn, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) and part for part in parts):
        _reject(f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.")
    return "\n".join(str(part["text"]) for part in parts if "text" in part)


def _whole(config: Mapping[str, Any], name: str, most: int) -> int | None:
    value = config.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most):
        _reject(f"Invalid value at 'generation_config.{name}': {value}")
    return value


def _tool_tokens(body: Mapping[str, Any]) -> int:
    return tokens_of(json.dumps(body["tools"])) if body.get("tools") else 0


def _stops(config: Mapping[str, Any]) -> tuple[str, ...]:
    stops = config.get("stopSequences") or []
    if not isinstance(stops, list) or len(stops) > 5 or not all(isinstance(stop, str) and stop for stop in stops):
        _reject("Invalid value at 'generation_config.stop_sequences': up to 5 texts, none empty")
    return tuple(stops)


def _schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = config.get("responseJsonSchema")
    if schema is None:
        return None
    if config.get("responseMimeType") != "application/json" or not isinstance(schema, dict):
        _reject("* GenerateContentRequest.generation_config.response_json_schema: only for 'application/json'.")
    against = next(_complaints(schema), None)
    if against is not None:
        _reject(f"* GenerateContentRequest.generation_config.response_json_schema: {against}")
    return schema


def _complaints(schema: Any) -> Iterator[str]:
    """Yield what the vendor has against a schema."""
    if not isinstance(schema, Mapping):
        return
    for word in sorted(_REFUSED & schema.keys()):
        yield f"'{word}' is not supported"
    for word in ("properties", "$defs", "definitions"):
        parts = schema.get(word)
        for part in parts.values() if isinstance(parts, Mapping) else ():
            yield from _complaints(part)
    yield from _complaints(schema.get("items"))
    for word in ("anyOf", "oneOf", "prefixItems"):
        for part in schema.get(word) or ():
            yield from _complaints(part)
