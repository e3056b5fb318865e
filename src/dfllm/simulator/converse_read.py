"""Bedrock's Converse, the way in: a body is read into a question, or refused in the vendor's words."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from . import converse_media, tools_read
from .answers import MODELS
from .anthropic_read import complaints
from .asks import Ask, hash_of, tokens_of
from .media import Seen
from .openai import Rejected, error

_FIELDS = frozenset(
    {"messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields"}
    | {"additionalModelResponseFieldPaths", "promptVariables", "requestMetadata", "performanceConfig", "serviceTier"}
    | {"outputConfig", "projectIdentifier"}
)
_INFERENCE = frozenset({"maxTokens", "temperature", "topP", "stopSequences"})
_TIERS = ("priority", "default", "flex", "reserved")
#: These route and label a request; the answer does not depend on them.
_ROUTES = frozenset({"requestMetadata", "serviceTier", "performanceConfig"})


def read(raw: bytes, given: Mapping[str, str]) -> Ask:
    """Read a request for an answer.

    Args:
        raw: its body.
        given: ``model``, from its path.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    body = _body(raw)
    inference = body.get("inferenceConfig") or {}
    for known, fields in ((_FIELDS, body), (_INFERENCE, inference)):
        for name in fields:
            if name not in known:
                _reject(f"The request contains an unknown field: {name}")
    if (body.get("serviceTier") or {"type": "default"}).get("type") not in _TIERS:
        _reject(f"serviceTier.type: one of {', '.join(_TIERS)}")
    said, seen = _messages(body)
    offer = tools_read.from_converse(body)
    name = given.get("model", "")
    ask = Ask(
        hash=hash_of({field: value for field, value in body.items() if field not in _ROUTES} | {"model": name}),
        model=name,
        text=next((text for role, text in reversed(said) if role == "user"), ""),
        prompt_tokens=sum(4 + tokens_of(text) for _, text in said)
        + sum(one.tokens for one in seen)
        + (_tool_tokens(body) if offer else 0),
        allowance=_allowance(inference),
        stops=_stops(inference),
        schema=_schema(body),
        seen=tuple(one.said for one in seen),
        offer=offer,
    )
    for field in ("temperature", "topP"):
        value = inference.get(field, 0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            _reject(f"Value at 'inferenceConfig.{field}' must be between 0 and 1")
    if name not in MODELS:
        if name.startswith("arn:"):
            raise Rejected(error(404, "Could not resolve the foundation model from the model identifier."))
        _reject("The provided model identifier is invalid.")
    return ask


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError):
        _reject("Unexpected token in the request's body")
    if not isinstance(body, dict) or not isinstance(body.get("inferenceConfig", {}), dict):
        _reject("The request's body is no object of the expected form")
    return body


def _messages(body: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[Seen]]:
    """Return roles and texts, the system's first, and what is shown."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        _reject("The messages field is required")
    said = [("system", _text_of("system", body["system"]))] if "system" in body else []
    seen: list[Seen] = []
    for place, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            _reject(f"Value at 'messages.{place}.role' must satisfy enum value set: [user, assistant]")
        if role == ("assistant" if place % 2 == 0 else "user"):
            _reject("A conversation must alternate between user and assistant roles.")
        where = f"messages.{place}.content"
        said.append((role, _text_of(where, message.get("content"))))
        shown = (converse_media.seen(part, f"{where}.{at}", role) for at, part in enumerate(message["content"]))
        seen += [one for one in shown if one is not None]
    converse_media.check([message["content"] for message in messages])
    return said, seen


def _text_of(where: str, content: Any) -> str:
    if not isinstance(content, list) or not content or not all(isinstance(part, dict) and part for part in content):
        _reject(f"The content field at '{where}' is empty")
    texts = [part["text"] for part in content if "text" in part]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        _reject(f"The text field in the ContentBlock object at '{where}' is blank")
    return "\n".join(texts)


def _tool_tokens(body: Mapping[str, Any]) -> int:
    return tokens_of(json.dumps(body["toolConfig"]["tools"]))


def _allowance(inference: Mapping[str, Any]) -> int | None:
    value = inference.get("maxTokens")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        _reject("Value at 'inferenceConfig.maxTokens' must be at least 1")
    return value


def _stops(inference: Mapping[str, Any]) -> tuple[str, ...]:
    stops = inference.get("stopSequences") or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        _reject("Value at 'inferenceConfig.stopSequences' must be texts of at least 1 character")
    return tuple(stops)


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = (body.get("outputConfig") or {}).get("textFormat")
    if form is None:
        return None
    try:
        schema = json.loads(form["structure"]["jsonSchema"]["schema"])
    except (KeyError, TypeError, ValueError):
        _reject("outputConfig.textFormat.structure.jsonSchema.schema must be the text of a JSON schema")
    if form.get("type") != "json_schema" or not isinstance(schema, dict):
        _reject("outputConfig.textFormat.type must be json_schema, with a schema that is an object")
    against = next(complaints(schema), None)
    if against is not None:
        _reject(f"outputConfig.textFormat: {against}")
    return schema
