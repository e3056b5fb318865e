"""Vendors: what each dialect's provider sends, in its own shapes, for one suite over all of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

TEXT = "In Norway."
MODEL = "served-2026"


@dataclass(frozen=True)
class Vendor:
    """One vendor's answers, each a whole body of a 200 save the errors.

    Attributes:
        plain: an answer of `TEXT` by `MODEL`, 12 tokens in of which 2 were cached, 4 out of which 1 was reasoning.
        refused, cut, filtered, empty, called: the same, ended in another way.
        mute: it says nothing at all, and what it cost.
        usage: the field that holds the tokens.
        finish: why a plain answer ended.
        error: from a status and a message to an error's body.
        request_id: the header that names an exchange.
        asked: the official type of requests.
        answer: the official type of answers.
        unsupported: options this API has no place for.
        filtered_as: what a filtered answer ends as.
        quota: the error of an account without money, with its status.
    """

    plain: Mapping[str, Any]
    refused: Mapping[str, Any]
    cut: Mapping[str, Any]
    filtered: Mapping[str, Any]
    empty: Mapping[str, Any]
    called: Mapping[str, Any]
    mute: Mapping[str, Any]
    usage: str
    finish: str
    error: Any
    request_id: str
    asked: pydantic.TypeAdapter[Any]
    answer: pydantic.TypeAdapter[Any]
    quota: tuple[int, Mapping[str, Any]]
    unsupported: tuple[str, ...] = ()
    filtered_as: str = "ContentFiltered"
    fields: tuple[str, ...] = field(default=())


def _completion(content: str | None = TEXT, finish: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, "refusal": None, "annotations": []} | message
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 4,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


_OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}

OPENAI = Vendor(
    plain=_completion(),
    refused=_completion(None, refusal="I cannot."),
    cut=_completion(finish="length"),
    filtered=_completion("", "content_filter"),
    empty=_completion(" "),
    called=_completion(None, "tool_calls", tool_calls=[_OPENAI_CALL]),
    mute=_completion() | {"choices": []},
    usage="usage",
    finish="stop",
    error=lambda status, message: {"error": {"message": message, "type": "x", "param": None, "code": None}},
    request_id="x-request-id",
    asked=pydantic.TypeAdapter(CompletionCreateParamsNonStreaming),
    answer=pydantic.TypeAdapter(ChatCompletion),
    quota=(429, {"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}),
    fields=("choices", "usage", "error", "model"),
)


def _message(content: list[dict[str, Any]] | None = None, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = [thought, {"type": "text", "text": "In "}, {"type": "text", "text": "Norway."}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": said if content is None else content,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 2,
            "output_tokens": 4,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    } | more


def _anthropic_error(status: int, message: str, **more: Any) -> dict[str, Any]:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "overloaded_error" if status == 529 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message} | more, "request_id": "req_1"}


_DECLINED = {"type": "refusal", "category": "cyber", "explanation": "I cannot."}

ANTHROPIC = Vendor(
    plain=_message(),
    refused=_message([], "refusal", stop_details=_DECLINED),
    cut=_message(stop="max_tokens"),
    filtered=_message([], "refusal", stop_details=_DECLINED | {"explanation": None}),
    empty=_message([{"type": "text", "text": " "}]),
    called=_message([{"type": "tool_use", "id": "t", "name": "look", "input": {}}], "tool_use"),
    mute={name: value for name, value in _message().items() if name not in ("content", "stop_reason")},
    usage="usage",
    finish="end_turn",
    error=_anthropic_error,
    request_id="request-id",
    asked=pydantic.TypeAdapter(MessageCreateParamsNonStreaming),
    answer=pydantic.TypeAdapter(Message),
    quota=(429, _anthropic_error(429, "x", details={"error_code": "enforced_spend_limit_reached"})),
    unsupported=("seed",),
    filtered_as="Refused",
    fields=("content", "usage", "error", "model", "stop_reason", "stop_details"),
)

VENDORS: Mapping[str, Vendor] = {"openai": OPENAI, "anthropic": ANTHROPIC}


def packed(body: Any) -> bytes:
    """Return the body as bytes."""
    return json.dumps(body).encode()
