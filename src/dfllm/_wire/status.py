"""HTTP statuses and provider codes to failures: the rules that all dialects share.

Judged in this order: the provider's code, its type, the status, and the text last and only for known phrases. Money
comes before rate limits, since both are 429. Error bodies: https://platform.openai.com/docs/guides/error-codes. Google
says "you exceeded your current quota" of a rate limit, too; which it is, and for how long, stands in the error's
details: https://cloud.google.com/apis/design/errors and https://ai.google.dev/gemini-api/docs/rate-limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from dfllm._core.retry import PATIENT_SECONDS
from dfllm._core.types import Billing, Failure, FailureType


class Complaint(NamedTuple):
    """What a provider says went wrong.

    Attributes:
        message: its text.
        code: its most telling code or type.
        words: every code and type it gave.
        wait_seconds: how long it asks to wait, in its body.
        per_day: whether it is a limit per day that was met.
    """

    message: str = ""
    code: str | None = None
    words: frozenset[str] = frozenset()
    wait_seconds: float | None = None
    per_day: bool = False


_BY_WORD: dict[str, tuple[FailureType, str]] = {
    **dict.fromkeys(
        (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_hard_limit_reached",
            # Anthropic's, in the details of a 429 that no wait clears.
            "enforced_spend_limit_reached",
            "contract_spend_limit_reached",
            "linked_organization_spend_limit_reached",
        ),
        ("QuotaExhausted", "the account has no quota left"),
    ),
    "invalid_api_key": ("AuthFailed", "key rejected"),
    "API_KEY_INVALID": ("AuthFailed", "key rejected"),  # Google says so in a 400
    "model_not_found": ("ModelNotFound", "the provider does not know the model"),
    "context_length_exceeded": ("ContextTooLong", "the prompt does not fit the model's context"),
    "content_policy_violation": ("ContentFiltered", "prompt refused by policy"),
    "content_filter": ("ContentFiltered", "prompt refused by policy"),
    "invalid_prompt": ("ContentFiltered", "prompt refused by policy"),
    # A 402 of OpenRouter's that passes, unlike its others.
    "openrouter_in_flight_budget": ("RateLimited", "rate limit"),
    "rate_limit_exceeded": ("RateLimited", "rate limit"),
    "overloaded_error": ("Overloaded", "the provider is overloaded"),
    "provider_overloaded": ("Overloaded", "the provider is overloaded"),
    "capacity_exceeded": ("Overloaded", "the provider is overloaded"),
    "insufficient_system_resource": ("Overloaded", "the provider is overloaded"),
    # AWS's, whose statuses say less than their names do.
    "ThrottlingException": ("RateLimited", "rate limit"),
    "ServiceQuotaExceededException": ("QuotaExhausted", "the account has no quota left"),
    "ModelNotReadyException": ("Overloaded", "the model is not ready"),
    "ServiceUnavailableException": ("Overloaded", "the provider is overloaded"),
    "ModelErrorException": ("ServerError", ""),
    "InternalServerException": ("ServerError", ""),
    **dict.fromkeys(
        (
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignatureException",
            "MissingAuthenticationTokenException",
            "ExpiredTokenException",
        ),
        ("AuthFailed", "key rejected"),
    ),
}
_BY_STATUS: dict[int, tuple[FailureType, str, Billing]] = {
    400: ("BadRequest", "", "free"),
    401: ("AuthFailed", "key rejected", "free"),
    402: ("QuotaExhausted", "the account has no quota left", "free"),
    403: ("PermissionDenied", "not allowed with this key", "free"),
    404: ("ModelNotFound", "no such model or path", "free"),
    408: ("ServerError", "request timeout", "maybe"),
    409: ("ServerError", "conflict", "free"),
    413: ("ContextTooLong", "the request is too large", "free"),
    422: ("BadRequest", "", "free"),
    429: ("RateLimited", "rate limit", "free"),
    498: ("Overloaded", "the provider is overloaded", "free"),  # Groq's, where flex has no room
    504: ("ServerError", "gateway timeout", "maybe"),
    529: ("Overloaded", "the provider is overloaded", "free"),
}
_SLOW_DOWN_REASON = "the provider asks to slow down"
_BY_PHRASE: tuple[tuple[str, tuple[FailureType, str]], ...] = (
    ("credit balance is too low", ("QuotaExhausted", "the account has no quota left")),
    ("prepayment credits are depleted", ("QuotaExhausted", "the account has no quota left")),
    ("reached your specified api usage limits", ("QuotaExhausted", "the account has no quota left")),
    ("prompt is too long", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("context length", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("`max_new_tokens` must be", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("exceed context limit", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("input is too long", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("model identifier is invalid", ("ModelNotFound", "the provider does not know the model")),
    ("exceeds the maximum number of tokens", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("slow down", ("Overloaded", _SLOW_DOWN_REASON)),
    ("overloaded", ("Overloaded", "the provider is overloaded")),
)
#: What asks for a lower rate, and not only for patience, gets this code whatever else the provider calls it.
_SLOW_DOWN = "slow_down"
#: OpenAI's words for a request that no minute has room for, in what looks like any other 429.
_TOO_LARGE = re.compile(r"request too large for .*?limit (\d+), requested (\d+)", re.IGNORECASE | re.DOTALL)
#: Google's days end at midnight in California; in summer that is an hour earlier.
_DAY_ENDS_UTC_HOUR = 8
_LONGEST_WAIT_SECONDS = 366 * 86_400.0
_ASIDE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_SECRETS = re.compile(r"\b(?:sk|pk|rk|key|gsk|xai|AIza)[-_][\w\-*.]{6,}|\bBearer\s+\S+|\bAIza\w{20,}", re.IGNORECASE)


def cleaned(text: object, most: int = 160) -> str:
    """Return a provider's text fit for one line: no control characters, no page, nothing that looks like a key."""
    line = _SECRETS.sub("***", _ASIDE.sub(" ", str(text))).strip()
    return line if len(line) <= most else line[: most - 1] + "…"


def failure_of(status: int, headers: Mapping[str, str], complaint: Complaint | None) -> Failure:
    """Return what a status that is not 200 means for the row.

    Args:
        status: the HTTP status, or the one a gateway put into a 200's body.
        headers: the answer's, looked up by lower-case name.
        complaint: what the body says; None where it is no JSON error.
    """
    complained = complaint or Complaint()
    kind, reason, billing = _judged(status, headers, complained)
    code = _SLOW_DOWN if reason == _SLOW_DOWN_REASON else complained.code
    wait = wait_seconds(headers)
    if kind == "RateLimited":
        wait = _limit_wait(headers, complained) if wait is None or complained.per_day else wait
        reason = _until_when(headers, wait) or reason
    if complaint is None and status >= 500:
        reason = f"{_media_type(headers) or 'no body'}, {status}"
    elif not reason or kind in ("BadRequest", "ModelNotFound", "PermissionDenied", "ProviderError", "ServerError"):
        reason = cleaned(complained.message) or reason or f"status {status}"
    again = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    if kind == "RateLimited" and complained.per_day and wait is None:
        again = False  # nobody says until when
    return Failure(
        kind,
        reason,
        billing,
        status=status,
        code=cleaned(code, 40) if code else None,
        request_id=_id(headers),
        wait_seconds=wait,
        again=again,
    )


def _judged(status: int, headers: Mapping[str, str], complaint: Complaint) -> tuple[FailureType, str, Billing]:
    if 300 <= status < 400:
        return "ProviderError", f"unexpected redirect, status {status}", "free"
    if status == 429 and (found := _TOO_LARGE.search(complaint.message)):
        return "TooLarge", f"{int(found[2]):,} tokens, limit {int(found[1]):,} per minute", "free"
    for word, (kind, reason) in _BY_WORD.items():
        if word in complaint.words:
            return kind, reason, "free"
    if status in (400, 403, 413, 429, 503, 529):
        text = complaint.message.lower()
        for phrase, (kind, reason) in _BY_PHRASE:
            if phrase in text:
                return kind, reason, "free"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 503 and complaint.message:
        return "Overloaded", "the provider is overloaded", "free"
    is_theirs = status >= 500 or not complaint.words.isdisjoint(("server_error", "api_error"))
    return ("ServerError" if is_theirs else "ProviderError"), "", "free"


def _media_type(headers: Mapping[str, str]) -> str:
    return cleaned(headers.get("content-type", "").split(";")[0], 40)


def _id(headers: Mapping[str, str]) -> str | None:
    found = headers.get("x-request-id") or headers.get("request-id") or headers.get("x-amzn-requestid")
    return found if found and re.fullmatch(r"[A-Za-z0-9_.:/-]{1,128}", found) else None


def wait_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the provider asks to wait; None where it does not say, or says nothing usable.

    ``retry-after-ms`` goes before ``retry-after``. A date counts from the answer's own ``Date``, never from the local
    clock, which may be wrong (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name, "").strip()
        if not said:
            continue
        try:
            seconds = float(said) * unit
        except ValueError:
            seconds = _until(said, headers.get("date", "")) if unit == 1.0 else math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _until(date: str, now: str) -> float:
    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _limit_wait(headers: Mapping[str, str], complaint: Complaint) -> float | None:
    """Return how long a limit lasts, as the body says."""
    if not complaint.per_day or (complaint.wait_seconds or 0.0) > PATIENT_SECONDS:
        return complaint.wait_seconds
    # What it says is how long to wait for a limit per minute; this one lasts longer.
    now = _date(headers)
    if now is None:
        return None
    ends = now.replace(hour=_DAY_ENDS_UTC_HOUR, minute=0, second=0, microsecond=0)
    return ((ends if ends > now else ends + timedelta(days=1)) - now).total_seconds()


def _until_when(headers: Mapping[str, str], wait: float | None) -> str | None:
    """Return what to say of a wait that is no run's to wait; None where it is, or nobody knows when it ends."""
    now = _date(headers)
    if wait is not None and wait >= _LONGEST_WAIT_SECONDS:
        return "the provider asks to wait for over a year"
    if now is None or wait is None or wait <= PATIENT_SECONDS:
        return None
    return f"retry at {now + timedelta(seconds=wait + 59.0):%Y-%m-%dT%H:%MZ}"


def _date(headers: Mapping[str, str]) -> datetime | None:
    """Return the answer's own time."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def complaint_of(error: Any) -> Complaint | None:
    """Return what an ``error`` object (or text) of a JSON body says; None where there is none."""
    if isinstance(error, str) and error:
        return Complaint(error)
    if isinstance(error, list):
        return _invalid(error)
    if not isinstance(error, Mapping):
        return None
    words = [str(error[name]) for name in ("code", "type", "status") if isinstance(error.get(name), (str, int))]
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping):
        words += [metadata[name] for name in ("error_type", "limit_source") if isinstance(metadata.get(name), str)]
    details = list(_details(error))
    words += [str(detail[name]) for detail in details for name in ("error_code", "reason") if name in detail]
    waits = [seconds for detail in details if (seconds := _retry_delay(detail)) is not None]
    return Complaint(
        str(error.get("message") or ""),
        words[0] if words else None,
        frozenset(words),
        max(waits, default=None),
        any(_is_per_day(detail) for detail in details),
    )


def _invalid(found: list[Any]) -> Complaint | None:
    """Return what a list of invalid fields says, as FastAPI writes it: each with its place and what is wrong there."""
    told = [
        f"{'.'.join(map(str, one['loc']))}: {one.get('msg')}"
        for one in found
        if isinstance(one, Mapping) and isinstance(one.get("loc"), list)
    ]
    return Complaint("; ".join(told)) if told else None


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    if isinstance(details, Mapping):
        details = [details]  # Anthropic's way
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            yield detail


def _retry_delay(detail: Mapping[str, Any]) -> float | None:
    """Return the seconds of a `google.rpc.RetryInfo`."""
    said = detail.get("retryDelay")
    if not isinstance(said, str) or not re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?s", said, re.ASCII):
        return None
    return float(said[:-1])


def _is_per_day(detail: Mapping[str, Any]) -> bool:
    """Return whether a `google.rpc.QuotaFailure` names a limit per day."""
    violations = detail.get("violations")
    return isinstance(violations, list) and any(
        "perday" in str(one.get("quotaId", "")).lower() for one in violations if isinstance(one, Mapping)
    )
