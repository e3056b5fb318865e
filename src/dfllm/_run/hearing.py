"""Hearing: what the headers of answers teach a tempo about its limits."""

from __future__ import annotations

import math

from dfllm._core.tempo import Left, Tempo
from dfllm._core.trail import Trail
from dfllm._wire.providers import Window
from dfllm._wire.ratelimits import Stated

#: A limit that takes longer than this to be whole again is not one per minute; a second for the answer's way.
_MINUTE_SECONDS = 61.0
_LOOK_SECONDS = 1.0


class Hearing:
    """Tells limits per minute from those per day, of which only what is left counts.

    Args:
        tempo: what learns.
        requests_per: the window of the requests that are stated, where it is known beforehand.
    """

    __slots__ = ("_looked_at", "_per_day", "_tempo", "_trail")

    def __init__(self, tempo: Tempo, requests_per: Window = "minute") -> None:
        self._tempo = tempo
        self._trail = Trail()
        self._per_day: set[int] = {0} if requests_per == "day" else set()
        self._looked_at = -math.inf

    def begin(self) -> None:
        """Say that nothing is under way which is not charged."""
        self._trail.begin((*self._tempo.clocks.spent, self._tempo.refusals))

    def mark(self, now: float) -> None:
        """Remember what has been charged by now."""
        if self._trail.wants(now):
            self._trail.mark(now, (*self._tempo.clocks.spent, self._tempo.refusals))

    def accepted(self, now: float) -> float:
        """Return the requests accepted within the last minute."""
        past = self._trail.at(now - 60.0)
        tempo = self._tempo
        return tempo.clocks.all[0].spent - past[0] - (tempo.refusals - past[3]) if past is not None else 0.0

    def learn(self, stated: Stated, now: float) -> bool:
        """Take over what an answer says is allowed; return whether that is news."""
        tempo = self._tempo
        looks = now - self._looked_at >= _LOOK_SECONDS
        news = False
        for place, allowance in enumerate(stated):
            if allowance is None:
                continue
            if allowance.remaining < 1.0:
                tempo.exhausted_at = now
            if not allowance.limit:
                continue
            if looks or allowance.limit != tempo.stated[place]:
                self._looked_at = now
                # Some providers give requests a day under the name that others use for a minute. A minute's limit is
                # whole again within a minute; one that took longer is known to be none.
                if (allowance.reset_seconds or 0.0) > _MINUTE_SECONDS:
                    self._per_day.add(place)
            news |= tempo.state(place, 0.0 if place in self._per_day else allowance.limit)
        return news

    def correct(self, stated: Stated, now: float, seconds: float, swell: float) -> None:
        """Take over what an answer says is left.

        Args:
            stated: by the answer.
            now: the time.
            seconds: how long ago its request went.
            swell: how many times more tokens the provider reserves than we do, as one does that counts `max_tokens`.
        """
        before, after = self._trail.before(now - seconds), self._trail.after(now - seconds)
        for place, allowance in enumerate(stated):
            if allowance is not None:
                spent = self._tempo.clocks.all[place].spent
                fewest = spent - after[place] if after is not None else 0.0
                most = spent - before[place] if before is not None else None
                left = Left(allowance.remaining, seconds, fewest, most, swell if place else 1.0)
                self._tempo.correct(now, place, left)
