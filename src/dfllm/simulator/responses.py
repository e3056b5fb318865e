"""OpenAI's Responses: a body is read as the chat completion it amounts to, and the answer said in their shape."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from . import openai_read, tools_read
from .asks import Ask, hash_of
from .openai import Rejected, error
from .replies import packed
from .tools import broken

_FIELDS = frozenset(
    {"model", "input", "instructions", "max_output_tokens", "temperature", "top_p", "reasoning", "text", "store"}
    | {"include", "truncation", "service_tier", "prompt_cache_key", "background", "metadata", "stream", "tools"}
    | {"tool_choice", "parallel_tool_calls", "safety_identifier", "user", "previous_response_id"}
)
_PLAIN = ("model", "temperature", "top_p", "stream")
_CUTS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def read(raw: bytes, given: Mapping[str, str]) -> Ask:
    """Read a request for a response.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return openai_read.read(raw)  # which refuses it
    if not isinstance(body, dict):
        return openai_read.read(raw)
    for name in body:
        if name not in _FIELDS:
            _reject(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    chat = {name: body[name] for name in _PLAIN if name in body}
    if "max_output_tokens" in body:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    form = (body.get("text") or {}).get("format")
    if isinstance(form, dict):
        kind = form.get("type")
        inside = {name: value for name, value in form.items() if name != "type"}
        chat["response_format"] = {"type": kind, "json_schema": inside} if kind == "json_schema" else form
    chat["messages"] = _messages(body)
    chat |= tools_read.as_chat(body)
    return replace(openai_read.read(packed(chat), more_files=True), hash=hash_of(body))


def _reject(message: str, param: str, code: str) -> NoReturn:
    raise Rejected(error(400, message, param=param, code=code))


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = body.get("input")
    if asked is None:
        _reject("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        _reject("Invalid type for 'input': expected a string or an array of items.", "input", "invalid_type")
    rules = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    return rules + [{"role": turn.get("role"), "content": _content(turn.get("content"))} for turn in turns]


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part) if isinstance(part, dict) else part for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {**part, "type": "text"}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    if kind == "input_file":
        return {"type": "file", "file": part}
    return {**part, "type": f"{kind} here"} if kind in ("text", "image_url", "file") else part


def response(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion as a response."""
    choice = next(iter(completion.get("choices") or ()), None)
    said = choice["message"] if choice else {}
    cut = _CUTS.get(choice["finish_reason"]) if choice else None
    name = str(completion.get("id", "")).removeprefix("chatcmpl-")
    status = "incomplete" if cut else "completed"
    parts: list[dict[str, Any]] = []
    if said.get("refusal"):
        parts.append({"type": "refusal", "refusal": said["refusal"]})
    elif said.get("content") is not None:
        parts.append({"type": "output_text", "text": said["content"], "annotations": [], "logprobs": []})
    output: list[dict[str, Any]] = [
        {
            "type": "function_call",
            "id": f"fc_{name}{place:x}",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
            "status": "incomplete" if cut and broken(call["function"]["arguments"]) else "completed",
        }
        for place, call in enumerate(said.get("tool_calls") or ())
    ]
    if parts:
        message = {"type": "message", "id": f"msg_{name}", "status": status, "role": "assistant", "content": parts}
        output.insert(0, message)
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": completion.get("created"),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": completion.get("model"),
        "output": None if completion.get("choices") is None else output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _usage(completion["usage"]) if completion.get("usage") else None,
    }


def _usage(used: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": used["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": used["prompt_tokens_details"]["cached_tokens"],
            "cache_write_tokens": 0,
        },
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": used["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": used["total_tokens"],
    }
