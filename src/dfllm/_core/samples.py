"""The last few samples of something, and where most of them lie."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque


class Samples:
    """The last so many numbers, oldest forgotten first.

    Args:
        most: how many are remembered.
    """

    __slots__ = ("_newest_last", "_smallest_first")

    def __init__(self, most: int = 200) -> None:
        self._newest_last: deque[float] = deque(maxlen=most)
        self._smallest_first: list[float] = []

    def __len__(self) -> int:
        return len(self._smallest_first)

    def add(self, number: float) -> None:
        """Remember one more."""
        known, ordered = self._newest_last, self._smallest_first
        if len(known) == known.maxlen:
            del ordered[bisect_left(ordered, known[0])]
        known.append(number)
        insort(ordered, number)

    def quantile(self, share: float) -> float:
        """Return the number that this share of them does not pass; there must be one.

        Example:
            >>> samples = Samples()
            >>> for seconds in (3.0, 1.0, 2.0, 4.0):
            ...     samples.add(seconds)
            >>> samples.quantile(0.5)
            3.0
        """
        ordered = self._smallest_first
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
