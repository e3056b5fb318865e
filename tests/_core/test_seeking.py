"""The search for a limit nobody states: doubled until refused, one step back, then slowly up again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import seeking
from dfllm._core.seeking import DECREASE, Seeking

NOW = 1_000.0
STEP = seeking._DOUBLING_SECONDS


def sought(rate, peak=0.0):
    """Return a search that has come so far."""
    made = Seeking()
    made.rate, made.peak, made.looked_at = rate, peak, NOW
    return made


def grown(made, seconds, used=1.0):
    """Let it hear of an answer after so many seconds, in which this share of the rate was sent."""
    return made.grow(made.looked_at + seconds, made.spent + used * made.rate * seconds)


def test_a_search_begins_slowly():
    """Nobody knows how low the limit is."""
    made = Seeking()
    made.begin(NOW, 3.0)

    assert (seeking._FIRST_RATE, 0.0, NOW, 3.0) == (made.rate, made.peak, made.looked_at, made.spent)


def test_it_doubles_until_the_first_refusal():
    """Every five seconds, and not in between."""
    made = sought(1.0)

    news = [grown(made, STEP), grown(made, STEP / 2.0), grown(made, STEP), grown(made, STEP)]

    assert [True, False, True, True] == news
    assert 8.0 == made.rate


def test_the_first_refusal_takes_the_last_doubling_back():
    """Before it all was well."""
    made = sought(1.0)
    for _ in range(4):
        grown(made, STEP)

    made.refuse(NOW + 60.0, None, None)

    assert (8.0, 16.0) == (made.rate, made.peak)


def test_later_refusals_take_a_little():
    """The limit is near."""
    made = sought(20.0, peak=21.0)

    made.refuse(NOW, None, None)

    assert (DECREASE * 20.0, 20.0) == (made.rate, made.peak)


@pytest.mark.parametrize("peak", [0.0, 10.0])
def test_a_rate_that_is_not_used_does_not_grow(peak):
    """A limit that was not tried shows nothing."""
    made = sought(8.0, peak)

    assert not grown(made, 60.0, used=0.9 * seeking._USED)
    assert 8.0 == made.rate
    assert grown(made, 60.0, used=1.1 * seeking._USED)


def test_it_creeps_where_it_was_refused():
    """Above and below that it grows faster, but never by more than a few percent at once."""
    near, far = sought(10.0, peak=10.0), sought(5.0, peak=10.0)
    grown(near, 1.0)
    grown(far, 1.0)

    assert pytest.approx(10.0 * (1.0 + seeking._GROWTH_NEAR_PEAK)) == near.rate
    assert pytest.approx(5.0 * (1.0 + seeking._GROWTH)) == far.rate
    assert seeking._GROWTH_NEAR_PEAK < seeking._GROWTH < 0.01


def test_a_long_pause_is_no_leave_to_leap():
    """An hour between two answers grows it by a few seconds' worth."""
    made = sought(5.0, peak=10.0)

    grown(made, 3_600.0)

    assert made.rate < 5.0 * (1.0 + 6.0 * seeking._GROWTH)


def test_what_was_accepted_between_refusals_shows_where_the_limit_is():
    """A rate far too high comes down at once, but to no less than half."""
    near, far = sought(100.0, peak=110.0), sought(100.0, peak=110.0)

    near.refuse(NOW, 60.0, None)
    far.refuse(NOW, 2.0, None)

    assert pytest.approx(0.95 * 60.0) == near.rate
    assert seeking._DEEPEST * 100.0 == far.rate
    assert near.rate < near.peak < 100.0


def test_what_was_accepted_never_raises_the_rate():
    """A refusal lowers it, however much went well."""
    made = sought(10.0, peak=11.0)

    made.refuse(NOW, 50.0, None)

    assert DECREASE * 10.0 == made.rate


def test_a_window_that_is_used_up_shows_its_limit():
    """What the last minute let through is the limit, and the rate goes just below it."""
    made = sought(50.0, peak=60.0)

    made.refuse(NOW, None, 10.0)

    assert 0.9 * 10.0 <= made.rate < 10.0
    assert 10.0 == made.peak


@pytest.mark.parametrize(("peak", "expected"), [(0.0, 20.0), (10.0, 10.0)])
def test_a_pause_leaves_four_fifths_of_what_is_known(peak, expected):
    """Of the rate while it was never refused, else of what was refused, and never more than before."""
    made = sought(expected / seeking._REMEMBERED if not peak else 40.0, peak)

    made.begin(NOW, 0.0)

    assert pytest.approx(expected if not peak else seeking._REMEMBERED * peak) == made.rate


@given(st.floats(seeking._SLOWEST, 1_000.0), st.floats(0.0, 1_000.0), st.none() | st.floats(0.0, 1_000.0))
def test_a_refusal_never_raises_the_rate(rate, peak, accepted):
    """Whatever was accepted, and the search always goes on; the slowest is one a minute."""
    made = sought(rate, peak)

    made.refuse(NOW, accepted, None)

    assert seeking._SLOWEST <= made.rate <= rate
    assert made.peak > 0.0


@pytest.mark.parametrize("limit", [0.5, 3.0, 40.0])
def test_a_search_stays_near_the_limit_it_has_found(limit):
    """On a limit that refuses all above it: after ten minutes between half of it and a little more."""
    made, now, rates = Seeking(), NOW, []
    made.begin(now, 0.0)
    for second in range(1_200):
        now += 1.0
        if made.rate > limit:
            made.refuse(now, None, None)
        else:
            made.grow(now, made.spent + made.rate * (now - made.looked_at))
        if second >= 600:
            rates.append(made.rate)

    assert min(rates) > 0.5 * limit
    assert max(rates) < 1.1 * limit
    assert sum(rates) / len(rates) > 0.8 * limit
