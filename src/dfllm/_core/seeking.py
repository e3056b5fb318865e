"""The search for a limit that nobody states: double until refused, step back, and creep up again.

The rate doubles every five seconds until the first refusal, which takes back the last doubling. Each later one takes
15 % off. Refusals in a row mean that the limit is far away, and since a limit that is used up lets through just what it
allows, what was accepted between two of them shows where. After that the rate grows by 0.5 % a second, slower near the
one refused last, so that it is not refused again and again. It grows only as far as it is used.
"""

from __future__ import annotations

DECREASE = 0.85
_BEFORE_DOUBLING = 0.5
_FIRST_RATE = 1.0
_DOUBLING_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_GROWTH, _GROWTH_NEAR_PEAK = 0.005, 0.001
_NEAR_PEAK = (0.95, 1.02)
_USED = 0.7
_DEEPEST = 0.5
_SLOWEST = 1 / 60
_REMEMBERED = 0.8


class Seeking:
    """A rate in requests a second, and what is known about it.

    Attributes:
        rate: what to send now; 0 before the search has begun.
        peak: what was refused last; 0 before the first refusal.
        looked_at: when the rate was judged last.
        spent: the requests sent in all by then.
    """

    __slots__ = ("looked_at", "peak", "rate", "spent")

    def __init__(self) -> None:
        self.rate = 0.0
        self.peak = 0.0
        self.looked_at = 0.0
        self.spent = 0.0

    def begin(self, now: float, spent: float) -> None:
        """Begin, or go on after a pause, at four fifths of what is known."""
        if self.peak > 0.0:
            self.rate = min(self.rate, _REMEMBERED * self.peak)
        else:
            self.rate = max(_FIRST_RATE, _REMEMBERED * self.rate)
        self.looked_at = now
        self.spent = spent

    def grow(self, now: float, spent: float) -> bool:
        """Hear of an answer, and of the requests sent in all; return whether the rate has changed."""
        seconds = now - self.looked_at
        if seconds < (_LOOK_SECONDS if self.peak else _DOUBLING_SECONDS):
            return False
        used = spent - self.spent >= _USED * self.rate * seconds
        self.looked_at = now
        self.spent = spent
        if used:
            self.rate *= 1.0 + self._growth() * min(seconds, 5.0) if self.peak else 2.0
        return used

    def _growth(self) -> float:
        low, high = _NEAR_PEAK
        return _GROWTH_NEAR_PEAK if low * self.peak <= self.rate <= high * self.peak else _GROWTH

    def refuse(self, now: float, accepted: float | None, lumps: float | None) -> None:
        """Hear of a refusal.

        Args:
            now: the time.
            accepted: requests a second that were accepted since the refusal before; None where there was none lately.
            lumps: the same over the last minute, where the limit is known to come back in lumps; else None.
        """
        # Before the last doubling all was well.
        lower = self.rate * (DECREASE if self.peak else _BEFORE_DOUBLING)
        self.peak = self.rate
        if lumps:
            # A window that is used up has let through just its limit, however unevenly. While it is closed one refusal
            # follows the other and none is news, so the rate does not stay far below it either.
            lower = min(self.rate, lumps * _NEAR_PEAK[0]) if self.rate > lumps else max(lower, lumps * DECREASE)
            self.peak = max(lumps, lower)
        elif accepted is not None and accepted * _NEAR_PEAK[0] < lower:
            lower = max(accepted * _NEAR_PEAK[0], self.rate * _DEEPEST)
            self.peak = max(accepted, lower)
        self.rate = max(lower, _SLOWEST)
        self.looked_at = now
