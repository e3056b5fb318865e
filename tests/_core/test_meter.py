"""The meter counts what was sent, refused and held, and says it as a share of the limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import meter
from dfllm._core.meter import LimitUse, Meter

NONE = (0.0, 0.0, 0.0)
UNITS = (1.0, 10.0, 2.0)


def steady(*legs, began=100.0):
    """Return a meter and its time, after so many requests a second for so many seconds, in turn."""
    made, now = Meter(), began
    for rate, seconds in legs:
        for _ in range(int(rate * seconds)):
            made.send(now, UNITS)
            now += 1.0 / rate
    return made, now


def test_an_unused_meter_says_nothing():
    """No limit, no share, nothing held."""
    assert LimitUse() == Meter().use(100.0, NONE, None)


def test_the_share_is_that_of_the_tightest_limit():
    """From the first request on: half of the requests, a quarter of the tokens."""
    made, now = steady((1.0, 120))

    use = made.use(now, (120.0, 2_400.0, 0.0), "given")

    assert (120.0, 2_400.0, None, "given") == (use.requests, use.tokens, use.output, use.source)
    assert pytest.approx(0.5) == use.share


@pytest.mark.parametrize(("limits", "expected"), [((0.0, 1_200.0, 0.0), 0.5), ((0.0, 0.0, 120.0), 1.0), (NONE, None)])
def test_every_kind_of_limit_has_its_share(limits, expected):
    """Tokens and output as well as requests; without a limit there is no share."""
    made, now = steady((1.0, 120))

    assert pytest.approx(expected) == made.use(now, limits, "stated").share


def test_the_moment_of_the_first_request_has_no_share_yet():
    """Nothing is divided by no time."""
    made = Meter()
    made.send(100.0, UNITS)

    assert made.use(100.0, (60.0, 0.0, 0.0), "given").share is None


def test_what_was_used_is_counted():
    """Each request is one, whatever the clocks were charged."""
    made = Meter()
    made.send(100.0, (0.0, 7.0, 3.0))
    made.send(100.5, (1.0, 5.0, 0.0))

    assert 2 == made.requests
    assert [2.0, 12.0, 3.0] == made.used


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 30.0)), max_size=20))
def test_holds_that_overlap_count_once(refusals):
    """The seconds held are those in which at least one hold was on."""
    made, now, held_until, held = Meter(), 100.0, 0.0, []
    for gap, seconds in refusals:
        now += gap
        made.refuse(now, held_until, now + seconds)
        held_until = max(held_until, now + seconds)
        held.append((now, now + seconds))

    union, end = 0.0, 0.0
    for begin, until in held:
        union += max(0.0, until - max(begin, end))
        end = max(end, until)
    assert len(refusals) == made.refusals
    assert pytest.approx(union) == made.held_seconds


def test_a_steady_rate_is_the_lowest_kept_before_the_last_seconds():
    """What was sent just now may be what the provider complains of."""
    made, now = steady((4.0, 30), (2.0, 30), (50.0, 9))

    assert pytest.approx(2.0, rel=0.15) == made.steady_rate(now)


def test_a_pause_is_no_steady_rate():
    """Nothing is said by a time in which nothing was to be sent."""
    made, _ = steady((4.0, 30))
    later = 100.0 + 90.0
    for _ in range(80):
        made.send(later, UNITS)
        later += 0.25

    assert made.steady_rate(later) > 0.0


@pytest.mark.parametrize("seconds", [0.0, 0.5 * meter._RECENT_SECONDS])
def test_who_has_just_begun_has_no_steady_rate(seconds):
    """There is nothing to go back to."""
    made, now = steady((5.0, seconds))

    assert made.steady_rate(now) is None
