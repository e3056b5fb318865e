"""How many are in flight: enough for the rate, tried upwards where none is known, and less after overloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import flight
from dfllm._core.flight import FEWEST, Flight

NOW = 1_000.0
STEP = flight._DOUBLING_SECONDS


def slow(*seconds):
    """Return a flight whose answers took so long."""
    made = Flight()
    for each in seconds:
        made.learn(each)
    return made


def test_before_the_first_answer_a_few_go():
    """Nobody knows yet how long answers take."""
    assert FEWEST == Flight().by_rate(1_000.0)


@given(st.floats(0.1, 500.0), st.lists(st.floats(0.01, 120.0), min_size=1, max_size=30))
def test_a_rate_is_kept_by_what_it_needs_and_a_little(rate, seconds):
    """Little's law with some to spare: rate times how long most answers take, and never fewer than a few."""
    places = slow(*seconds).by_rate(rate)

    assert rate * sorted(seconds)[len(seconds) // 2] <= places
    assert places <= max(FEWEST, rate * max(seconds) * flight._SPARE + 1.0)
    assert places == int(places)


def test_a_slow_provider_gets_no_pile():
    """Ten times slower answers are ten times as many in flight, once they are known, and no more."""
    quick, late = slow(*[2.0] * 20), slow(*[20.0] * 20)

    assert pytest.approx(10.0 * quick.by_rate(50.0), rel=0.02) == late.by_rate(50.0)


def test_trying_doubles_where_it_is_made_use_of():
    """Every five seconds, and not in between."""
    made = Flight()

    tried = [made.by_trying(NOW + step * STEP / 2.0, busy=10_000) for step in range(7)]

    assert [FEWEST, FEWEST, 2 * FEWEST, 2 * FEWEST, 4 * FEWEST, 4 * FEWEST, 8 * FEWEST] == tried


def test_trying_stays_where_there_is_room():
    """What is not used shows nothing."""
    made = Flight()

    tried = {made.by_trying(NOW + step * STEP, busy=FEWEST // 2) for step in range(9)}

    assert {FEWEST} == tried


def test_an_overload_cuts_what_was_in_use():
    """By a third or so of what was in flight, not of what was allowed and empty."""
    full, half = Flight(), Flight()
    full.cut(NOW, 1.0)
    half.cut(NOW, 0.5)

    assert pytest.approx(flight._CUT) == full.share
    assert pytest.approx(0.5 * flight._CUT) == half.share


def test_overloads_count_once_a_second_from_the_last_cut():
    """A storm is one piece of news, yet it does not put the next cut off for ever."""
    made, cuts = Flight(), set()
    for tenths in range(0, 40, 3):
        made.cut(NOW + tenths / 10.0, 1.0)
        cuts.add(round(made.share, 9))

    assert 4 == len(cuts)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 3.0), st.floats(-1.0, 2.0), st.integers(0, 50)), max_size=60))
def test_the_share_never_leaves_its_bounds(heard):
    """Whatever is heard, something may be sent, and no more than the room."""
    made, now = Flight(), NOW
    for is_overload, seconds, busy_share, busy in heard:
        now += seconds
        if is_overload:
            made.cut(now, busy_share)
        else:
            made.heal(now, busy)

        assert flight._LEAST_SHARE <= made.share <= 1.0


def test_a_round_of_answers_heals_a_little():
    """As many answers as are in flight widen the room by a twentieth, however many that are."""
    for busy in (10, 1_000):
        made = Flight()
        made.cut(NOW, 1.0)
        for _ in range(busy):
            made.heal(NOW + 2.0, busy)

        assert pytest.approx(flight._CUT * (1.0 + flight._HEAL), rel=0.01) == made.share


def test_a_frozen_room_does_not_grow():
    """Neither healed nor tried upwards, until the time is over."""
    made = Flight()
    made.by_trying(NOW, busy=0)
    made.cut(NOW, 1.0, frozen_seconds=900.0)
    made.heal(NOW + 899.0, 1)
    frozen = made.share, made.by_trying(NOW + 899.0, busy=10_000)

    made.heal(NOW + 900.0, 1)

    assert (pytest.approx(flight._CUT), FEWEST) == frozen
    assert frozen[0] < made.share
    assert 2 * FEWEST == made.by_trying(NOW + 900.0 + STEP, busy=10_000)
