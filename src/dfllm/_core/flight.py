"""How many requests may be in flight: enough to use the rate, no more than the provider bears.

With a known rate that is Little's law, rate times how long answers take, with a fifth to spare; a provider that turns
slow then piles up no more than it must. Where no rate is known, a provider on the network is approached in doublings,
and a server of one's own is taken at its user's word. Each "overloaded" cuts what is allowed, and answers heal it.
"""

from __future__ import annotations

import math

from dfllm._core.samples import Samples

FEWEST = 8
#: On a server of one's own, where the user names no number.
USUAL = 100
_SPARE = 1.2
_SLOW_SHARE = 0.95
_DOUBLING_SECONDS = 5.0
_CUT = 0.7
_CUT_SECONDS = 1.0
_HEAL = 0.05
_LEAST_SHARE = 0.01


class Flight:
    """The room for requests to one provider, model and key."""

    __slots__ = ("_cut_at", "_frozen_until", "_ramp", "_ramped_at", "_seconds", "share")

    def __init__(self) -> None:
        self._seconds = Samples()
        self._ramp = float(FEWEST)
        self._ramped_at = -math.inf
        self._cut_at = -math.inf
        self._frozen_until = -math.inf
        #: What overloads have left of the room.
        self.share = 1.0

    def learn(self, seconds: float) -> None:
        """Hear how long an answer took."""
        self._seconds.add(seconds)

    def by_rate(self, rate: float) -> float:
        """Return how many requests keep so many a second going."""
        if not self._seconds:
            return FEWEST
        return max(FEWEST, math.ceil(rate * self._seconds.quantile(_SLOW_SHARE) * _SPARE))

    def by_trying(self, now: float, busy: int) -> float:
        """Return how many to try where no rate is known: twice as many every five seconds, if they are made use of."""
        if self._ramped_at == -math.inf:
            self._ramped_at = now
        elif now - self._ramped_at >= _DOUBLING_SECONDS:
            if busy + 1 >= self._ramp * self.share and now >= self._frozen_until:
                self._ramp *= 2.0
            self._ramped_at = now
        return self._ramp

    def cut(self, now: float, busy_share: float, frozen_seconds: float = 0.0) -> None:
        """Hear of an overload, which counts once a second.

        Args:
            now: the time.
            busy_share: how much of the room was in use.
            frozen_seconds: for how long the room must not grow.
        """
        self._frozen_until = max(self._frozen_until, now + frozen_seconds)
        if now - self._cut_at >= _CUT_SECONDS:
            self._cut_at = now
            self.share = max(_LEAST_SHARE, min(self.share, busy_share) * _CUT)

    def heal(self, now: float, busy: int) -> None:
        """Hear of an answer: what one round trip answers widens the room by a twentieth."""
        if self.share < 1.0 and now >= self._frozen_until:
            self.share = min(1.0, self.share * (1.0 + _HEAL / max(busy, 1)))
