"""The tally: every row once, under how it ended; every payment once; how long answers took, in little memory."""

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled
from dfllm._run.tally import Latencies, Latency, Tally

OK = Settled(b"k", Response("a"), ("a",), "live")
KNOWN = Settled(b"k", Response("a"), ("a",), "store")
REFUSED = Settled(b"k", Failure("Refused", "no", "paid"), None, "live")
KNOWN_REFUSED = Settled(b"k", Failure("Refused", "known no", "paid"), None, "store")
CUT = Settled(b"k", Failure("Truncated", "cut", "paid", response=Response("par")), ("par",), "live")
SKIPPED = Settled(None, Failure("Skipped", "column 'a' is missing"), None)
UNSENT = Settled(b"k", Failure("NotSent", "stopped"), None)


@pytest.mark.parametrize(
    ("settled", "counts"),
    [
        (OK, {"ok": 1}),
        (KNOWN, {"ok": 1, "known": 1, "known_ok": 1}),
        (REFUSED, {"failed": 1, "errors": {"Refused": 1}}),
        (KNOWN_REFUSED, {"failed": 1, "known": 1, "errors": {"Refused": 1}}),
        (CUT, {"failed": 1, "errors": {"Truncated": 1}}),
        (UNSENT, {"failed": 1, "errors": {"NotSent": 1}}),
        (SKIPPED, {"skipped": 1}),
        (None, {}),
    ],
)
def test_row_is_counted_under_how_it_ended(settled, counts):
    """Once, and a row that is still to come not at all; partial text beside an error is a failure."""
    tally = Tally(1)

    failed = tally.count([settled])

    found = {field.name: value for field in fields(Tally) if (value := getattr(tally, field.name))}
    assert Latencies() == found.pop("latencies")
    assert {"rows": 1, **counts} == {name: value for name, value in found.items() if name not in ("examples", "causes")}
    assert counts.get("failed", 0) == failed == len(found.get("examples", {}))


@given(st.lists(st.sampled_from([OK, KNOWN, REFUSED, KNOWN_REFUSED, CUT, SKIPPED, UNSENT]), max_size=20), st.data())
def test_rows_add_up_however_they_come(settled, data):
    """One by one or all at once, each row is in exactly one of the three sums."""
    whole, parts = Tally(len(settled)), Tally(len(settled))
    cut = data.draw(st.integers(0, len(settled)))

    whole.count(settled)
    parts.count(settled[:cut])
    parts.count(settled[cut:])

    assert whole == parts
    assert len(settled) == whole.done == whole.ok + whole.failed + whole.skipped
    assert whole.failed == whole.errors.total()
    assert 0 <= whole.known_ok <= min(whole.known, whole.ok)


def test_first_text_of_a_type_is_its_example():
    """One is enough to see what it is about."""
    tally = Tally(2)

    tally.count([REFUSED, KNOWN_REFUSED])

    assert {("Refused", "paid"): "Refused: no (paid)"} == tally.examples


def test_one_type_may_have_several_causes():
    """What was in flight at an interrupt may be billed, what was not sent is not: one must not stand for the other."""
    unsent = Settled(b"k", Failure("Cancelled", "interrupted"), None)
    lost = Settled(b"k", Failure("Cancelled", "in flight", "maybe"), None)
    tally = Tally(3)

    tally.count([unsent, lost, unsent])

    assert {("Cancelled", None): 2, ("Cancelled", "maybe"): 1} == tally.causes
    assert ["Cancelled: interrupted", "Cancelled: in flight (maybe)"] == list(tally.examples.values())
    assert {"Cancelled": 3} == tally.errors


def test_payment_adds_tokens_and_money():
    """Unknown tokens count nothing, an unknown price is counted apart and not as free."""
    tally = Tally(3)

    tally.pay(Response("a", tokens_in=10, tokens_out=2, tokens_cached=8), 500)
    tally.pay(Response("b", tokens_in=None, tokens_out=None), None)
    tally.pay(Response("c", tokens_in=1, tokens_out=1), 0)

    assert (11, 3, 8) == (tally.tokens_in, tally.tokens_out, tally.tokens_cached)
    assert (500, 1) == (tally.cost, tally.unpriced)


def test_seconds_of_a_payment_are_counted_where_they_are_known():
    """An answer whose time nobody took is no quick one."""
    tally = Tally(2)

    tally.pay(Response("a"), 0, 0.25)
    tally.pay(Response("b"), 0)

    assert Latency(0.25, 0.25, 0.25) == tally.latencies.summary()


def test_nothing_answered_took_no_time_at_all():
    """A number would be made up."""
    assert None is Latencies().summary()


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=300))
def test_shares_are_those_of_the_sorted_list(seconds):
    """Within the width of a bucket of the very answer that a sorted list would name; the longest exactly."""
    latencies = Latencies()

    for one in seconds:
        latencies.add(one)

    found, exact = latencies.summary(), sorted(seconds)
    assert exact[-1] == found.max
    for share, about in ((0.5, found.p50), (0.95, found.p95)):
        wanted = exact[math.ceil(share * len(exact)) - 1]
        assert 1 / 1.022 <= about / wanted <= 1.022
    assert exact[0] <= found.p50 <= found.p95 <= found.max


@pytest.mark.parametrize("seconds", [0.0, 1e-9, -0.001, 1e9])
def test_odd_times_are_counted_too(seconds):
    """A clock that stands, or was set back, ends no run."""
    latencies = Latencies()

    latencies.add(seconds)

    assert 1 == latencies.counts.total()
    assert seconds <= latencies.summary().p50 <= max(seconds, 1e-3)


def test_memory_does_not_grow_with_the_answers():
    """A million answers between a millisecond and ten minutes are a few hundred counts."""
    latencies = Latencies()

    for number in range(100_000):
        latencies.add(0.001 * 1.000133**number)

    assert 100_000 == latencies.counts.total()
    assert len(latencies.counts) < 400
