"""Gemini's generateContent and models, the way out: what was made up as a chat completion, in this vendor's shapes."""

import json
import math
from collections.abc import Mapping
from typing import Any

from .answers import MODELS
from .asks import Ask
from .limiter import Verdict
from .openai import no_model
from .replies import Reply, packed
from .tools import broken
from .vectors import MODELS as VECTOR_MODELS

_ALL = (*MODELS, *VECTOR_MODELS)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_SAID = {
    "insufficient_quota": "Your prepayment credits are depleted. Please go to AI Studio to manage your billing.",
    "context_length_exceeded": "The input token count (12000) exceeds the maximum number of tokens allowed (8192).",
    "invalid_api_key": "API key not valid. Please pass a valid API key.",
}
_FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_RPC = "type.googleapis.com/google.rpc."


def headers(request_id: str, seconds: float) -> dict[str, str]:
    """Return the headers of every response; this vendor names no exchange and no limit in them."""
    return {"server-timing": f"gfet4t7; dur={round(1000 * seconds)}"}


def error_body(status: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error in this vendor's one shape for all of them."""
    if "status" in said:
        return {"error": said}  # made in it
    code = said["code"] if isinstance(said.get("code"), int) else status
    error = {
        "code": code,
        "message": _SAID.get(str(said.get("code")), said.get("message") or ""),
        "status": _STATUSES.get(code, "UNKNOWN"),
    }
    if said.get("code") == "invalid_api_key":
        reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        error["details"] = [{"@type": f"{_RPC}ErrorInfo", **reason}]
    return {"error": error}


def limited(ask: Ask, verdict: Verdict) -> Reply:
    """Refuse a question that is over a limit; which one, and how long to wait, stands in the details alone."""
    what = {"requests": "Requests", "tokens": "InputTokens"}[verdict.which or "requests"]
    quota = f"GenerateContent{what}PerMinutePerProjectPerModel"
    violation = {"quotaMetric": "generativelanguage.googleapis.com/generate", "quotaId": quota}
    details: list[dict[str, Any]] = [
        {"@type": f"{_RPC}QuotaFailure", "violations": [violation | {"quotaValue": str(verdict.limit)}]}
    ]
    if not math.isinf(verdict.retry_after_seconds):
        seconds = f"{verdict.retry_after_seconds:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{seconds}s"})
    text = "You exceeded your current quota, please check your plan and billing details."
    error = {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": details}
    return Reply(429, packed({"error": error}), verdict.headers)


def content(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion as generated content; a refusal is a prompt that was blocked."""
    choices = completion.get("choices")
    made: dict[str, Any] = {}
    if choices and choices[0]["message"].get("refusal"):
        made["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
    elif choices is not None:
        made["candidates"] = [_candidate(choice) for choice in choices]
    if completion.get("usage"):
        made["usageMetadata"] = usage(completion["usage"])
    return made | {"modelVersion": completion.get("model"), "responseId": completion.get("id")}


def _candidate(choice: Mapping[str, Any]) -> dict[str, Any]:
    said = choice["message"]
    parts: list[dict[str, Any]] = [{"text": said["content"]}] if said.get("content") else []
    finish = _FINISHES[choice["finish_reason"]]
    for call in said.get("tool_calls") or ():
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        if not broken(arguments):
            parts.append({"functionCall": {"name": name, "args": json.loads(arguments)}})
        elif finish == "STOP":  # a call that cannot be read is not shown
            finish = "MALFORMED_FUNCTION_CALL"
    inside = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    return {"content": inside, "finishReason": finish, "index": choice["index"]}


def usage(used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the account of tokens: thoughts stand beside the answer's, and what is none is left out."""
    thoughts = used["completion_tokens_details"]["reasoning_tokens"]
    counts = {
        "promptTokenCount": used["prompt_tokens"],
        "candidatesTokenCount": used["completion_tokens"] - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": used["total_tokens"],
    }
    return {name: count for name, count in counts.items() if count}


def model(name: str) -> Reply:
    """Describe one model, if it is here."""
    return Reply(200, packed(_model(name))) if name in _ALL else no_model(name)


def models() -> Reply:
    """List the models."""
    return Reply(200, packed({"models": [_model(name) for name in _ALL]}))


def _model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name.title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["embedContent"] if name in VECTOR_MODELS else ["generateContent"],
    }
