"""Anthropic's messages, the way in: a body is read into a question, or refused in the vendor's words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from . import anthropic_media, tools_read
from .answers import MODELS
from .asks import Ask, hash_of, tokens_of
from .media import Seen
from .openai import Rejected, error

VERSIONS = ("2023-06-01", "2026-10-21")
#: What the vendor tells its models of tools, and charges for, beside the tools themselves.
TOOLS_TOKENS = 346
#: What stands in a body for Google's cloud in place of the model, and the version that it means.
ON_VERTEX = {"vertex-2023-10-16": VERSIONS[0], VERSIONS[1]: VERSIONS[1]}

_FIELDS = frozenset(
    {"model", "max_tokens", "messages", "system", "stop_sequences", "thinking", "output_config", "metadata", "tools"}
    | {"tool_choice", "service_tier", "cache_control", "stream", "speed", "inference_geo", "container", "mcp_servers"}
)
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("adaptive", "enabled", "disabled", "between_tools")
_REFUSED = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems"}
    | {"uniqueItems", "oneOf", "not", "if", "then", "else", "patternProperties", "dependentRequired", "prefixItems"}
)


def read(raw: bytes, given: Mapping[str, str]) -> Ask:
    """Read a request for a message.

    Args:
        raw: its body.
        given: ``version``, from the header ``anthropic-version``.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    if len(raw) > anthropic_media.MOST_BYTES:
        raise Rejected(error(413, "Request exceeds the maximum size"))
    version = given.get("version", "")
    if version not in VERSIONS:
        _reject(
            f"anthropic-version: {version!r} is not a valid version"
            if version
            else "anthropic-version: header is required"
        )
    body = _body(raw)
    known = _FIELDS if version == VERSIONS[1] else _FIELDS | _SAMPLING
    for name in body:
        if name not in known:
            _reject(f"{name}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            _reject(f"{name}: Field required")
    if body.get("stream"):
        _reject("stream: the simulator does not stream; leave it out")
    name, allowance = body["model"], body["max_tokens"]
    if not isinstance(name, str) or not name:
        _reject("model: String should have at least 1 character")
    if not isinstance(allowance, int) or isinstance(allowance, bool) or allowance < 1:
        _reject("max_tokens: Input should be greater than or equal to 1")
    said, seen = _messages(body)
    ask = Ask(
        hash=hash_of(body),
        model=name,
        text=next((text for role, text in reversed(said) if role == "user"), ""),
        prompt_tokens=sum(4 + tokens_of(text) for _, text in said)
        + sum(one.tokens for one in seen)
        + _tool_tokens(body),
        allowance=allowance,
        stops=_stops(body),
        schema=_schema(body),
        seen=tuple(one.said for one in seen),
        offer=tools_read.from_anthropic(body),
    )
    _check_sampling(body)
    _check_thinking(body)
    if name not in MODELS:
        raise Rejected(error(404, f"model: {name}"))
    return ask


def read_on_vertex(raw: bytes, given: Mapping[str, str]) -> Ask:
    """Read a request for a message as Google's cloud takes it.

    Args:
        raw: its body, with a version in place of the model.
        given: ``model``, from its path.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    body = _body(raw)
    version = ON_VERTEX.get(str(body.pop("anthropic_version", None)))
    if version is None:
        _reject(f"anthropic_version: Input should be one of {', '.join(map(repr, ON_VERTEX))}")
    if "model" in body:
        _reject("model: Extra inputs are not permitted")
    return read(json.dumps(body | {"model": given.get("model", "")}).encode(), {"version": version})


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _reject("The request body is not valid JSON: unexpected character.")
    if not isinstance(body, dict):
        _reject("Input should be an object")
    return body


def _messages(body: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[Seen]]:
    """Return roles and texts, the system's first, and what is shown."""
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        _reject("messages: at least one message is required")
    said = [("system", _text_of("system", body["system"]))] if "system" in body else []
    seen: list[Seen] = []
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if not isinstance(message, dict) or "content" not in message:
            _reject(f"{where}: Input should be an object with role and content")
        if message.get("role") not in ("user", "assistant"):
            _reject(f"{where}.role: Input should be 'user' or 'assistant'")
        said.append((message["role"], _text_of(f"{where}.content", message["content"])))
        for number, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            if (one := anthropic_media.seen(block, f"{where}.content.{number}", message["role"])) is not None:
                seen.append(one)
    if said[-1][0] == "assistant":
        _reject("This model does not support assistant message prefill. The conversation must end with a user message.")
    return said, seen


def _text_of(where: str, content: Any) -> str:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, dict) and "type" in block for block in blocks):
        _reject(f"{where}: Input should be a valid string or list of blocks")
    texts = [block.get("text") for block in blocks if block["type"] == "text"]
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            _reject(f"{where}: text content blocks must contain non-whitespace text")
    return "\n".join(texts)


def _tool_tokens(body: Mapping[str, Any]) -> int:
    return TOOLS_TOKENS + tokens_of(json.dumps(body["tools"])) if body.get("tools") else 0


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stops = body.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop.strip() for stop in stops):
        _reject("stop_sequences: each stop sequence must contain non-whitespace")
    return tuple(stops)


def _check_sampling(body: Mapping[str, Any]) -> None:
    for name in ("temperature", "top_p"):
        value = body.get(name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            _reject(f"{name}: range: 0..1")


def _check_thinking(body: Mapping[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in _THINKING:
        _reject(f"thinking: Input tag should be one of {', '.join(map(repr, _THINKING))}")
    budget = thinking.get("budget_tokens", 1024)
    if thinking["type"] == "enabled" and not 1024 <= budget < body["max_tokens"]:
        _reject("thinking.enabled.budget_tokens: should be at least 1024 and less than max_tokens")


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = body.get("output_config") or {}
    if not isinstance(config, dict):
        _reject("output_config: Input should be an object")
    if config.get("effort", "high") not in _EFFORTS:
        _reject(f"output_config.effort: Input should be one of {', '.join(map(repr, _EFFORTS))}")
    form = config.get("format")
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        _reject("output_config.format: Input should be a 'json_schema' with a schema")
    schema: Mapping[str, Any] = form["schema"]
    against = next(complaints(schema), None)
    if against is not None:
        _reject(f"output_config.format.schema: {against}")
    return schema


def complaints(schema: Any) -> Iterator[str]:
    """Yield what the vendor has against a schema."""
    if not isinstance(schema, Mapping):
        return
    kind = schema.get("type")
    for word in sorted(_REFUSED & schema.keys()):
        yield f"For '{kind}' type, property '{word}' is not supported"
    if schema.get("minItems", 0) not in (0, 1):
        yield "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if (kind == "object" or "properties" in schema) and schema.get("additionalProperties") is not False:
        yield "For 'object' type, 'additionalProperties' must be explicitly set to false"
    for word in ("properties", "$defs", "definitions"):
        parts = schema.get(word)
        for part in parts.values() if isinstance(parts, Mapping) else ():
            yield from complaints(part)
    yield from complaints(schema.get("items"))
    for word in ("anyOf", "allOf"):
        for part in schema.get(word) or ():
            yield from complaints(part)
