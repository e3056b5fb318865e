"""The line: where requests wait for their pace, first come first served in a run and fair between runs.

Fair is start-time fair queueing (Goyal, Vin, Cheng 1996) on seconds of the limit: each run's next request is tagged
with what its earlier ones have used of the limit, and the lowest tag goes first. A small run beside a large one has
half of the limit.

Only the head of the line has a time at which it may go, and there is one timer, for it: ten thousand who wait cost no
more than one does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from dfllm._core.charges import NOTHING, Charges, Units

#: A timer may ring this much early, where clocks are coarse.
EARLY_SECONDS = 1e-6


class Ticket:
    """What one request was let go with.

    Attributes:
        size: bytes of its body.
        units: what it was charged.
        at: when.
        max_tokens: the most output tokens it asks for.
        is_lent: whether it went on credit, beyond the usual number in flight.
    """

    __slots__ = ("at", "is_lent", "max_tokens", "size", "units")

    def __init__(self, size: int = 0, units: Units = NOTHING, at: float = 0.0, max_tokens: int | None = None) -> None:
        self.size = size
        self.units = units
        self.at = at
        self.max_tokens = max_tokens
        self.is_lent = False


class Turn:
    """One run's turn between the others.

    Attributes:
        charges: what its requests are thought to take.
        waiters: its requests in line, and those that have left it meanwhile.
        tag: the fair order of the next of them.
        in_flight: how many have gone and not come back.
    """

    __slots__ = ("charges", "in_flight", "tag", "waiters")

    def __init__(self, charges: Charges) -> None:
        self.charges = charges
        self.waiters: deque[Waiter] = deque()
        self.tag = 0.0
        self.in_flight = 0


class Waiter:
    """One request in line.

    Attributes:
        turn: whose it is.
        size: bytes of its body.
        max_tokens: the most output tokens.
        future: ends with its ticket.
        ticket: once it heads the line.
        at: when it may go, once it heads the line.
        has_left: whether it is in line no more.
    """

    __slots__ = ("at", "future", "has_left", "max_tokens", "size", "ticket", "turn")

    def __init__(self, turn: Turn, size: int, max_tokens: int | None, future: asyncio.Future[Ticket]) -> None:
        self.turn = turn
        self.size = size
        self.max_tokens = max_tokens
        self.future = future
        self.ticket: Ticket | None = None
        self.at = 0.0
        self.has_left = False


class Line:
    """All that wait for one provider, model and key.

    Args:
        clock: the time.
        reserve: gives a waiter its ticket and its time; returns the seconds of the limit it uses.

    Attributes:
        length: how many wait.
        head: who goes next, with its ticket and its time.
    """

    def __init__(self, clock: Callable[[], float], reserve: Callable[[Waiter], float]) -> None:
        self._clock = clock
        self._reserve = reserve
        self._turns: list[Turn] = []
        self._virtual = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self.length = 0
        self.head: Waiter | None = None

    def pass_by(self, turn: Turn, cost: float) -> None:
        """Hear of a request that went without waiting, since nobody was in line."""
        self._virtual = max(self._virtual, turn.tag)
        turn.tag = self._virtual + cost

    def join(self, waiter: Waiter) -> None:
        """Put a request behind its run's others."""
        turn = waiter.turn
        if not turn.waiters:
            turn.tag = max(turn.tag, self._virtual)
            self._turns.append(turn)
        turn.waiters.append(waiter)
        self.length += 1

    def leave(self, waiter: Waiter) -> None:
        """Let a request out of the line, wherever it stands."""
        if not waiter.has_left:
            waiter.has_left = True
            self.length -= 1
            if self.head is waiter:
                self.head = None

    def next(self) -> Waiter | None:
        """Return the head of the line, with its ticket and its time; None where nobody waits."""
        while self.head is None and self._turns:
            turn = min(self._turns, key=_tag)
            while turn.waiters and turn.waiters[0].has_left:
                turn.waiters.popleft()
            if not turn.waiters:
                self._turns.remove(turn)
                continue
            waiter = turn.waiters[0]
            try:
                cost = self._reserve(waiter)
            except Exception as error:  # noqa: BLE001  # it is this request's alone, and the line goes on
                self.leave(waiter)
                if not waiter.future.done():
                    waiter.future.set_exception(error)
                continue
            self.head = waiter
            self._virtual = turn.tag
            turn.tag += cost
        return self.head

    def wake(self, at: float | None, then: Callable[[], None]) -> None:
        """Set the one timer to a time, or to none."""
        if self._timer is not None:
            if at == self._wakes_at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._wakes_at = at
            wait = max(0.0, at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring, then)

    def _ring(self, then: Callable[[], None]) -> None:
        self._timer = None
        then()


def _tag(turn: Turn) -> float:
    return turn.tag
