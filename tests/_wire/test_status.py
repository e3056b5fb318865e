"""Statuses to failures: money before limits, codes before statuses, texts last."""

from __future__ import annotations

import json

import pytest

from dfllm._wire.openai import read
from dfllm._wire.status import cleaned, wait_seconds


def said(status, message="", code=None, kind=None, headers=None):
    """Return the failure read from an error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return read(status, headers or {}, json.dumps({"error": error}).encode())


STATUSES = {
    "bad key": (said(401, "Incorrect API key: sk-abcdef123456", "invalid_api_key"), "AuthFailed", "key rejected"),
    "no code 401": (said(401), "AuthFailed", "key rejected"),
    "quota as 429": (said(429, "x", "insufficient_quota"), "QuotaExhausted", "the account has no quota left"),
    "quota as type": (said(429, "x", None, "insufficient_quota"), "QuotaExhausted", "the account has no quota left"),
    "402": (said(402), "QuotaExhausted", "the account has no quota left"),
    "balance in a 400": (
        said(400, "Your credit balance is too low"),
        "QuotaExhausted",
        "the account has no quota left",
    ),
    "limit": (said(429, "Rate limit reached", "rate_limit_exceeded"), "RateLimited", "rate limit"),
    "model": (
        said(404, "The model `x` does not exist", "model_not_found"),
        "ModelNotFound",
        "The model `x` does not exist",
    ),
    "path": (said(404, "Not found"), "ModelNotFound", "Not found"),
    "forbidden": (said(403, "Country not supported"), "PermissionDenied", "Country not supported"),
    "context": (said(400, "too many", "context_length_exceeded"), "ContextTooLong", "the prompt does not fit"),
    "context by text": (said(400, "prompt is too long: 9 tokens"), "ContextTooLong", "the prompt does not fit"),
    "413": (said(413), "ContextTooLong", "the request is too large"),
    "parameter": (said(400, "Unsupported value: 'temperature'"), "BadRequest", "Unsupported value: 'temperature'"),
    "policy": (said(400, "x", "content_policy_violation"), "ContentFiltered", "prompt refused by policy"),
    "overloaded": (said(529, "Overloaded", None, "overloaded_error"), "Overloaded", "the provider is overloaded"),
    "503": (said(503, "The engine is currently overloaded"), "Overloaded", "the provider is overloaded"),
    "slow down": (said(503, "Slow Down"), "Overloaded", "the provider asks to slow down"),
    "500": (said(500, "The server had an error"), "ServerError", "The server had an error"),
    "502 page": (read(502, {"content-type": "text/html"}, b"<html>secret"), "ServerError", "text/html, 502"),
    "redirect": (read(307, {}, b""), "ProviderError", "unexpected redirect, status 307"),
    "FastAPI detail": (read(422, {}, b'{"detail": "wrong field"}'), "BadRequest", "wrong field"),
}


@pytest.mark.parametrize(("failure", "kind", "reason"), STATUSES.values(), ids=STATUSES)
def test_status_says_what_it_means(failure, kind, reason):
    """Type and reason come from code, type, status and text, in that order."""
    assert kind == failure.type
    assert failure.reason.startswith(reason)


@pytest.mark.parametrize(("status", "billing"), [(400, "free"), (500, "free"), (408, "maybe"), (504, "maybe")])
def test_timeouts_at_the_gateway_may_be_billed(status, billing):
    """Nobody can tell whether the model ran behind a gateway that gave up."""
    assert billing == said(status, "x").billing


def test_error_text_has_facts_and_no_key():
    """Status, code and billing stand behind the reason; a key in the provider's text does not."""
    failure = said(403, "Key sk-proj-abcdef123456 may not", "not_allowed", headers={"x-request-id": "req_1"})

    assert "PermissionDenied: Key *** may not (http 403, not_allowed, free)" == str(failure)
    assert "req_1" == failure.request_id


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.5", "retry-after-ms": "40"}, 0.04),
        ({"retry-after-ms": "x", "retry-after": "3"}, 3.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_or_left(headers, expected):
    """Milliseconds first; dates count from the answer's own; nonsense is no wait."""
    assert expected == wait_seconds(headers)


@pytest.mark.parametrize(("word", "expected"), [("true", True), ("False", False), ("maybe", None)])
def test_provider_has_the_last_word_on_retries(word, expected):
    """x-should-retry is taken over as it is."""
    assert expected is said(500, "x", headers={"x-should-retry": word}).again


def test_foreign_text_is_one_clean_line():
    """No control codes, no line breaks, nothing that looks like a key, no endless text."""
    line = cleaned("a\x1b[31mb\nc\u202ed Bearer abc123 " + "x" * 500)

    assert line.startswith("a [31mb c d *** x")
    assert 160 == len(line)
