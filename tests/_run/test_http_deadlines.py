"""Deadlines: many on one timer, each told once, at its time."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._run.http_deadlines import Deadlines


class Clock:
    """Stands in for a loop: time moves by hand, timers are counted."""

    def __init__(self):
        self.now = 0.0
        self.timers = []
        self.made = 0

    def time(self):
        """Return the time, as a loop does."""
        return self.now

    def call_at(self, when, callback):
        """Set a timer, as a loop does."""
        self.made += 1
        timer = Timer(self, when, callback)
        self.timers.append(timer)
        return timer

    def go_to(self, when):
        """Let time pass, and fire what is due on the way."""
        while due := [timer for timer in self.timers if timer.when <= when]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = when


class Timer:
    """What `call_at` gives."""

    def __init__(self, clock, when, callback):
        self.clock, self.when, self.callback = clock, when, callback

    def cancel(self):
        """Never fire."""
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class Waiting:
    """Notes when it was told."""

    def __init__(self, clock):
        self.clock = clock
        self.expired_at = None

    def expire(self):
        """Be told, once."""
        assert self.expired_at is None
        self.expired_at = self.clock.now


@pytest.fixture
def clock():
    """Return a loop's stand-in at time zero."""
    return Clock()


def test_each_expires_at_its_time(clock):
    """Whatever the order in which they came."""
    deadlines = Deadlines(clock)
    waiting = {seconds: Waiting(clock) for seconds in (600.0, 5.0, 30.0, 30.5)}
    for seconds, each in waiting.items():
        deadlines.watch(each, seconds)

    clock.go_to(1000.0)

    assert list(waiting) == [each.expired_at for each in waiting.values()]


def test_who_left_does_not_expire(clock):
    """An answer in time ends the watch."""
    deadlines, gone, stays = Deadlines(clock), Waiting(clock), Waiting(clock)
    deadlines.watch(gone, 1.0)
    deadlines.watch(stays, 2.0)

    deadlines.leave(gone)
    clock.go_to(10.0)

    assert (None, 2.0) == (gone.expired_at, stays.expired_at)


def test_a_hundred_thousand_requests_cost_a_handful_of_timers(clock):
    """Requests that end in time touch no timer."""
    deadlines = Deadlines(clock)
    for _ in range(100_000):
        each = Waiting(clock)
        deadlines.watch(each, 600.0)
        clock.go_to(clock.now + 0.01)
        deadlines.leave(each)

    assert clock.made <= 3


@given(st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 5), st.booleans()), max_size=30))
def test_any_schedule_is_kept(steps):
    """Those who stay expire at their time, those who leave in time never do."""
    clock = Clock()
    deadlines = Deadlines(clock)
    watched = []
    for seconds, pause, leaves in steps:
        each = Waiting(clock)
        deadlines.watch(each, seconds)
        if leaves:
            deadlines.leave(each)
        watched.append((each, None if leaves else clock.now + seconds))
        clock.go_to(clock.now + pause)

    clock.go_to(clock.now + 100)

    assert [expected for _, expected in watched] == [each.expired_at for each, _ in watched]
    assert [] == clock.timers


def test_closing_leaves_no_timer(clock):
    """Nothing fires after the end."""
    deadlines, each = Deadlines(clock), Waiting(clock)
    deadlines.watch(each, 1.0)

    deadlines.close()
    clock.go_to(10.0)

    assert ([], None) == (clock.timers, each.expired_at)


def test_a_real_loop_fires_it():
    """The timer is the event loop's own."""

    async def main():
        loop = asyncio.get_running_loop()
        expired = loop.create_future()

        class Once:
            def expire(self):
                expired.set_result("late")

        Deadlines(loop).watch(Once(), 0.01)
        return await asyncio.wait_for(expired, 5)

    assert "late" == asyncio.run(main())
