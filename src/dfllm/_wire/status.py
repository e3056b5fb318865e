"""HTTP statuses and provider codes to failures: the rules that all dialects share.

Judged in this order: the provider's code, its type, the status, and the text last and only for known phrases. Money
comes before rate limits, since both are 429. Error bodies: https://platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from dfllm._core.types import Billing, Failure, FailureType


class Complaint(NamedTuple):
    """What a provider says went wrong.

    Attributes:
        message: its text.
        code: its most telling code or type.
        words: every code and type it gave.
    """

    message: str = ""
    code: str | None = None
    words: frozenset[str] = frozenset()


_BY_WORD: dict[str, tuple[FailureType, str]] = {
    **dict.fromkeys(
        (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_hard_limit_reached",
        ),
        ("QuotaExhausted", "the account has no quota left"),
    ),
    "invalid_api_key": ("AuthFailed", "key rejected"),
    "model_not_found": ("ModelNotFound", "the provider does not know the model"),
    "context_length_exceeded": ("ContextTooLong", "the prompt does not fit the model's context"),
    "content_policy_violation": ("ContentFiltered", "prompt refused by policy"),
    "content_filter": ("ContentFiltered", "prompt refused by policy"),
    "invalid_prompt": ("ContentFiltered", "prompt refused by policy"),
    "rate_limit_exceeded": ("RateLimited", "rate limit"),
    "overloaded_error": ("Overloaded", "the provider is overloaded"),
    "insufficient_system_resource": ("Overloaded", "the provider is overloaded"),
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
    504: ("ServerError", "gateway timeout", "maybe"),
    529: ("Overloaded", "the provider is overloaded", "free"),
}
_BY_PHRASE: tuple[tuple[str, tuple[FailureType, str]], ...] = (
    ("credit balance is too low", ("QuotaExhausted", "the account has no quota left")),
    ("prompt is too long", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("maximum context length", ("ContextTooLong", "the prompt does not fit the model's context")),
    ("slow down", ("Overloaded", "the provider asks to slow down")),
    ("overloaded", ("Overloaded", "the provider is overloaded")),
)
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
    kind, reason, billing = _judged(status, headers, complaint or Complaint())
    if complaint is None and status >= 500:
        reason = f"{_media_type(headers) or 'no body'}, {status}"
    elif not reason or kind in ("BadRequest", "ModelNotFound", "PermissionDenied", "ProviderError", "ServerError"):
        reason = cleaned(complaint.message if complaint else "") or reason or f"status {status}"
    return Failure(
        kind,
        reason,
        billing,
        status=status,
        code=cleaned(complaint.code, 40) if complaint and complaint.code else None,
        request_id=_id(headers),
        wait_seconds=wait_seconds(headers),
        again={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
    )


def _judged(status: int, headers: Mapping[str, str], complaint: Complaint) -> tuple[FailureType, str, Billing]:
    if 300 <= status < 400:
        return "ProviderError", f"unexpected redirect, status {status}", "free"
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
    return ("ServerError" if status >= 500 else "ProviderError"), "", "free"


def _media_type(headers: Mapping[str, str]) -> str:
    return cleaned(headers.get("content-type", "").split(";")[0], 40)


def _id(headers: Mapping[str, str]) -> str | None:
    found = headers.get("x-request-id") or headers.get("request-id")
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
    except (TypeError, ValueError):
        return math.nan


def complaint_of(error: Any) -> Complaint | None:
    """Return what an ``error`` object (or text) of a JSON body says; None where there is none."""
    if isinstance(error, str) and error:
        return Complaint(error)
    if not isinstance(error, Mapping):
        return None
    words = [str(error[name]) for name in ("code", "type", "status") if isinstance(error.get(name), (str, int))]
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("error_type"), str):
        words.append(metadata["error_type"])
    return Complaint(str(error.get("message") or ""), words[0] if words else None, frozenset(words))
