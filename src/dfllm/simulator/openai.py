"""OpenAI's chat completions and models, the way out: answers and errors in the vendor's shapes."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import MODELS, Answer
from .asks import Ask
from .limit_headers import duration
from .limiter import Verdict
from .replies import Delivery, Reply, packed
from .vectors import MODELS as VECTOR_MODELS

Body = dict[str, Any]

_ALL = (*MODELS, *VECTOR_MODELS)
_BORN = 1_735_689_600  # the models' birthday, 2025-01-01


def headers(request_id: str, seconds: float) -> dict[str, str]:
    """Return the headers of every response, one that took so long."""
    return {
        "openai-organization": "org-simulator",
        "openai-version": "2020-10-01",
        "x-request-id": request_id,
        "openai-processing-ms": str(1 + round(1000 * seconds)),
    }


class Rejected(Exception):
    """A request the provider would not take; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    *,
    code: str | int | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return an error in OpenAI's one shape for all of them."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Reply(status, packed(body), headers or {})


def bad_key(presented: str) -> Reply:
    """Refuse a key as the vendor does: with the first and the last letters of it in the message."""
    shown = f"{presented[:7]}{'*' * max(4, len(presented) - 11)}{presented[-4:]}" if len(presented) > 11 else "****"
    message = f"Incorrect API key provided: {shown}." if presented else "You didn't provide an API key."
    return error(
        401,
        f"{message} You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def no_model(model: str) -> Reply:
    """Refuse a model that is not here."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return error(404, message, code="model_not_found")


def model(name: str) -> Reply:
    """Describe one model, if it is here."""
    return Reply(200, packed(_model(name))) if name in _ALL else no_model(name)


def models() -> Reply:
    """List the models."""
    return Reply(200, packed({"object": "list", "data": [_model(name) for name in _ALL]}))


def limited(ask: Ask, verdict: Verdict) -> Reply:
    """Refuse a question that is over a limit, and say when to come again, or that it is too large for ever."""
    per = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}[verdict.which or "requests"]
    if math.isinf(verdict.retry_after_seconds):
        what = f"Request too large for {ask.model} in organization org-simulator on {per}"
        amounts = f"Limit {verdict.limit}, Requested {verdict.requested}"
        end = "The input or output tokens must be reduced in order to run successfully."
    else:
        what = f"Rate limit reached for {ask.model} in organization org-simulator on {per}"
        amounts = f"Limit {verdict.limit}, Used {verdict.used}, Requested {verdict.requested}"
        end = f"Please try again in {duration(verdict.retry_after_seconds)}."
    text = f"{what}: {amounts}. {end} Visit https://platform.openai.com/account/rate-limits to learn more."
    return error(429, text, verdict.which or "requests", code="rate_limit_exceeded", headers=verdict.headers)


def completion(ask: Ask, answers: Sequence[Answer], attempt: int, now: float | None = None) -> Body:
    """Return the body of a good answer, made now, or at so many seconds since 1970."""
    used = sum(answer.tokens for answer in answers)
    return {
        "id": f"chatcmpl-{ask.hash[:24]}{attempt:04x}",
        "object": "chat.completion",
        "created": int(time.time() if now is None else now),
        "model": ask.model,
        "choices": [
            {
                "index": index,
                "message": _message(answer),
                "logprobs": None,
                "finish_reason": answer.finish,
            }
            for index, answer in enumerate(answers)
        ],
        "usage": usage(ask, used),
        "service_tier": "default",
        "system_fingerprint": "fp_simulator",
    }


def _message(answer: Answer) -> Body:
    said: Body = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    if not answer.calls:
        return said
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in answer.calls
    ]
    return said | {"content": answer.text or None, "tool_calls": calls}


def good(
    body: Mapping[str, Any],
    *,
    sent: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    delivery: Delivery = "whole",
) -> Reply:
    """Return a reply that is paid for: the body's usage is charged, whatever bytes are sent in its place."""
    used = body["usage"]
    return Reply(
        200,
        packed(body) if sent is None else sent,
        headers or {},
        delivery=delivery,
        billed=True,
        prompt_tokens=used["prompt_tokens"],
        completion_tokens=used.get("completion_tokens", 0),  # vectors have none
    )


def usage(ask: Ask, completion_tokens: int, reasoning_tokens: int = 0) -> dict[str, Any]:
    """Return the account of tokens."""
    return {
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": ask.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": ask.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _BORN, "owned_by": "simulator"}
