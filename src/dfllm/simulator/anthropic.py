"""Anthropic's messages and models, the way out: what was made up as a chat completion, in this vendor's shapes."""

import json
import re
from collections.abc import Mapping
from typing import Any

from .answers import MODELS
from .openai import no_model
from .replies import Reply, packed
from .tools import broken

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_BORN = "2025-01-01T00:00:00Z"


def headers(request_id: str, seconds: float) -> dict[str, str]:
    """Return the headers of every response."""
    return {"request-id": request_id, "anthropic-organization-id": "org-simulator"}


def error_body(status: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error in this vendor's one shape for all of them."""
    error = {"type": _KINDS.get(status, "api_error"), "message": said.get("message") or ""}
    if said.get("code") == "insufficient_quota":
        error["details"] = {"error_code": "enforced_spend_limit_reached"}
    elif said.get("code") == "context_length_exceeded":
        error["message"] = "prompt is too long: 213462 tokens > 200000 maximum"
    return {"type": "error", "error": error, "request_id": None}


def message(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion as a message."""
    choice = next(iter(completion.get("choices") or ()), None)
    said = choice["message"] if choice else {}
    stop = _STOPS[choice["finish_reason"]] if choice else None
    content: list[dict[str, Any]] = []
    if said.get("content"):
        content.append({"type": "text", "text": said["content"], "citations": None})
    for call in said.get("tool_calls") or ():
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        # Here arguments are an object, and one that was cut is empty.
        asked = {} if broken(arguments) else json.loads(arguments)
        known_by = re.sub("^call_", "toolu_", call["id"])
        content.append({"type": "tool_use", "id": known_by, "name": name, "input": asked})
    details = None
    if stop == "refusal" or said.get("refusal"):
        stop = "refusal"
        details = {"type": "refusal", "category": None, "explanation": said.get("refusal")}
    made = {
        "id": completion.get("id", "msg_").replace("chatcmpl-", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": completion.get("model"),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": details,
    }
    return made | ({"usage": usage(completion["usage"])} if completion.get("usage") else {})


def usage(used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the account of tokens."""
    return {
        "input_tokens": used["prompt_tokens"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used["prompt_tokens_details"]["cached_tokens"],
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": used["completion_tokens_details"]["reasoning_tokens"]},
        "service_tier": "standard",
    }


def model(name: str) -> Reply:
    """Describe one model, if it is here."""
    return Reply(200, packed(_model(name))) if name in MODELS else no_model(name)


def models() -> Reply:
    """List the models."""
    listed = {"data": [_model(name) for name in MODELS], "has_more": False}
    return Reply(200, packed(listed | {"first_id": MODELS[0], "last_id": MODELS[-1]}))


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name.title(), "created_at": _BORN, "lifecycle": "active"}
