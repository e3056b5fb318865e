"""A lease spares the shared file far from a limit, and changes nothing near one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.tempo import Tempo
from dfllm._core.types import Response
from dfllm._run.pace import Pace

FAST, SLOW = 6_000_000.0, 600.0


class Board:
    """What processes share, in memory; counts how often anyone looks."""

    def __init__(self):
        self.numbers = None
        self.looks = 0
        self.is_free = True

    def file(self, tempo):
        """Return one process's way to it."""
        return File(self, tempo)


class File:
    """As the pace file, without the file."""

    def __init__(self, board, tempo):
        self.board, self.tempo, self.holds = board, tempo, False

    def __enter__(self):
        self.holds = self.board.is_free
        if not self.holds:
            return False
        self.board.looks += 1
        if self.board.numbers is None:
            return False
        self.tempo.load(self.board.numbers)
        return True

    def __exit__(self, *error):
        if self.holds:
            self.board.numbers = self.tempo.dump()
            self.holds = False


class Time:
    """A clock that is set."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def process(board, clock, rpm):
    """Return a process's seat at the board."""
    return Pace(clock, share=board.file).join(rpm=rpm)


def spent(board):
    """Return the requests that all know of."""
    seen = Tempo()
    seen.load(board.numbers)
    return seen.clocks.all[0].spent


def test_far_from_the_limit_the_file_is_looked_at_once_in_five_milliseconds():
    """And the sum is entered then."""
    board, clock = Board(), Time()
    seat = process(board, clock, FAST)
    seat.done(seat.take(400, None), None, {}, 0.1, ok=True)
    before = board.looks
    for _ in range(100):
        assert seat.take(400, None) is not None
    assert (board.looks, spent(board)) == (before, 1.0)
    clock.now += 0.006
    assert seat.take(400, None) is not None
    assert (board.looks, spent(board)) == (before + 1, 102.0)


def test_near_the_limit_every_request_is_entered():
    """A full clock of ten requests has no 32nd to lend."""
    board, clock = Board(), Time()
    seat = process(board, clock, SLOW)
    for count in range(1, 6):
        assert seat.take(400, None) is not None
        assert spent(board) == count


def test_what_processes_do_not_know_of_one_another_is_half_a_full_clock_at_most():
    """Sixteen of them, all at once, as fast as they can."""
    board, clock = Board(), Time()
    seats = [process(board, clock, 19_200.0) for _ in range(16)]
    for seat in seats:
        assert seat.take(400, None) is not None
    counts = []
    for seat in seats:
        before, count = board.looks, 0
        while board.looks == before:
            if seat.take(400, None) is None:
                break
            count += 1
        counts.append(count - 1)
    assert sum(counts) <= 19_200 / 60 / 2
    assert max(counts) > 0


def test_after_a_refusal_every_request_is_entered():
    """Until the rate is whole again."""
    board, clock = Board(), Time()
    seat = process(board, clock, FAST)
    seat.take(400, None)
    seat._pace.limited(0.5)
    clock.now += 5.5
    for _ in range(10):
        before = board.looks
        assert seat.take(400, None) is not None
        assert board.looks == before + 1


def test_what_was_charged_while_another_process_held_the_file_is_entered_later():
    """It is not forgotten."""
    board, clock = Board(), Time()
    one, other = process(board, clock, FAST), process(board, clock, FAST)
    board.is_free = False
    clock.now += 1.0
    for _ in range(7):
        assert one.take(400, None) is not None
    board.is_free = True
    assert other.take(400, None) is not None
    assert spent(board) == 1.0
    clock.now += 1.0
    assert one.take(400, None) is not None
    assert spent(board) == 9.0


def test_the_end_of_a_run_enters_what_it_used_last():
    """Its process may end with it."""
    board, clock = Board(), Time()
    seat = process(board, clock, FAST)
    seat.done(seat.take(400, None), None, {}, 0.1, ok=True)
    for ticket in [seat.take(400, None) for _ in range(100)]:
        seat.done(ticket, None, {}, 0.1, ok=True)
    assert spent(board) == 1.0
    seat.leave()
    assert spent(board) == 101.0


def test_an_answer_that_used_far_more_than_was_guessed_is_entered_at_once():
    """Its process may have nothing to do for minutes, while others take for free what it used."""
    board, clock = Board(), Time()
    seat = Pace(clock, rule="openai", share=board.file).join(rpm=FAST, tpm=FAST)
    tickets = [seat.take(400, None) for _ in range(2)]
    for ticket in tickets:
        seat.done(ticket, Response("x", tokens_in=100, tokens_out=20_000), {}, 30.0, ok=True)
    seen = Tempo()
    seen.load(board.numbers)
    assert seen.clocks.spent[1] == pytest.approx(2 * 20_100)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.booleans(), st.floats(0.0, 0.01), st.integers(1, 2_000)),
        min_size=1,
        max_size=80,
    )
)
def test_nothing_is_lost_or_counted_twice(moves):
    """Requests go, answers come back with what they used, in any order and from any process: the sums agree."""
    board, clock = Board(), Time()
    seats = [Pace(clock, share=board.file).join(rpm=FAST, tpm=1e12) for _ in range(3)]
    under_way = [[], [], []]
    sums = [0.0, 0.0]

    def go(which):
        ticket = seats[which].take(400, None)
        assert ticket is not None
        under_way[which].append(ticket)
        sums[0] += 1.0
        sums[1] += ticket.units[1]

    for which, goes, seconds, used in moves:
        clock.now += seconds
        if goes:
            go(which)
        elif under_way[which]:
            ticket = under_way[which].pop()
            seats[which].done(ticket, Response("x", tokens_in=used, tokens_out=0), {}, seconds, ok=True)
            sums[1] += used - ticket.units[1]
    clock.now += 1.0
    for which in range(3):
        go(which)
    seen = Tempo()
    seen.load(board.numbers)
    assert sums == pytest.approx(seen.clocks.spent[:2])
