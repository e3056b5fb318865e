"""Known limits are paced just below, refusals hold and lower, and what headers prove may be spent."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import tempo as rules
from dfllm._core.seeking import DECREASE
from dfllm._core.tempo import PACE, Given, Left, Tempo

NOW = 1_000.0
ONE = (1.0, 100.0, 10.0)


def known(**given):
    """Return a tempo on a limit of 600 requests a minute, stated by headers."""
    made = Tempo()
    made.given = Given(**given)
    made.begin(NOW)
    made.state(0, 600.0)
    return made


def seeks():
    """Return a tempo that looks for its limit."""
    made = Tempo(seeks=True)
    made.begin(NOW)
    return made


def refuse(made, now, wait_seconds=0.0, *, shown=True):
    """Refuse it for so long, with headers that show why or not."""
    if shown:
        made.exhausted_at = now
    return made.refuse(now, now + wait_seconds, ONE)


# Rates.


def test_without_limits_nothing_is_paced():
    """A server of one's own."""
    made = Tempo()
    made.begin(NOW)

    assert not made.known
    assert () == made.clocks.active
    assert 0.0 == made.whole(0) == made.limit(2)


def test_a_known_limit_is_paced_just_below():
    """A little is kept for what we did not count."""
    assert 600.0 / 60.0 * PACE == known().clocks.all[0].rate
    assert 0.98 <= PACE < 1.0


def test_the_user_goes_before_the_headers():
    """Lower or higher: who says a number means it."""
    assert 60.0 == known(requests=60.0).whole(0)
    assert 6_000.0 == known(requests=6_000.0).limit(0)
    assert 600.0 == known(tokens=9.0).whole(0)


def test_a_share_is_of_whatever_the_limit_is():
    """Of a stated limit and of one's own number alike; the whole is still known."""
    stated, own = known(share=0.5), known(share=0.5, requests=100.0)

    assert (600.0, 300.0) == (stated.whole(0), stated.limit(0))
    assert (100.0, 50.0) == (own.whole(0), own.limit(0))
    assert 5.0 * PACE == stated.clocks.all[0].rate


def test_only_a_change_is_news():
    """Every answer says the same; a limit that is stated no more is none."""
    made = Tempo()

    assert [True, False, True, True] == [made.state(1, limit) for limit in (90.0, 90.0, 80.0, 0.0)]
    assert () == made.clocks.active


def test_an_unknown_limit_is_looked_for():
    """Slowly at first, in small bursts, and no more once a limit is stated."""
    made = seeks()
    sought = made.clocks.all[0].rate
    made.state(1, 60_000.0)

    assert made.seeking.rate == sought > 0.0
    assert [1] == [place for place, _ in made.clocks.active]


def test_a_run_that_joins_another_changes_no_rate():
    """Only after a pause is the search begun again."""
    made = seeks()
    made.seeking.rate = 64.0
    made.begin(NOW + 1.0)
    joined = made.seeking.rate
    made.begin(NOW + 2.0 * rules._IDLE_SECONDS)

    assert 64.0 == joined > made.seeking.rate


# Refusals.


def test_a_refusal_holds_everyone_and_leaves_one_request():
    """Until then nobody goes, and then just what the wait was for."""
    made = known()
    made.clocks.all[0].lift(NOW, 50.0)

    refuse(made, NOW, 7.0)

    assert NOW + 7.0 == made.held_until
    assert 1.0 == made.refusals
    assert pytest.approx(1.0) == made.clocks.all[0].level(NOW + 7.0)


def test_a_shorter_hold_does_not_end_a_longer_one():
    """Of several that came at once the longest counts."""
    made = known()
    refuse(made, NOW, 9.0)
    refuse(made, NOW + 0.1, 2.0)

    assert NOW + 9.0 == made.held_until


def test_a_refusal_lowers_a_known_rate_by_little():
    """The limit is nearly right."""
    made = known()

    assert refuse(made, NOW)
    assert rules._DECREASE == made.factor
    assert 10.0 * PACE * rules._DECREASE == made.clocks.all[0].rate


def test_a_known_limit_is_never_given_up():
    """A provider that refuses whatever the rate does not bring it to nothing."""
    made = known()
    for number in range(1_000):
        refuse(made, NOW + 100.0 * number)

    assert rules._LEAST_FACTOR == made.factor


def test_a_refusal_lowers_an_unknown_rate_by_more():
    """The limit is guessed."""
    made = seeks()
    made.seeking.rate, made.seeking.peak = 10.0, 11.0
    made.tune()

    assert refuse(made, NOW)
    assert pytest.approx(10.0 * DECREASE) == made.clocks.all[0].rate
    assert DECREASE < rules._DECREASE


@pytest.mark.parametrize("gap", [0.05, 0.3, 0.7])
def test_a_storm_of_refusals_lowers_the_rate_once_a_second(gap):
    """Counted from the last decrease: a storm neither crushes the rate nor puts the next decrease off."""
    made, lowered = known(), []
    for step in range(int(10.0 / gap)):
        now = NOW + step * gap
        if refuse(made, now):
            lowered.append(now)

    apart = [later - earlier for earlier, later in pairwise(lowered)]
    assert all(rules._ONE_DECREASE_SECONDS <= seconds <= rules._ONE_DECREASE_SECONDS + gap + 1e-6 for seconds in apart)
    assert len(lowered) >= 10.0 / (rules._ONE_DECREASE_SECONDS + gap) - 1.0
    assert pytest.approx(rules._DECREASE ** len(lowered)) == made.factor


@given(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=40))
def test_decreases_are_counted_from_the_last_decrease(gaps):
    """Whenever refusals come: the first of them lowers, and each that is a second after the last that did."""
    made, now, last, expected = known(), NOW, None, []
    heard = []
    for gap in gaps:
        now += gap
        lowers = last is None or now - last >= rules._ONE_DECREASE_SECONDS
        last = now if lowers else last
        expected.append(lowers)
        heard.append(refuse(made, now))

    assert expected == heard


def test_a_refusal_that_no_header_explains_tells_of_another_limit():
    """Refused twice within half a minute at a rate the known limit allows: down to what went through, or to half."""
    explained, unexplained = known(), known()
    for made, shown in ((explained, True), (unexplained, False)):
        refuse(made, NOW, shown=shown)
        made.clocks.charge(NOW + 5.0, (10.0, 0.0, 0.0))
        refuse(made, NOW + 10.0, shown=shown)

    assert pytest.approx(rules._DECREASE**2) == explained.factor
    assert unexplained.factor < 0.75 * explained.factor
    assert unexplained.factor >= rules._DEEPEST * rules._DECREASE


def test_quiet_brings_a_rate_back_answer_by_answer():
    """Not before five seconds, a little with each answer, and never beyond the limit."""
    made = known()
    refuse(made, NOW)
    made.succeed(NOW + 0.9 * rules._QUIET_SECONDS)
    early = made.factor
    made.succeed(NOW + rules._QUIET_SECONDS)
    once = made.factor
    for _ in range(1_000):
        made.succeed(NOW + 60.0)

    assert rules._DECREASE == early
    assert pytest.approx(rules._DECREASE * rules._RECOVERY) == once
    assert 1.0 == made.factor
    assert 10.0 * PACE == made.clocks.all[0].rate


def test_answers_raise_an_unknown_rate_as_it_is_used():
    """The search hears of them."""
    made = seeks()
    first = made.clocks.all[0].rate
    made.clocks.charge(NOW, (10.0, 0.0, 0.0))

    made.succeed(NOW + 5.0)

    assert 2.0 * first == made.clocks.all[0].rate


def test_an_unknown_limit_gets_a_pause_at_the_first_refusal():
    """It may be far below, even where the refusal asks for no time."""
    made = seeks()

    refuse(made, NOW)

    assert made.held_until > NOW
    assert known().held_until == 0.0


# What headers show.


@pytest.mark.parametrize(("remaining", "expected"), [(4.0, 1.0), (2.0, -1.0), (500.0, 10.0 * PACE)])
def test_headers_lower_the_level(remaining, expected):
    """To what is left less what went since; they never loosen by themselves."""
    made = known()

    made.correct(NOW, 0, Left(remaining, 0.0, 3.0, None))

    assert pytest.approx(expected) == made.clocks.all[0].level(NOW)


def test_what_came_back_meanwhile_is_counted():
    """The answer took a while, and the limit went on."""
    made = known()

    made.correct(NOW, 0, Left(0.0, 0.5, 3.0, None))

    assert pytest.approx(600.0 / 60.0 * 0.5 - 3.0) == made.clocks.all[0].level(NOW)


def test_most_of_what_is_proven_may_be_spent_at_once():
    """Four fifths of what is left beyond our own level."""
    made = known()
    level = made.clocks.all[0].level(NOW)

    made.correct(NOW, 0, Left(500.0, 0.0, 20.0, 20.0))

    assert pytest.approx(level + rules._PROVEN * (480.0 - level)) == made.clocks.all[0].level(NOW)
    assert rules._PROVEN <= 0.8


def test_a_share_is_kept_of_what_is_proven():
    """Half of a limit leaves the others their half of the burst."""
    whole, half = known(), known(share=0.5)
    for made in (whole, half):
        made.correct(NOW, 0, Left(500.0, 0.0, 20.0, 20.0))

    assert half.clocks.all[0].level(NOW) < 0.52 * whole.clocks.all[0].level(NOW)


@pytest.mark.parametrize(
    ("refused_seconds_ago", "is_proven"), [(0.0, False), (0.9 * 30.0, False), (1.1 * 30.0, True), (None, True)]
)
def test_nothing_is_proven_just_after_a_refusal(refused_seconds_ago, is_proven):
    """For half a minute; levels are lowered all the same."""
    made = known()
    if refused_seconds_ago is not None:
        refuse(made, NOW - refused_seconds_ago)

    made.correct(NOW, 0, Left(500.0, 0.0, 0.0, 0.0))

    assert is_proven == (made.clocks.all[0].level(NOW) > 20.0)
    assert 30.0 == rules._UNPROVEN_SECONDS


def test_after_a_long_wait_nothing_is_proven_for_longer():
    """A limit that comes back in lumps must not be spent in bursts."""
    made = known()
    refuse(made, NOW, 20.0)

    made.correct(NOW + 2.0 * rules._UNPROVEN_SECONDS, 0, Left(500.0, 0.0, 0.0, 0.0))

    assert made.clocks.all[0].level(NOW + 2.0 * rules._UNPROVEN_SECONDS) < 20.0


@given(
    st.floats(0.0, 700.0),
    st.floats(0.0, 60.0),
    st.floats(0.0, 200.0),
    st.none() | st.floats(0.0, 200.0),
    st.floats(1.0, 10.0),
    st.floats(0.0, 100.0),
)
def test_headers_never_prove_more_than_they_show(remaining, seconds, fewest, more, swell, charged):
    """The level afterwards is no higher than before, or than what is left."""
    made = known()
    clock = made.clocks.all[0]
    clock.charge(NOW, charged)
    before = clock.level(NOW)

    made.correct(NOW, 0, Left(remaining, seconds, fewest, None if more is None else fewest + more, swell))

    assert clock.level(NOW) <= max(before, remaining) + 1e-6
    assert clock.level(NOW) <= max(min(remaining + 10.0 * seconds, 600.0) - fewest, 0.0) + 1e-6 or more is not None
    assert clock.most >= 0.0


def test_what_is_no_limit_is_not_corrected():
    """A remaining number without a clock has nothing to lower."""
    made = known()
    before = made.dump()

    made.correct(NOW, 2, Left(5.0, 0.0, 9.0, 9.0))

    assert before == made.dump()


# "Slow Down".


def test_slow_down_puts_the_rate_back_for_a_quarter_of_an_hour():
    """No answer raises it before; then it rises slowly, and the limit is the end of it."""
    made = known()
    made.slow_down(NOW, 2.0)
    at_once = made.clocks.all[0].level(NOW)
    made.succeed(NOW + 899.0)
    held = made.clocks.all[0].rate
    made.succeed(NOW + 906.0)
    risen = made.clocks.all[0].rate
    for step in range(5_000):
        made.succeed(NOW + 906.0 + 5.0 * step)

    assert at_once <= 1.0
    assert 2.0 == held
    assert 2.0 < risen < 2.1
    assert 10.0 * PACE == made.clocks.all[0].rate


def test_slow_down_never_raises_a_rate():
    """Where the limit is lower, the limit counts."""
    made = known()

    made.slow_down(NOW, 50.0)

    assert 10.0 * PACE == made.clocks.all[0].rate


# Between processes.


def test_processes_share_all_that_is_dumped():
    """What one has learnt the other goes on with: the same numbers, rates and times."""
    mine, other = seeks(), Tempo(seeks=True)
    mine.clocks.charge(NOW, ONE)
    refuse(mine, NOW, 8.0)
    mine.state(1, 6_000.0)
    mine.slow_down(NOW, 1.5)
    mine.clocks.charge(NOW, ONE)
    dumped = mine.dump()

    other.load(dumped)

    assert Tempo.SIZE == len(dumped)
    assert dumped == other.dump()
    assert mine.clocks.spent == other.clocks.spent
    assert [clock.rate for clock in mine.clocks.all] == [clock.rate for clock in other.clocks.all]
    assert mine.clocks.again(NOW, ONE) == other.clocks.again(NOW, ONE)


@given(st.lists(st.floats(0.0, 1e6), min_size=Tempo.SIZE, max_size=Tempo.SIZE))
def test_every_number_comes_back_where_it_was(numbers):
    """None is dropped, none changes places."""
    made = Tempo()

    made.load(numbers)

    assert numbers == list(made.dump())


def test_users_of_each_process_keep_their_say():
    """A share that was asked for here is not asked for there."""
    mine, other = known(share=0.5), Tempo()

    other.load(mine.dump())

    assert 2.0 * mine.clocks.all[0].rate == other.clocks.all[0].rate
