"""The line: each run's in their order, runs in turns by what they have used, and one timer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import virtual

from dfllm._core.charges import Charges
from dfllm._run.line import Line, Ticket, Turn, Waiter


def lined_up(*lengths, costs=lambda turn: 1.0):
    """Return a line with so many waiters of each run, and their runs."""
    turns = [Turn(Charges("none")) for _ in lengths]

    def reserve(waiter):
        waiter.ticket = Ticket()
        return costs(turns.index(waiter.turn))

    line = Line(lambda: 0.0, reserve)
    loop = asyncio.new_event_loop()
    for turn, length in zip(turns, lengths, strict=True):
        for size in range(length):
            line.join(Waiter(turn, size, None, loop.create_future()))
    loop.close()
    return line, turns


def served(line, turns, count):
    """Return whose turn it was, so many times, and the places that they had in their run."""
    order = []
    for _ in range(count):
        head = line.next()
        if head is None:
            break
        order.append((turns.index(head.turn), head.size))
        line.leave(head)
    return order


def test_runs_take_turns():
    """However long they are; within a run, first come first served."""
    line, turns = lined_up(3, 100)

    order = served(line, turns, 7)

    assert [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (1, 3)] == order


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=4))
def test_runs_use_the_limit_alike(costs):
    """Whose requests are three times as large gets a third as many: no two differ by more than two requests."""
    line, turns = lined_up(*[400] * len(costs), costs=costs.__getitem__)

    order = served(line, turns, 200)

    used = [costs[turn] * sum(whose == turn for whose, _ in order) for turn in range(len(turns))]
    assert max(used) - min(used) <= 2 * max(costs) + 1e-6


def test_a_run_that_comes_later_has_not_saved_up():
    """It gets half from now on, not all until it has caught up."""
    line, turns = lined_up(100, 0)
    served(line, turns, 50)
    future = asyncio.new_event_loop()
    for size in range(20):
        line.join(Waiter(turns[1], size, None, future.create_future()))
    future.close()

    order = [whose for whose, _ in served(line, turns, 20)]

    assert 9 <= sum(order) <= 11


def test_who_goes_without_waiting_has_used_the_limit_too():
    """Else a run that is always quick enough would have two turns."""
    line, turns = lined_up(10, 10)
    for _ in range(4):
        line.pass_by(turns[0], 1.0)

    assert [1, 1, 1, 1] == [whose for whose, _ in served(line, turns, 4)]


@given(st.sets(st.integers(0, 19)))
def test_who_has_left_is_passed_over(gone):
    """Wherever it stood, and leaving twice is leaving once."""
    line, turns = lined_up(20)
    waiters = list(turns[0].waiters)
    for number in gone:
        line.leave(waiters[number])
        line.leave(waiters[number])

    order = [size for _, size in served(line, turns, 30)]

    assert [number for number in range(20) if number not in gone] == order
    assert 0 == line.length
    assert line.next() is None


def test_a_request_that_cannot_be_reserved_ends_and_the_line_goes_on():
    """The trouble is its own."""

    async def main():
        turn = Turn(Charges("none"))

        def reserve(waiter):
            if waiter.size == 0:
                raise ValueError("too large")
            return 1.0

        line = Line(asyncio.get_running_loop().time, reserve)
        first, second = (Waiter(turn, size, None, asyncio.get_running_loop().create_future()) for size in (0, 1))
        line.join(first)
        line.join(second)
        return line.next() is second, line.length, repr(first.future.exception())

    assert (True, 1, "ValueError('too large')") == virtual.run(main())


@pytest.mark.parametrize(
    ("times", "rings"), [([3.0], [3.0]), ([3.0, 5.0], [5.0]), ([3.0, 1.0], [1.0]), ([3.0, None], [])]
)
def test_there_is_one_timer(times, rings):
    """The last word counts; it is cancelled, moved or left where it is."""

    async def main():
        loop = asyncio.get_running_loop()
        began, rang = loop.time(), []
        line = Line(loop.time, lambda waiter: 1.0)
        for at in times:
            line.wake(None if at is None else began + at, lambda: rang.append(loop.time() - began))
        await asyncio.sleep(10)
        return rang

    assert [pytest.approx(at) for at in rings] == virtual.run(main())
