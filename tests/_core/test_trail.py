"""The trail tells what was surely charged by a time gone by, or that nobody knows."""

from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import trail
from dfllm._core.trail import SHUFFLED_SECONDS, Trail

GAPS = st.lists(st.floats(0.05, 5.0), min_size=1, max_size=40)


def walked(times):
    """Return a trail with the time itself as what was charged by then."""
    made = Trail()
    for time in times:
        made.mark(time, (time,))
    return made


def times_of(gaps):
    """Return times with these gaps between them."""
    now = 100.0
    return [now := now + gap for gap in gaps]


def test_an_empty_trail_knows_nothing():
    """Neither what was before nor what came after."""
    empty = Trail()

    assert (None, None, None) == (empty.before(5.0), empty.after(5.0), empty.at(5.0))
    assert empty.wants(0.0)


def test_what_began_with_nothing_under_way_is_known_for_ever_back():
    """The first answer is understood, too; beginning again changes nothing."""
    made = Trail()
    made.begin((7.0,))
    made.mark(100.0, (9.0,))
    made.begin((99.0,))

    assert (7.0,) == made.before(100.0) == made.before(-1e9) == made.at(99.0)
    assert (9.0,) == made.before(100.0 + SHUFFLED_SECONDS)


def test_marks_are_a_step_apart():
    """A thousand requests a second leave no more marks than twenty do."""
    made = walked([100.0])

    assert not made.wants(100.0)
    assert not made.wants(100.0 + 0.9 * trail._STEP_SECONDS)
    assert made.wants(100.0 + 1.1 * trail._STEP_SECONDS)


@given(GAPS, st.floats(90.0, 310.0))
def test_before_is_surely_before(gaps, at):
    """The latest mark that no request sent at that time can have overtaken; None where there is none."""
    times = times_of(gaps)
    sure = [time for time in times if time <= at - SHUFFLED_SECONDS]

    assert ((sure[-1],) if sure else None) == walked(times).before(at)


@given(GAPS, st.floats(90.0, 310.0))
def test_after_is_surely_after(gaps, at):
    """The earliest mark that a request sent at that time cannot have been late for; None where there is none yet."""
    times = times_of(gaps)
    sure = [time for time in times if time >= at + SHUFFLED_SECONDS]

    assert ((sure[0],) if sure else None) == walked(times).after(at)


@given(GAPS, st.floats(90.0, 310.0))
def test_what_had_been_charged_lies_between_before_and_after(gaps, at):
    """The bounds are bounds."""
    made = walked(times_of(gaps))
    before, exact, after = made.before(at), made.at(at), made.after(at)

    assert before is None or before <= exact
    assert after is None or exact <= after


def test_a_time_before_the_first_mark_is_told_as_the_first():
    """It is the best that is known."""
    assert (100.0,) == walked([100.0, 101.0]).at(50.0)


def test_the_trail_does_not_grow_without_end():
    """The oldest marks go, the newest stay."""
    made = walked(float(time) for time in range(5 * trail._MOST))
    newest = 5.0 * trail._MOST - 1.0

    assert len(made._times) == len(made._spent) <= trail._MOST
    assert (newest,) == made.at(newest)
    assert made.before(10.0) is None
