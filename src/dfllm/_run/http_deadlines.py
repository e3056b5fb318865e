"""Total deadlines of requests, thousands of them on one timer."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol


class Expiring(Protocol):
    """What can run out of time."""

    def expire(self) -> None:
        """Stop waiting: the time is over."""


class Deadlines:
    """Tells each of many when its time is over, and costs next to nothing for those that end before.

    A timer per request is a heap entry each, cancelled nearly always. Here the only timer stands at the earliest
    deadline when it was set; whoever ends in time just leaves, and the timer finds out when it fires.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends: dict[Expiring, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def watch(self, what: Expiring, seconds: float) -> None:
        """Expire it in so many seconds, unless it leaves before."""
        at = self._loop.time() + seconds
        self._ends[what] = at
        if at < self._timer_at:
            self._set(at)

    def leave(self, what: Expiring) -> None:
        """Watch it no longer."""
        self._ends.pop(what, None)

    def close(self) -> None:
        """Watch nothing any longer."""
        self._ends.clear()
        self._set(math.inf)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = None if math.isinf(at) else self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        # Loops fire a timer up to one tick of their clock early; those due then must not wait for another round.
        now = max(self._loop.time(), self._timer_at)
        for what in [what for what, at in self._ends.items() if at <= now]:
            del self._ends[what]
            what.expire()
        self._set(min(self._ends.values(), default=math.inf))
