"""Failures to next steps: what waits, what is sent again, what ends the run."""

from __future__ import annotations

import pytest

from dfllm._core.retry import backoff_seconds, is_kept, may_retry, next_step, stops_run
from dfllm._core.types import Failure, Response


def failure(kind, billing="free", **facts):
    """Return a failure of this type."""
    return Failure(kind, "x", billing, **facts)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (failure("RateLimited"), "limiter"),
        (failure("RateLimited", wait_seconds=20 * 3600), "never"),
        (failure("ServerError"), "transient"),
        (failure("ServerError", "maybe"), "ambiguous"),
        (failure("Overloaded"), "transient"),
        (failure("ConnectFailed"), "transient"),
        (failure("ConnectionLost", "maybe"), "ambiguous"),
        (failure("Timeout", "maybe"), "ambiguous"),
        (failure("BadResponse", "maybe"), "ambiguous"),
        (failure("BadResponse", "paid"), "never"),
        (failure("Refused", "paid"), "never"),
        (failure("Truncated", "paid"), "never"),
        (failure("BadRequest"), "never"),
        (failure("AuthFailed"), "never"),
        (failure("ContextTooLong"), "never"),
        (failure("ServerError", again=False), "never"),
        (failure("BadRequest", again=True), "transient"),
        (failure("AuthFailed", again=True), "never"),
    ],
)
def test_next_step_follows_type_and_billing(given, expected):
    """What is free may be tried, what may be billed hardly, what was paid never."""
    assert expected == next_step(given)


def test_free_failures_have_four_tries():
    """After the fourth there is no fifth."""
    tried = [may_retry(failure("ServerError", tries=tries), unsure=0, resend_ambiguous=1) for tries in range(1, 6)]

    assert [True, True, True, False, False] == tried


@pytest.mark.parametrize(("allowed", "expected"), [(0, [False, False]), (1, [True, False]), (2, [True, True])])
def test_ambiguous_failures_are_sent_again_as_often_as_allowed(allowed, expected):
    """One resend by default, none where forbidden, whatever other tries there were."""
    lost = failure("ConnectionLost", "maybe", tries=3)

    assert expected == [may_retry(lost, unsure=unsure, resend_ambiguous=allowed) for unsure in (1, 2)]


def test_backoff_doubles_up_to_its_cap():
    """Full jitter: anything between nothing and the doubled base."""
    longest = [backoff_seconds(tries, 1.0) for tries in (1, 2, 3, 4, 10)]

    assert [0.5, 1.0, 2.0, 4.0, 30.0] == longest
    assert 0.0 == backoff_seconds(5, 0.0)


@pytest.mark.parametrize("kind", ["AuthFailed", "PermissionDenied", "ModelNotFound", "QuotaExhausted", "TlsError"])
@pytest.mark.parametrize("first", [True, False])
def test_what_no_row_can_survive_stops_the_run(kind, first):
    """At the start and later."""
    assert stops_run(failure(kind), first=first)


@pytest.mark.parametrize("kind", ["ConnectFailed", "ProviderError", "BadRequest"])
def test_some_failures_stop_only_the_beginning(kind):
    """What once worked is given a chance to work again."""
    assert stops_run(failure(kind), first=True)
    assert not stops_run(failure(kind), first=False)


def test_the_same_complaint_twenty_times_stops_the_run():
    """Then it is about the request, not about the rows."""
    assert not stops_run(failure("BadRequest"), first=False, same_in_a_row=19)
    assert stops_run(failure("BadRequest"), first=False, same_in_a_row=20)


def test_a_daily_limit_stops_the_run():
    """Nobody waits a day inside a call."""
    assert stops_run(failure("RateLimited", wait_seconds=20 * 3600.0), first=False)
    assert not stops_run(failure("RateLimited", wait_seconds=20.0), first=True)


def test_what_was_said_is_kept():
    """Answers and paid failures that would come again; nothing unpaid."""
    said = Response("x")

    assert is_kept(said)
    assert is_kept(failure("Refused", "paid", response=said))
    assert not is_kept(failure("EmptyResponse", "paid"))
    assert not is_kept(failure("ServerError"))
