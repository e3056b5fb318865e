"""The pace holds all senders as long as a provider asks, and the gate knows who went first; on a clock of our own."""

import asyncio

import pytest
from hypothesis import given, strategies

from dfllm._core.types import Failure
from dfllm._run.pace import Gate, Pace


class Clock:
    """A clock that only sleeping moves; others may act while it sleeps."""

    def __init__(self):
        self.now = 5_000.0
        self.slept = []
        self.meanwhile = []

    def __call__(self):
        """Return the time."""
        return self.now

    async def sleep(self, seconds):
        """Let that much time pass, and something happen in it."""
        self.slept.append(seconds)
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()


@pytest.fixture
def clock():
    """Return a clock."""
    return Clock()


@pytest.fixture
def pace(clock):
    """Return a pace on that clock, with no luck in it."""
    return Pace(clock, clock.sleep, lambda: 0.0)


def admit(pace):
    """Wait at the pace until a request may go."""
    asyncio.run(pace.admit())


def test_nobody_waits_where_nothing_was_said(pace, clock):
    """A new pace holds nobody."""
    admit(pace)

    assert [] == clock.slept
    assert not pace.held


@pytest.mark.parametrize("seconds", [0.25, 7.0, 600.0])
def test_a_hold_is_as_long_as_was_asked(pace, clock, seconds):
    """The provider's word counts, whatever its length."""
    pace.limited(seconds)
    held = pace.held

    admit(pace)

    assert held
    assert [seconds] == clock.slept
    assert not pace.held


def test_a_shorter_hold_does_not_end_a_longer_one(pace, clock):
    """Of several answers that came at once the longest counts."""
    pace.limited(9.0)
    pace.limited(2.0)

    admit(pace)

    assert [9.0] == clock.slept


def test_a_hold_that_grows_meanwhile_is_waited_out(pace, clock):
    """Whoever wakes looks again before sending."""
    pace.limited(3.0)
    clock.meanwhile.append(lambda: pace.limited(4.0))

    admit(pace)

    assert [3.0, 4.0] == clock.slept


def test_a_hold_of_nothing_holds_nobody(pace, clock):
    """Retry-After of 0 is taken at its word."""
    pace.limited(0.0)

    admit(pace)

    assert [] == clock.slept


def test_holds_without_a_word_double_up_to_a_minute(pace, clock):
    """Second after second the provider says 429 and not for how long."""
    for _ in range(9):
        pace.limited(None)
        admit(pace)

    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0] == clock.slept


def test_many_answers_of_one_burst_double_once(pace, clock):
    """A hundred 429s in one round trip are one piece of news."""
    for _ in range(100):
        pace.limited(None)
    admit(pace)
    for _ in range(100):
        pace.limited(None)
    admit(pace)

    assert [1.0, 2.0] == clock.slept


def test_an_answer_ends_the_doubling(pace, clock):
    """After an answer the first hold is short again."""
    for _ in range(3):
        pace.limited(None)
        admit(pace)
    pace.succeeded()
    pace.limited(None)

    admit(pace)

    assert [1.0, 2.0, 4.0, 1.0] == clock.slept


def test_time_without_an_answer_is_counted(pace, clock):
    """What `limited` returns is how long the provider has said nothing but "later"; an answer starts it anew."""
    waited = [pace.limited(10.0)]
    admit(pace)
    waited.append(pace.limited(10.0))
    admit(pace)
    waited.append(pace.limited(10.0))
    pace.succeeded()
    admit(pace)
    waited.append(pace.limited(10.0))

    assert [0.0, 10.0, 20.0, 0.0] == waited


@given(luck=strategies.floats(0.0, 1.0, exclude_max=True), seconds=strategies.floats(0.1, 900.0))
def test_senders_are_spread_and_none_goes_early(luck, seconds):
    """All at once would be refused all at once: each waits up to a quarter longer, none shorter."""
    clock = Clock()
    pace = Pace(clock, clock.sleep, lambda: luck)
    pace.limited(seconds)

    admit(pace)

    assert seconds * 0.999 <= sum(clock.slept) <= seconds * 1.2501


def test_a_gate_is_shut_at_first_and_again_after_a_fatal_answer():
    """Whoever waits finds the count changed and the answer there."""
    gate = Gate()
    at_first = gate.is_open, gate.fatal_count
    gate.is_open = True
    failure = Failure("AuthFailed", "key rejected", "free", status=401)

    gate.shut(failure)

    assert (False, 0) == at_first
    assert (False, 1, failure) == (gate.is_open, gate.fatal_count, gate.fatal)
