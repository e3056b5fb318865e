"""Hearing: limits are learned, those per day are none, and what is left is understood carefully."""

import pytest

from dfllm._core.tempo import Tempo
from dfllm._run.hearing import Hearing
from dfllm._wire.ratelimits import Allowance, Stated

NOW = 1_000.0
NOTHING = (0.0, 0.0, 0.0)


def stated(remaining, limit=600.0, reset="1s"):
    """Return what an answer says of requests."""
    return Stated(Allowance(remaining, limit, reset, ""), None, None)


def heard(*said):
    """Return a tempo that heard these, a second apart, and whether each was news."""
    tempo = Tempo()
    hearing = Hearing(tempo)
    return tempo, [hearing.learn(one, NOW + second) for second, one in enumerate(said)]


def test_a_limit_is_news_once():
    """And again when it changes."""
    tempo, news = heard(stated(599), stated(598), stated(598, limit=300.0))

    assert [True, False, True] == news
    assert 300.0 == tempo.stated[0]


@pytest.mark.parametrize(
    ("reset", "limit"), [("59.5s", 600.0), ("1m0s", 600.0), ("1m2s", 0.0), ("6h", 0.0), ("µs", 600.0)]
)
def test_what_takes_longer_than_a_minute_to_be_whole_is_no_limit_per_minute(reset, limit):
    """An unknown form says nothing, so the name is believed."""
    tempo, _ = heard(stated(1, reset=reset))

    assert limit == tempo.stated[0]


def test_a_limit_per_day_stays_one():
    """When it is nearly whole it looks like one per minute again."""
    tempo, news = heard(stated(599), stated(500, reset="2m59.56s"), stated(599, reset="144ms"))

    assert [True, True, False] == news
    assert 0.0 == tempo.stated[0]


def test_an_answer_without_a_limit_teaches_none():
    """What is left may be said all the same."""
    tempo, news = heard(stated(5, limit=0.0))

    assert [False] == news
    assert 0.0 == tempo.stated[0]
    assert tempo.exhausted_at < NOW


def test_what_is_used_up_is_remembered():
    """It explains a refusal."""
    tempo, _ = heard(stated(0))

    assert NOW == tempo.exhausted_at


def corrected(remaining, *, sent, late, begun=True, seconds=2.0):
    """Return the level after an answer came, of a request before which and after which others went.

    Args:
        remaining: what the answer says was left.
        sent: requests that had gone a minute before it.
        late: requests that went just after it.
        begun: whether nothing else was under way before.
        seconds: how long the answer took.
    """
    tempo = Tempo()
    hearing = Hearing(tempo)
    tempo.stated[0] = 600.0
    tempo.tune()
    clock = tempo.clocks.all[0]
    if begun:
        hearing.begin()
    for _ in range(sent):
        hearing.mark(NOW - 60.0)
        tempo.clocks.charge(NOW - 60.0, (1.0, 0.0, 0.0))
    hearing.mark(NOW)
    tempo.clocks.charge(NOW, (1.0, 0.0, 0.0))
    for _ in range(late):
        tempo.clocks.charge(NOW, (1.0, 0.0, 0.0))
    hearing.mark(NOW + seconds)
    hearing.correct(stated(remaining), NOW + seconds, seconds, 1.0)
    return clock.level(NOW + seconds)


def test_what_is_left_lifts_the_level():
    """By four fifths of what is beyond it; what went about the same time may not have been counted."""
    few, many = corrected(500.0, sent=0, late=0), corrected(500.0, sent=0, late=100)

    assert pytest.approx(0.8 * 499.0, rel=0.02) == few
    assert few - 120.0 < many <= few - 0.8 * 100.0


@pytest.mark.parametrize("remaining", [0.0, 3.0])
def test_what_is_left_lowers_the_level(remaining):
    """To that, and what has come back since."""
    assert pytest.approx(remaining + 0.2 * 10.0) == corrected(remaining, sent=0, late=0, seconds=0.2)


def test_nothing_is_lifted_where_requests_are_under_way_that_nobody_counted():
    """They went before there was anything to count, and the answer may not know of them."""
    counted, uncounted = corrected(500.0, sent=0, late=0), corrected(500.0, sent=0, late=0, begun=False)

    assert uncounted < 10.0 < counted


def test_what_was_accepted_within_a_minute_is_known():
    """Those refused do not count."""
    tempo = Tempo()
    hearing = Hearing(tempo)
    tempo.stated[0] = 6_000.0
    tempo.tune()
    none = hearing.accepted(NOW)
    for second in range(100):
        hearing.mark(NOW + second)
        tempo.clocks.charge(NOW + second, (1.0, 0.0, 0.0))
        tempo.refusals += second % 10 == 0

    assert 0.0 == none
    assert 54.0 == pytest.approx(hearing.accepted(NOW + 100), abs=2.0)


def test_a_limit_that_is_known_to_be_one_per_day_is_never_taken_for_another():
    """A provider's row says so, and a headers' reset under a minute does not mislead."""
    tempo = Tempo()

    news = Hearing(tempo, "day").learn(stated(14_399, limit=14_400.0, reset="6s"), NOW)

    assert (False, 0.0) == (news, tempo.stated[0])
