"""Statuses to failures: money before limits, codes before statuses, texts last."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.retry import PATIENT_SECONDS, next_step, stops_run
from dfllm._wire.openai import read
from dfllm._wire.status import cleaned, complaint_of, wait_seconds


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
    "groq's flex": (said(498, "x", "capacity_exceeded"), "Overloaded", "the provider is overloaded"),
    "openrouter's purse": (said(402, "x"), "QuotaExhausted", "the account has no quota left"),
    "openrouter in flight": (
        read(
            402, {}, b'{"error":{"code":402,"message":"x","metadata":{"limit_source":"openrouter_in_flight_budget"}}}'
        ),
        "RateLimited",
        "rate limit",
    ),
    "openrouter's upstream": (
        read(502, {}, b'{"error":{"code":502,"message":"x","metadata":{"error_type":"provider_overloaded"}}}'),
        "Overloaded",
        "the provider is overloaded",
    ),
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


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MORNING = {"date": "Fri, 20 Nov 2026 06:30:00 GMT"}


def gemini(quota=PER_MINUTE, delay="38.5s", headers=None):
    """Return the failure read from Google's 429, whose text speaks of money and whose details do not."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://ai.google.dev"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    text = "You exceeded your current quota, please check your plan and billing details."
    error = {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": details}
    return read(429, headers or {}, json.dumps({"error": error}).encode())


def test_googles_quota_is_a_rate_limit_with_a_wait():
    """The details say how long to wait, whatever the text says of plans and billing."""
    failure = gemini()

    assert ("RateLimited", "free", 38.5) == (failure.type, failure.billing, failure.wait_seconds)
    assert "limiter" == next_step(failure)
    assert not stops_run(failure, first=True)


def test_a_header_goes_before_what_the_body_asks():
    """It is the newer of both."""
    assert 2.0 == gemini(headers={"retry-after": "2"}).wait_seconds


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("38s", 38.0),
        ("0s", 0.0),
        ("0.000000001s", 1e-9),
        ("38", None),
        ("-5s", None),
        ("1e3s", None),
        ("5µs", None),
        ("38.s", None),
        ("infs", None),
        ("", None),
        (38, None),
        (None, None),
        ({"seconds": 38}, None),
    ],
)
def test_a_retry_delay_is_seconds_or_nothing(delay, expected):
    """As protobuf writes a duration in JSON; any other form is no wait."""
    assert expected == gemini(delay=delay).wait_seconds


def test_the_longest_of_several_waits_counts():
    """More than one limit may have been met."""
    details = [{"retryDelay": "3s"}, {"retryDelay": "40s"}, {"retryDelay": "x"}, "?", None]

    assert 40.0 == complaint_of({"message": "x", "details": details}).wait_seconds


@pytest.mark.parametrize(
    ("date", "hours", "reason"),
    [
        ("Fri, 20 Nov 2026 06:30:00 GMT", 1.5, "retry at 2026-11-20T08:00Z"),
        ("Fri, 20 Nov 2026 08:00:00 GMT", 24.0, "retry at 2026-11-21T08:00Z"),
        ("Thu, 31 Dec 2026 20:00:00 GMT", 12.0, "retry at 2027-01-01T08:00Z"),
    ],
)
def test_a_limit_a_day_ends_with_googles_day(date, hours, reason):
    """Its RetryInfo is that of a limit per minute: no run waits that long, and the report says until when."""
    failure = gemini(PER_DAY, headers={"date": date})

    assert ("RateLimited", hours * 3600.0) == (failure.type, failure.wait_seconds)
    assert failure.reason.startswith(reason)
    assert "never" == next_step(failure)
    assert stops_run(failure, first=False)


def test_a_long_wait_is_taken_at_its_word():
    """Where Google says itself when the day ends."""
    failure = gemini(PER_DAY, f"{20 * 3600}s", MORNING)

    assert 20 * 3600.0 == failure.wait_seconds
    assert failure.reason.startswith("retry at 2026-11-21T02:3")


def test_a_short_header_does_not_make_a_day_short():
    """A gateway's `retry-after` of a second would be obeyed all day long."""
    assert 1.5 * 3600.0 == gemini(PER_DAY, headers=MORNING | {"retry-after": "1"}).wait_seconds


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_a_limit_a_day_without_a_time_stops_all_the_same(headers):
    """Nobody knows until when, so nobody waits, and nothing is made up."""
    failure = gemini(PER_DAY, headers=headers)

    assert ("RateLimited", "rate limit", None, False) == (
        *(failure.type, failure.reason),
        *(failure.wait_seconds, failure.again),
    )
    assert stops_run(failure, first=False)


@pytest.mark.parametrize(
    "violations", [None, [], [None], [{}], [{"quotaId": None}], [{"quotaId": PER_MINUTE}], "PerDay", [["PerDay"]]]
)
def test_only_a_quota_that_says_so_is_one_a_day(violations):
    """Any other shape is a limit like any."""
    assert not complaint_of({"message": "x", "details": [{"violations": violations}]}).per_day


def test_one_limit_a_day_among_others_counts():
    """What ends last decides."""
    violations = [{"quotaId": PER_MINUTE}, {"quotaId": PER_DAY}]

    assert complaint_of({"message": "x", "details": [{"violations": violations}]}).per_day


def test_a_wait_that_no_run_waits_is_told_as_a_time():
    """Longer than a quarter of an hour: the row says when, by the answer's own clock."""
    short, long = (
        said(429, "x", "rate_limit_exceeded", headers=MORNING | {"retry-after": str(seconds)})
        for seconds in (int(PATIENT_SECONDS), 20 * 3600)
    )

    assert ("rate limit", "limiter") == (short.reason, next_step(short))
    assert "never" == next_step(long)
    assert long.reason.startswith("retry at 2026-11-21T02:3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Request too large for gpt-x in organization org-1 on tokens per min (TPM): Limit 30000, Requested 45000.",
            "45,000 tokens, limit 30,000 per minute",
        ),
        ("Request too large for gpt-x\non tokens: limit 9, requested 10", "10 tokens, limit 9 per minute"),
    ],
)
def test_what_no_minute_has_room_for_is_too_large(text, reason):
    """It looks like any other 429, and would be tried for ever."""
    failure = said(429, text, "rate_limit_exceeded", "tokens")

    assert ("TooLarge", reason, "free") == (failure.type, failure.reason, failure.billing)
    assert "never" == next_step(failure)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([PER_DAY, "9s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["details", "violations", "quotaId", "retryDelay", "message", "code", "metadata"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANY)
def test_no_error_body_is_an_error(error):
    """Whatever JSON a provider answers with, a complaint comes of it or none."""
    complaint = complaint_of(error)

    assert complaint is None or complaint.wait_seconds is None or complaint.wait_seconds >= 0.0
