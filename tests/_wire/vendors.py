"""Vendors: what each dialect's provider sends, in its own shapes, for one suite over all of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pydantic
import pytest
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai.types import Content, GenerateContentResponse, GenerationConfig, ServiceTier, Tool, ToolConfig
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic.alias_generators import to_camel

TEXT = "In Norway."
MODEL = "served-2026"


@dataclass(frozen=True)
class Vendor:
    """One vendor's answers, each a whole body of a 200 save the errors.

    Attributes:
        plain: an answer of `TEXT` by `MODEL`, 12 tokens in of which 2 were cached, 4 out of which 1 was reasoning.
        refused, cut, filtered, empty, called: the same, ended in another way; None where it knows no such end.
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
        fields: of an answer, those that are read.
        written: of a plain answer, the input tokens that were written to a cache.
        reasoning: and the output tokens that were reasoning.
        model: and who served it, where it says so.
    """

    plain: Mapping[str, Any]
    refused: Mapping[str, Any] | None
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
    fields: tuple[str, ...] = ()
    written: int = 0
    reasoning: int = 1
    model: str | None = MODEL


class GeminiRequest(pydantic.BaseModel, extra="forbid", alias_generator=to_camel):
    """What Google's client puts into a body, of its own types; it has none for the whole."""

    contents: list[Content]
    system_instruction: Content | None = None
    generation_config: GenerationConfig | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    service_tier: ServiceTier | None = None


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
    written=3,
)


def _content(parts: list[dict[str, Any]] | None = None, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    said = [{"text": "hm", "thought": True}, {"text": "In "}, {"text": "Norway."}]
    content = {"role": "model", "parts": said if parts is None else parts}
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 9,
            "toolUsePromptTokenCount": 3,
            "cachedContentTokenCount": 2,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 1,
            "totalTokenCount": 16,
        },
        "modelVersion": MODEL,
        "responseId": "r",
    } | more


def _google_error(status: int, message: str) -> dict[str, Any]:
    statuses = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": status, "message": message, "status": statuses.get(status, "INTERNAL")}}


GEMINI = Vendor(
    plain=_content(),
    refused=None,
    cut=_content(finish="MAX_TOKENS"),
    filtered=_content([], "SAFETY"),
    empty=_content([{"text": " "}]),
    called=_content([{"functionCall": {"name": "look", "args": {}}}]),
    mute={name: value for name, value in _content().items() if name != "candidates"},
    usage="usageMetadata",
    finish="STOP",
    error=_google_error,
    request_id="x-request-id",
    asked=pydantic.TypeAdapter(GeminiRequest),
    answer=pydantic.TypeAdapter(GenerateContentResponse),
    quota=(429, _google_error(429, "Your prepayment credits are depleted.")),
    fields=("candidates", "usageMetadata", "error", "modelVersion", "promptFeedback"),
)


def _response(content: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in ("In ", "Norway.")]
    said = parts if content is None else content
    message = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": said}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": MODEL,
        "output": [{"type": "reasoning", "id": "r", "summary": []}, message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 16,
        },
    } | more


def _cut(reason: str) -> dict[str, Any]:
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


RESPONSES = Vendor(
    plain=_response(),
    refused=_response([{"type": "refusal", "refusal": "I cannot."}]),
    cut=_response(**_cut("max_output_tokens")),
    filtered=_response([], **_cut("content_filter")),
    empty=_response([]),
    called=_response(output=[{"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}]),
    mute={name: value for name, value in _response().items() if name != "output"},
    usage="usage",
    finish="completed",
    error=OPENAI.error,
    request_id="x-request-id",
    asked=pydantic.TypeAdapter(ResponseCreateParamsNonStreaming),
    answer=pydantic.TypeAdapter(Response),
    quota=OPENAI.quota,
    unsupported=("seed", "stop"),
    fields=("status", "output", "usage", "error", "model", "incomplete_details"),
)


def _converse(content: list[dict[str, Any]] | None = None, stop: str = "end_turn") -> dict[str, Any]:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    said = [thought, {"text": "In "}, {"text": "Norway."}]
    return {
        "output": {"message": {"role": "assistant", "content": said if content is None else content}},
        "stopReason": stop,
        "usage": {
            "inputTokens": 7,
            "cacheReadInputTokens": 2,
            "cacheWriteInputTokens": 3,
            "outputTokens": 4,
            "totalTokens": 16,
        },
        "metrics": {"latencyMs": 5},
    }


def _by_botocore(which: str) -> Any:
    """Return what checks a value by AWS's own description of the API; its client has no types."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        session = pytest.importorskip("botocore.session")
        validate = pytest.importorskip("botocore.validate")
        operation = session.Session().get_service_model("bedrock-runtime").operation_model("Converse")
        in_path = {"modelId": "m"} if which == "input_shape" else {}
        report = validate.ParamValidator().validate(value | in_path, getattr(operation, which))
        assert "" == report.generate_report()
        return value

    return check


CONVERSE = Vendor(
    plain=_converse(),
    refused=None,
    cut=_converse(stop="max_tokens"),
    filtered=_converse([], "guardrail_intervened"),
    empty=_converse([{"text": " "}]),
    called=_converse([{"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}], "tool_use"),
    mute={name: value for name, value in _converse().items() if name not in ("output", "stopReason")},
    usage="usage",
    finish="end_turn",
    error=lambda status, message: {"message": message},
    request_id="x-amzn-requestid",
    asked=pydantic.TypeAdapter(Annotated[dict[str, Any], pydantic.AfterValidator(_by_botocore("input_shape"))]),
    answer=pydantic.TypeAdapter(Annotated[dict[str, Any], pydantic.AfterValidator(_by_botocore("output_shape"))]),
    quota=(400, {"__type": "ServiceQuotaExceededException", "message": "x"}),
    unsupported=("seed",),
    fields=("output", "usage", "stopReason", "message", "__type"),
    written=3,
    reasoning=0,
    model=None,
)


def _on_vertex(body: Any, check: Any) -> Any:
    """Check a message as Anthropic's client makes it for Google's cloud: with a version in place of the model."""
    rest = {name: value for name, value in body.items() if name != "anthropic_version"}
    assert "vertex-2023-10-16" == body["anthropic_version"]
    assert "model" not in rest
    checked = check(rest | {"model": MODEL})
    return {name: value for name, value in checked.items() if name != "model"} | {"anthropic_version": "as above"}


VENDORS: Mapping[str, Vendor] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "openai-responses": RESPONSES,
    "converse": CONVERSE,
    "vertex-gemini": GEMINI,
    "vertex-claude": replace(
        ANTHROPIC,
        asked=pydantic.TypeAdapter(Annotated[MessageCreateParamsNonStreaming, pydantic.WrapValidator(_on_vertex)]),
    ),
}


def packed(body: Any) -> bytes:
    """Return the body as bytes."""
    return json.dumps(body).encode()
