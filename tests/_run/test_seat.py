"""A seat counts what its run has in flight, and costs next to nothing where there is nothing to pace."""

import asyncio

import pytest
from tests import virtual

from dfllm._core.types import Failure, Response
from dfllm._run.pace import Pace
from dfllm._run.seat import FREE, TooLarge


@pytest.mark.parametrize(
    ("tokens", "limit", "said"),
    [
        (90_000.0, 60_000.0, "90k tokens, limit 60k per minute"),
        (9_999.0, 500.0, "9,999 tokens, limit 500 per minute"),
        (12_345_678.0, 2_000_000.0, "12,346k tokens, limit 2,000k per minute"),
    ],
)
def test_too_large_says_by_how_much(tokens, limit, said):
    """In the words of the error column."""
    assert Failure("TooLarge", said, "free") == TooLarge(tokens, limit).failure


def test_without_a_limit_there_is_one_ticket_for_all():
    """No garbage for each of a million."""

    async def main():
        seat = Pace(asyncio.get_running_loop().time).join()
        tickets = [seat.take(400, 100), await seat.wait(400, None), seat.take(9, None)]
        return [ticket is FREE for ticket in tickets], seat.in_flight

    assert ([True, True, True], 3) == virtual.run(main())


@pytest.mark.parametrize("rpm", [None, 6_000.0])
@pytest.mark.parametrize("ok", [True, False])
def test_what_is_in_flight_is_counted(rpm, ok):
    """Up with each ticket, down with each that is given back, whatever came of it."""

    async def main():
        pace = Pace(asyncio.get_running_loop().time)
        seat, other = pace.join(rpm=rpm), pace.join(rpm=rpm)
        tickets = [seat.take(400, None) for _ in range(5)]
        other.take(400, None)
        seen = [(seat.in_flight, other.in_flight, pace.in_flight)]
        for ticket in tickets:
            seat.done(ticket, Response("x") if ok else None, {}, 1.0, ok=ok)
        return [*seen, (seat.in_flight, other.in_flight, pace.in_flight)]

    assert [(5, 1, 6), (0, 1, 1)] == virtual.run(main())


def test_waiting_in_vain_leaves_nothing_behind():
    """Cancelled before its turn."""

    async def main():
        pace = Pace(asyncio.get_running_loop().time)
        seat = pace.join()
        pace.limited(10.0)
        waiting = [asyncio.ensure_future(seat.wait(400, None)) for _ in range(3)]
        await asyncio.sleep(1)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(20)
        return seat.in_flight, seat.take(400, None) is FREE

    assert (0, True) == virtual.run(main())
