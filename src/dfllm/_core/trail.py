"""How much had been charged of each limit at a time gone by: what an answer from then cannot have counted."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

#: Requests overtake one another on their way: which of those sent within this time came first, nobody knows.
SHUFFLED_SECONDS = 1.0
_STEP_SECONDS = 0.05
_MOST = 2000


class Trail:
    """The charges of the last minutes, a step at a time."""

    __slots__ = ("_spent", "_times")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._spent: list[tuple[float, ...]] = []

    def begin(self, spent: Sequence[float]) -> None:
        """Say that nothing else was under way before, so that the first answer is understood."""
        if not self._times:
            self.mark(-math.inf, spent)

    def wants(self, now: float) -> bool:
        """Return whether it is time for another mark."""
        return not self._times or now - self._times[-1] >= _STEP_SECONDS

    def mark(self, now: float, spent: Sequence[float]) -> None:
        """Remember what has been charged by now."""
        times = self._times
        times.append(now)
        self._spent.append(tuple(spent))
        if len(times) > _MOST:
            del times[: _MOST // 2], self._spent[: _MOST // 2]

    def before(self, at: float) -> tuple[float, ...] | None:
        """Return what had surely been charged before a request that went then; None where that is forgotten."""
        place = bisect_right(self._times, at - SHUFFLED_SECONDS)
        return self._spent[place - 1] if place else None

    def after(self, at: float) -> tuple[float, ...] | None:
        """Return what had been charged by when all later charges were surely after it; None where that is not yet."""
        place = bisect_left(self._times, at + SHUFFLED_SECONDS)
        return self._spent[place] if place < len(self._times) else None

    def at(self, at: float) -> tuple[float, ...] | None:
        """Return what had been charged by a time, or by the earliest that is remembered; None where nothing is."""
        place = bisect_right(self._times, at)
        return self._spent[max(place - 1, 0)] if self._times else None
