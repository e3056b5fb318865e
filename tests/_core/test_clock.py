"""A clock lets through no more than its rate and a full clock, and loses nothing that is given back."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.clock import FULL_SECONDS, Clock

NOW = 1_000.0
RATES = st.floats(0.01, 1_000.0)
UNITS = st.floats(0.0, 5_000.0)
AMOUNTS = st.floats(-5_000.0, 5_000.0)
STEPS = st.lists(st.tuples(st.sampled_from(["charge", "refund", "lift", "cap", "empty"]), UNITS, st.floats(0.0, 9.0)))


def close(expected):
    """Return what equals this number but for rounding."""
    return pytest.approx(expected, rel=1e-6, abs=1e-5)


def lived(rate, steps):
    """Return a clock and its time, after it was used like this."""
    clock, now = Clock(rate), NOW
    for step, number, seconds in steps:
        now += seconds
        if step == "empty":
            clock.empty(now + 1.0, number)
        else:
            getattr(clock, step)(now, number)
    return clock, now


@pytest.mark.parametrize(("rate", "expected"), [(50.0, 50.0 * FULL_SECONDS), (0.1, 1.0)])
def test_a_full_clock_is_a_seconds_worth_and_one_at_least(rate, expected):
    """The first request never waits, however slow the limit."""
    clock = Clock(rate)

    assert expected == clock.full == clock.level(NOW)
    assert clock.charge(NOW, 1.0) == NOW


def test_what_is_charged_ahead_goes_one_after_another():
    """A full clock goes at once, and then each unit after its share of a second."""
    clock = Clock(4.0)

    starts = [clock.charge(NOW, 1.0) - NOW for _ in range(8)]

    assert [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0] == starts


def test_a_large_charge_waits_until_nothing_is_owed_and_then_goes_whole():
    """It could never go otherwise; those behind it wait until it is worked off."""
    clock = Clock(10.0)
    clock.charge(NOW, 30.0)

    large = clock.charge(NOW, 600.0)
    small = clock.charge(NOW, 1.0)

    assert NOW + 3.0 == large
    assert close(NOW + 3.0 + 60.0 + 0.1 - FULL_SECONDS) == small


def test_a_large_charge_goes_ahead_only_as_far_as_units_are_there():
    """Where less is known to be left, it waits for the rest to come back."""
    clock = Clock(10.0)
    clock.most = 400.0

    assert close(NOW + 20.0) == clock.charge(NOW, 600.0)


@given(RATES, st.lists(st.tuples(st.floats(0.0, 3.0), UNITS), min_size=1, max_size=30), st.none() | UNITS, UNITS)
def test_no_window_has_more_than_rate_and_burst(rate, asked, most, credit):
    """From any start to any later one: rate times the time between, a full clock or the largest charge, and credit."""
    clock, now = Clock(rate), NOW
    clock.most = math.inf if most is None else most
    clock.lift(now, credit)
    gone = []
    for seconds, units in asked:
        now += seconds
        gone.append((clock.charge(now, units), units))

    burst = max(clock.full, *(units for _, units in gone))
    for first, (begin, _) in enumerate(gone):
        for (end, _), total in zip(gone[first:], accumulate(units for _, units in gone[first:]), strict=True):
            assert total <= (rate * (end - begin) + burst + credit) * (1.0 + 1e-6) + 1e-5


@given(RATES, st.lists(st.tuples(st.floats(0.0, 3.0), UNITS), min_size=2, max_size=30))
def test_nobody_overtakes(rate, asked):
    """What is charged later never goes earlier, whatever the sizes."""
    clock, now, starts = Clock(rate), NOW, []
    for seconds, units in asked:
        now += seconds
        starts.append(clock.charge(now, units))

    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(starts))


@given(RATES, STEPS, st.floats(0.01, 5_000.0))
def test_a_look_ahead_is_what_a_charge_says(rate, steps, units):
    """`start` promises what `charge` keeps, and changes nothing."""
    clock, now = lived(rate, steps)
    before = clock.tat, clock.credit, clock.spent

    promised = clock.start(now, units)

    assert before == (clock.tat, clock.credit, clock.spent)
    assert close(promised) == clock.charge(now, units)
    assert promised >= now


@given(RATES, STEPS, UNITS)
def test_a_refund_undoes_its_charge(rate, steps, units):
    """Level and what was spent are as if it had never been."""
    clock, now = lived(rate, steps)
    level, spent = clock.level(now), clock.spent

    clock.charge(now, units)
    charged = clock.level(now)
    clock.refund(now, units)

    assert close(level - units) == charged
    assert close(level) == clock.level(now)
    assert close(spent) == clock.spent


@given(RATES, STEPS, AMOUNTS)
def test_a_refund_is_never_clipped(rate, steps, units):
    """The level moves by just that, above a full clock or below nothing if need be."""
    clock, now = lived(rate, steps)
    level, spent = clock.level(now), clock.spent

    clock.refund(now, units)

    assert close(level + units) == clock.level(now)
    assert close(spent - units) == clock.spent


@given(RATES, STEPS, AMOUNTS)
def test_a_lift_moves_the_level_and_is_not_spent(rate, steps, units):
    """What a provider has proven to be there was used by nobody."""
    clock, now = lived(rate, steps)
    level, spent = clock.level(now), clock.spent

    clock.lift(now, units)

    assert close(level + units) == clock.level(now)
    assert spent == clock.spent


@given(RATES, STEPS, AMOUNTS)
def test_capping_never_raises_a_level(rate, steps, units):
    """It is the lower of both afterwards."""
    clock, now = lived(rate, steps)
    level = clock.level(now)

    clock.cap(now, units)

    assert close(min(level, units)) == clock.level(now)


@given(RATES, STEPS, st.floats(0.0, 60.0))
def test_only_the_refill_is_clipped_at_a_full_clock(rate, steps, seconds):
    """Time brings the rate until it is full, and takes no credit away."""
    clock, now = lived(rate, steps)
    level, credit = clock.level(now), clock.credit

    later = clock.level(now + seconds)

    assert close(min(level + rate * seconds, max(level, credit + clock.full))) == later


@given(RATES, STEPS, st.floats(0.0, 60.0), st.floats(0.0, 1.0))
def test_an_empty_clock_has_no_more_than_is_left(rate, steps, seconds, left):
    """At the time that was said, and no more before it; what is owed beyond that stays owed."""
    clock, now = lived(rate, steps)
    owed_until = clock.tat

    clock.empty(now + seconds, left)

    assert 0.0 == clock.credit
    assert clock.level(now + seconds) <= left + 1e-5
    assert clock.tat >= owed_until


def test_a_clock_emptied_ahead_lets_what_is_left_go_then():
    """One request goes when the hold ends, and the second after its share of time."""
    clock = Clock(2.0)
    clock.empty(NOW + 30.0, 1.0)

    starts = [clock.charge(NOW + 30.0, 1.0) - NOW for _ in range(3)]

    assert [30.0, 30.5, 31.0] == starts


@given(RATES, RATES, STEPS)
def test_a_new_rate_leaves_the_time_until_full(rate, other, steps):
    """What is owed stays owed, in seconds."""
    clock, _ = lived(rate, steps)
    tat, credit, spent = clock.tat, clock.credit, clock.spent

    clock.set(other, 0.5)

    assert (tat, credit, spent) == (clock.tat, clock.credit, clock.spent)
    assert max(1.0, other * 0.5) == clock.full


@given(RATES, st.lists(st.tuples(st.floats(0.0, 3.0), UNITS), max_size=30))
def test_what_was_spent_is_counted(rate, asked):
    """All charges, whether they went at once, on credit or later."""
    clock, now = Clock(rate), NOW
    clock.lift(now, 20.0)
    for seconds, units in asked:
        now += seconds
        clock.charge(now, units)

    assert close(sum(units for _, units in asked)) == clock.spent
