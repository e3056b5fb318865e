"""Failures to next steps: whether to try again, how long to wait first, and when the whole run must stop.

Nothing here sleeps or counts; `live` does, with what it gets from here. The rules:

- what the limiter must wait for (429) uses no try of the row;
- what is surely free is tried four times, with full jitter between 0 and 0.5 s, 1 s, 2 s, at most 30 s;
  see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
- what may have been billed is sent once more at most, since no provider has idempotency keys for generations;
- what was paid for, or would fail the same way again, is never tried again.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from dfllm._core.types import Failure, Outcome, Response

Next: TypeAlias = Literal["never", "limiter", "transient", "ambiguous"]

TRIES = 4
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0
#: A longer wait than this is no rate limit but a daily one: the run ends and can go on later.
PATIENT_SECONDS = 15 * 60.0
#: The same complaint about this many rows running is about the request, not the rows.
SAME_IN_A_ROW = 20

_NEXT: dict[str, Next] = {
    "RateLimited": "limiter",
    "Overloaded": "transient",
    "ServerError": "transient",
    "ConnectFailed": "transient",
    "ConnectionLost": "ambiguous",
    "Timeout": "ambiguous",
    "BadResponse": "ambiguous",
}
_FATAL = frozenset({"AuthFailed", "PermissionDenied", "ModelNotFound", "QuotaExhausted", "TlsError"})


#: What a row ended with that may be otherwise when it is asked again, and that cost it its answer.
PASSING = frozenset({*_NEXT, "BudgetExceeded", "Cancelled", "NotSent", "StoreError"})


def next_step(failure: Failure) -> Next:
    """Return what may be done after this failure, tries aside."""
    if failure.type == "RateLimited" and (failure.wait_seconds or 0) > PATIENT_SECONDS:
        return "never"
    if failure.again is False or failure.billing == "paid":
        return "never"
    step = _NEXT.get(failure.type, "never")
    if step == "transient" and failure.billing == "maybe":
        return "ambiguous"
    if step == "never" and failure.again and failure.type in ("BadRequest", "ProviderError"):
        return "transient"
    return step


def may_retry(failure: Failure, *, unsure: int, resend_ambiguous: int) -> bool:
    """Return whether the row has a try left.

    Args:
        failure: the last attempt's, its `tries` counting all that were made.
        unsure: attempts so far that may have been billed without an answer, this one included.
        resend_ambiguous: how many of those may be followed by another.
    """
    step = next_step(failure)
    if step == "limiter":
        return True
    if step == "ambiguous":
        return unsure <= resend_ambiguous
    return step == "transient" and failure.tries < TRIES


def backoff_seconds(tries: int, uniform: float) -> float:
    """Return the wait after so many tries; `uniform` is a random number in [0, 1)."""
    return uniform * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (tries - 1))


def stops_run(failure: Failure, *, first: bool, same_in_a_row: int = 1) -> bool:
    """Return whether nothing more should be sent after this failure.

    Args:
        failure: the row's last word, its tries used up.
        first: nothing has succeeded in this call yet.
        same_in_a_row: how many rows running ended with this same complaint, this one included.
    """
    if failure.type in _FATAL or (failure.type == "RateLimited" and next_step(failure) == "never"):
        return True
    if failure.type == "BadRequest":
        return first or same_in_a_row >= SAME_IN_A_ROW
    return first and failure.type in ("ProviderError", "ConnectFailed")


def is_kept(outcome: Outcome) -> bool:
    """Return whether the outcome is the row's for good: an answer, or one that was paid for and would come again."""
    return isinstance(outcome, Response) or outcome.response is not None
