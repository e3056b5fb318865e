"""OpenAI's chat completions, gone wrong: what each fault looks like on this wire."""

import email.utils
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from . import luck
from .asks import Ask, tokens_of
from .faults import Faults
from .openai import Body, bad_key, error, good, no_model, usage
from .replies import Delivery, Reply, packed

# From the question, the good answer's body and the settings to what is sent instead.
Fault = Callable[[Ask, Body, Faults], Reply]

_HTML = b"<html><head><title>503 Service Unavailable</title></head><body><h1>Service Unavailable</h1></body></html>"
_HOSTILE = (
    '=HYPERLINK("http://127.0.0.1:9/","open")\t<script>alert(1)</script><img src=x onerror=alert(2)>'
    "\x1b[31mred\x1b[0m\u202egnp.exe | @SUM(1+1)*cmd|'/c calc'!A0"
)
_BOMB_BYTES = 70 * 2**20


def go_wrong(name: str, ask: Ask, body: Body, faults: Faults) -> Reply:
    """Return what is sent instead of a good answer; a fault of vectors leaves an answer in words as it is."""
    return _FAULTS[name](ask, body, faults) if name in _FAULTS else good(body)


def _refused(status: int, message: str, kind: str = "invalid_request_error", **more: Any) -> Fault:
    return lambda ask, body, faults: error(status, message, kind, **more)


def _limited(wait: Callable[[Faults, int], Mapping[str, str]], per: str = "min") -> Fault:
    short = {"min": "RPM", "day": "RPD"}[per]

    def make(ask: Ask, body: Body, faults: Faults) -> Reply:
        text = f"Rate limit reached for {ask.model} in organization org-simulator on requests per {per} ({short})."
        return error(429, text, "requests", code="rate_limit_exceeded", headers=wait(faults, body["created"]))

    return make


def _wait(faults: Faults, now: int) -> dict[str, str]:
    seconds = faults.retry_after_seconds
    return {"retry-after-ms": f"{1000 * seconds:.0f}", "retry-after": str(math.ceil(seconds))}


def _wait_until(faults: Faults, now: int, ahead_seconds: float = 0) -> dict[str, str]:
    wanted = math.ceil(now + faults.retry_after_seconds + ahead_seconds)
    return {
        "retry-after": email.utils.formatdate(wanted, usegmt=True),
        "date": email.utils.formatdate(now, usegmt=True),
    }


def _gemini(quota: str, wait: Callable[[Faults], float]) -> Fault:
    """Refuse as Google does: the text is that of an empty purse, and the truth is in the details."""

    def make(ask: Ask, body: Body, faults: Faults) -> Reply:
        seconds = f"{wait(faults):.9f}".rstrip("0").rstrip(".") + "s"
        rpc = "type.googleapis.com/google.rpc."
        metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        violation = {"quotaMetric": metric, "quotaId": f"{quota}-FreeTier", "quotaValue": "15"}
        error = {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details. For more "
            f"information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n"
            f"* Quota exceeded for metric: {metric}, limit: 15\nPlease retry in {seconds}.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": f"{rpc}QuotaFailure", "violations": [violation]},
                {"@type": f"{rpc}RetryInfo", "retryDelay": seconds},
            ],
        }
        return Reply(429, packed({"error": error}))

    return make


def _page(status: int) -> Fault:
    return lambda ask, body, faults: Reply(status, _HTML, content_type="text/html")


def _delivered(delivery: Delivery) -> Fault:
    return lambda ask, body, faults: good(body, delivery=delivery)


def _lost_free(ask: Ask, body: Body, faults: Faults) -> Reply:
    return Reply(0, b"", delivery="reset")


def _any_5xx(ask: Ask, body: Body, faults: Faults) -> Reply:
    return go_wrong(luck.pick(("500", "502", "503"), ask.hash), ask, body, faults)


def _elsewhere(ask: Ask, body: Body, faults: Faults) -> Reply:
    return Reply(307, b"", {"location": faults.redirect_to})


def _says(change: Callable[[str], str | None], finish: str = "stop", **fields: Any) -> Fault:
    """Change what every choice says and why it ends, set other fields of its message, and count the tokens anew."""

    def make(ask: Ask, body: Body, faults: Faults) -> Reply:
        said = 0
        for choice in body["choices"]:
            text = change(choice["message"]["content"] or "")
            choice["message"].pop("tool_calls", None)
            choice["message"] |= {"content": text, **fields}
            choice["finish_reason"] = finish
            said += tokens_of(text or "") + (tokens_of(json.dumps(fields)) if fields else 0)
        return good(body | {"usage": usage(ask, said)})

    return make


def _cut(ask: Ask, body: Body, faults: Faults) -> Reply:
    """Stop half way: in the middle of the last call, where there is one, else of the text."""
    calls = [call for choice in body["choices"] for call in (choice["message"].get("tool_calls") or ())[-1:]]
    if not calls:
        return _says(lambda text: text[: max(1, len(text) // 2)], "length")(ask, body, faults)
    _halve(calls)
    for choice in body["choices"]:
        choice["finish_reason"] = "length"
    return good(body)


def _halve(calls: list[dict[str, Any]]) -> None:
    for call in calls:
        arguments = call["function"]["arguments"]
        call["function"] = call["function"] | {"arguments": arguments[: max(1, len(arguments) // 2)]}


def _bad_arguments(ask: Ask, body: Body, faults: Faults) -> Reply:
    for choice in body["choices"]:
        said = choice["message"]
        said["tool_calls"] = [dict(call) for call in said.get("tool_calls") or [_CALL]]
        said["content"] = None
        choice["finish_reason"] = "tool_calls"
        _halve(said["tool_calls"])
    return good(body)


def _has(name: str, value: Any) -> Fault:
    return lambda ask, body, faults: good(body | {name: value})


def _without_usage(ask: Ask, body: Body, faults: Faults) -> Reply:
    return good(body, sent=packed({name: value for name, value in body.items() if name != "usage"}))


def _without_choices(ask: Ask, body: Body, faults: Faults) -> Reply:
    return good(body, sent=packed({name: value for name, value in body.items() if name != "usage"} | {"choices": None}))


def _all_thought(ask: Ask, body: Body, faults: Faults) -> Reply:
    thought = ask.allowance or 2048
    for choice in body["choices"]:
        choice["message"].pop("tool_calls", None)
        choice["message"]["content"] = ""
        choice["finish_reason"] = "length"
    return good(body | {"usage": usage(ask, thought, reasoning_tokens=thought)})


def _half(ask: Ask, body: Body, faults: Faults) -> Reply:
    whole = packed(body)
    return good(body, sent=whole[: len(whole) // 2])


def _error_inside(ask: Ask, body: Body, faults: Faults) -> Reply:
    # OpenRouter's way: the status of the gateway is 200, that of the model behind it is in the body, as a number.
    return Reply(200, packed({"error": {"code": 502, "message": "Provider returned error", "metadata": {}}}))


def _failed_response(ask: Ask, body: Body, faults: Faults) -> Reply:
    # The shape of the Responses API, where what failed has a status of its own within a 200.
    error = {"code": "server_error", "message": _SERVER_ERROR}
    failed = {"id": f"resp_{ask.hash[:24]}", "object": "response", "status": "failed", "error": error, "output": []}
    return Reply(200, packed(failed | {"model": ask.model, "usage": None}))


def _stream_that_fails(ask: Ask, body: Body, faults: Faults) -> Reply:
    # Nobody asked for a stream; some gateways send one all the same.
    piece = {"index": 0, "delta": {"role": "assistant", "content": "In short"}, "finish_reason": None}
    first = {"id": body["id"], "object": "chat.completion.chunk", "model": ask.model, "choices": [piece]}
    error = {"error": {"message": _SERVER_ERROR, "type": "server_error", "param": None, "code": None}}
    sent = b"".join(b"data: %b\n\n" % packed(event) for event in (first, error))
    return replace(good(body, sent=sent), content_type="text/event-stream")


def _bomb(ask: Ask, body: Body, faults: Faults) -> Reply:
    size = usage(ask, _BOMB_BYTES // 4)
    return good(body | {"usage": size}, sent=_packed_tight(), headers={"content-encoding": "gzip"})


@cache
def _packed_tight() -> bytes:
    gzip = zlib.compressobj(wbits=31)
    start, end = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"', b'"},"finish_reason":"stop"}]}'
    middle = [gzip.compress(b"a" * 2**20) for _ in range(_BOMB_BYTES // 2**20)]
    return b"".join([gzip.compress(start), *middle, gzip.compress(end), gzip.flush()])


_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
_OVERLOADED = "The engine is currently overloaded, please try again later."
_NO_CREDIT = "Your credit balance is too low to access the API. Please go to Plans & Billing to purchase credits."
_UNSUPPORTED = (
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported."
)
_CALL = {"id": "call_simulator", "type": "function", "function": {"name": "look_up", "arguments": '{"query":"this"}'}}

_FAULTS: Mapping[str, Fault] = {
    "rate429": _limited(_wait),
    "day429": _limited(lambda faults, now: {"retry-after": str(20 * 3600)}, per="day"),
    "ra_date": _limited(_wait_until),
    "ra_skew": _limited(lambda faults, now: _wait_until(faults, now + 3600)),
    "ra_past": _limited(lambda faults, now: _wait_until(faults, now, ahead_seconds=-3600)),
    "ra_junk": _limited(lambda faults, now: {"retry-after": "soon"}),
    "ra_huge": _limited(lambda faults, now: {"retry-after": "99999999999"}),
    "ra_negative": _limited(lambda faults, now: {"retry-after": "-5"}),
    "ra_nan": _limited(lambda faults, now: {"retry-after": "nan"}),
    "quota": _refused(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        code="insufficient_quota",
    ),
    "quota402": _refused(402, "Insufficient Balance", "unknown_error", code="invalid_request_error"),
    "credit400": _refused(400, _NO_CREDIT),
    "gemini429": _gemini("GenerateRequestsPerMinutePerProjectPerModel", lambda faults: faults.retry_after_seconds),
    "gemini_day429": _gemini("GenerateRequestsPerDayPerProjectPerModel", lambda faults: 20 * 3600),
    "400": _refused(400, _UNSUPPORTED, param="temperature", code="unsupported_value"),
    "401": lambda ask, body, faults: bad_key("sk-simulator-key-of-nobody"),
    "403": _refused(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        code="unsupported_country_region_territory",
    ),
    "404": lambda ask, body, faults: no_model(ask.model),
    "408": _refused(408, "Request timed out.", "timeout"),
    "409": _refused(409, "The request conflicted with another request.", "conflict_error"),
    "413": _refused(413, "Request too large.", code="request_too_large"),
    "ctx": _refused(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130417 tokens.",
        param="messages",
        code="context_length_exceeded",
    ),
    "policy400": _refused(
        400,
        "Your request was rejected as a result of our safety system.",
        code="content_policy_violation",
    ),
    "500": _refused(500, _SERVER_ERROR, "server_error"),
    "502": _refused(502, _SERVER_ERROR, "server_error"),
    "503": _refused(503, _OVERLOADED, "server_error"),
    "504": _refused(504, "Gateway timeout.", "timeout"),
    "529": _refused(529, "Overloaded", "overloaded_error"),
    "5xx": _any_5xx,
    "slowdown": _refused(503, "Slow Down", "service_unavailable_error", code="slow_down"),
    "html": _page(503),
    "5xx_html": _page(503),
    "xsr_false": _refused(500, _SERVER_ERROR, "server_error", headers={"x-should-retry": "false"}),
    "xsr_true": _refused(400, "Try that again.", headers={"x-should-retry": "true"}),
    "redirect": _elsewhere,
    "drop_before": _lost_free,
    "drop_before_billed": _delivered("reset"),
    "drop_mid": _delivered("cut"),
    "reset_mid": _delivered("cut_reset"),
    "chunk_cut": _delivered("cut_chunked"),
    "stall": _delivered("late"),
    "drip": _delivered("drip"),
    "stale": _delivered("stale"),
    "frame": _delivered("twice"),
    "html200": _page(200),
    "err200": _error_inside,
    "failed200": _failed_response,
    "trunc_json": _half,
    "empty": _has("choices", []),
    "nochoices": _without_choices,
    "blank": _says(lambda text: ""),
    "refusal": _says(lambda text: None, refusal="I'm sorry, but I can't help with that."),
    "filter": _says(lambda text: None, "content_filter"),
    "length": _cut,
    "think_out": _all_thought,
    "prose": _says(lambda text: "Sure! I had a look at it, and all in all it is fine."),
    "fenced": _says(lambda text: f"Here you go:\n\n```json\n{text}\n```\n\nLet me know if there is more to do."),
    "badshape": _says(lambda text: '{"unexpected":["another","shape"]}'),
    "weirdjson": _says(lambda text: '{"value":NaN,"value":1}'),
    "fncall": _says(lambda text: None, "tool_calls", tool_calls=[_CALL]),
    "badargs": _bad_arguments,
    "nousage": _without_usage,
    "othermodel": _has("model", "another-model"),
    "surrogate": _says(lambda text: f"{text} \ud83d"),
    "xss": _says(lambda text: _HOSTILE),
    "sse_err": _stream_that_fails,
    "bomb": _bomb,
}
