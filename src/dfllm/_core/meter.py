"""What a run report says of the limits, and the counts behind it."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from dfllm._core.charges import Units

Source: TypeAlias = Literal["given", "stated", "found"]

_MARK_SECONDS = 5.0
_RECENT_SECONDS = 10.0
_REMEMBERED_SECONDS = 120.0


class LimitUse(NamedTuple):
    """What is known about the limits of a provider, model and key, and how they were used.

    Attributes:
        requests: requests a minute; None where no limit is known.
        tokens: tokens a minute, or input tokens where output has a limit of its own.
        output: output tokens a minute.
        source: who said so: the user, headers, or refusals; None where no limit is known.
        share: how much of the tightest limit was used, from the first request on; 1 at most, also where what had been
            left over before was used at once.
        refusals: how often the provider said 429.
        held_seconds: how long all senders were held for it.
    """

    requests: float | None = None
    tokens: float | None = None
    output: float | None = None
    source: Source | None = None
    share: float | None = None
    refusals: int = 0
    held_seconds: float = 0.0


class Meter:
    """Counts what was sent and what was refused."""

    __slots__ = ("_began_at", "_marks", "held_seconds", "refusals", "requests", "used")

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._marks: deque[tuple[float, float]] = deque(maxlen=int(_REMEMBERED_SECONDS / _MARK_SECONDS))
        self.used = [0.0, 0.0, 0.0]
        self.requests = 0
        self.refusals = 0
        self.held_seconds = 0.0

    def send(self, now: float, units: Units) -> None:
        """Hear of a request that went."""
        if self._began_at is None:
            self._began_at = now
            self._marks.append((now, 0.0))
        used = self.used
        self.requests += 1
        used[0] += 1.0
        used[1] += units[1]
        used[2] += units[2]
        if now - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append((now, used[0]))

    def refuse(self, now: float, held_until: float, until: float) -> None:
        """Hear of a refusal, which holds senders until a time; they were held until another before."""
        self.refusals += 1
        self.held_seconds += max(0.0, until - max(now, held_until))

    def steady_rate(self, now: float) -> float | None:
        """Return the lowest rate, in requests a second, that was kept before the last ten seconds; None if none was."""
        marks = [mark for mark in self._marks if mark[0] <= now - _RECENT_SECONDS]
        rates = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(marks)]
        return min((rate for rate in rates if rate > 0.0), default=None)

    def use(self, now: float, limits: tuple[float, float, float], source: Source | None) -> LimitUse:
        """Return what was used of these limits, a minute each and 0 where there is none."""
        seconds = now - self._began_at if self._began_at is not None else 0.0
        shares = [
            used / (limit / 60.0 * seconds) for used, limit in zip(self.used, limits, strict=True) if limit and seconds
        ]
        requests, tokens, output = (limit or None for limit in limits)
        share = min(1.0, max(shares)) if shares else None
        return LimitUse(requests, tokens, output, source, share, self.refusals, self.held_seconds)
