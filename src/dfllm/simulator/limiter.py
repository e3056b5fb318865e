"""Rate limits as providers keep them: four ways to count a minute, and the headers that tell of it.

    bucket    fills evenly and holds a minute's worth: who has been silent may send it all at once
    shallow   the same rate, but it holds only a few seconds' worth
    sliding   whatever was counted in the last 60 seconds, to the moment
    minute    fixed minutes, counted from the start of the limiter; the next one begins with everything

Tokens are reserved when a request comes in and settled when its answer is complete. Nothing here waits or reads a
clock but the one it is given.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from . import limit_headers
from .meters import Bucket, Log, Meter

Kind = Literal["bucket", "shallow", "sliding", "minute"]
Which = Literal["requests", "tokens"]

KINDS: tuple[Kind, ...] = ("bucket", "shallow", "sliding", "minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What a provider allows in a minute, how it counts, and how it tells.

    Attributes:
        rpm: requests a minute; None for no such limit.
        tpm: tokens a minute, read and written together; None for no such limit.
        kind: ``"bucket"`` fills evenly and is a minute deep; ``"shallow"`` the same, ``depth_seconds`` deep;
            ``"sliding"`` counts the last 60 seconds; ``"minute"`` counts fixed minutes.
        depth_seconds: how many seconds' worth a shallow bucket holds. A single request always fits, however shallow:
            one that is larger is let in by a full bucket and leaves it in debt.
        refused_count: whether a refused request counts against the requests, as OpenAI's do.
        headers: whose names and formats are used, ``"openai"`` or ``"anthropic"``; with ``"none"`` a refusal says
            neither how much there is nor how long to wait.

    Raises:
        ValueError: a limit is below 1 or a depth not above 0, or there is no such kind or header.
    """

    rpm: float | None = None
    tpm: float | None = None
    kind: Kind = "bucket"
    depth_seconds: float = 10.0
    refused_count: bool = True
    headers: limit_headers.Style = "openai"

    def __post_init__(self) -> None:
        for name, value in (("rpm", self.rpm), ("tpm", self.tpm)):
            if value is not None and not 1 <= value < math.inf:
                raise ValueError(f"{name} is a number from 1 up, or None for no limit; this is {value}.")
        if not 0 < self.depth_seconds <= 60:
            raise ValueError(f"depth_seconds is above 0 and at most 60; this is {self.depth_seconds}.")
        if self.kind not in KINDS:
            raise ValueError(f"There is no limiter called {self.kind!r}. There are {', '.join(KINDS)}.")
        if self.headers not in limit_headers.STYLES:
            raise ValueError(f"No headers are called {self.headers!r}. There are {', '.join(limit_headers.STYLES)}.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one request at the limiter.

    Attributes:
        admitted: whether it was let in.
        retry_after_seconds: until it would be, if nobody else comes; 0 if it was, infinite if it is larger than the
            whole limit.
        which: the limit that refused it, the one to wait longest for; None if it was let in.
        headers: those that the answer has, refused or not. They tell of the moment when the request came in.
        limit: of that kind a minute, where one refused it.
        used: how much of it was taken.
        requested: how much the request would have taken.
    """

    admitted: bool
    retry_after_seconds: float = 0.0
    which: Which | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0
    used: int = 0
    requested: int = 0


class Limiter:
    """Counts requests and tokens, for one key and model.

    Args:
        limits: how much, and in which way.
        clock: seconds that only go up.
        wall: seconds since 1970, for headers that name a date.
    """

    def __init__(self, limits: RateLimits, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self.limits = limits
        self._clock = clock
        self._wall = wall
        self._meters: dict[Which, Meter] = {}
        now = clock()
        per_minute: tuple[tuple[Which, float | None], ...] = (("requests", limits.rpm), ("tokens", limits.tpm))
        for which, limit in per_minute:
            if limit is not None:
                self._meters[which] = _meter(limits, limit, now)

    def enter(self, tokens: int) -> Verdict:
        """Let a request in, with so many tokens reserved for it, or refuse it."""
        needs: dict[Which, int] = {"requests": 1, "tokens": tokens}
        now = self._clock()
        waits = {which: meter.wait(needs[which], now) for which, meter in self._meters.items()}
        if not any(waits.values()):
            for which, meter in self._meters.items():
                meter.take(needs[which], now, to_settle=which == "tokens")
            return Verdict(admitted=True, headers=self._headers(now))
        if self.limits.refused_count and "requests" in self._meters:
            self._meters["requests"].waste(now)
            waits["requests"] = self._meters["requests"].wait(1, now)
        which = max(waits, key=waits.__getitem__)
        meter = self._meters[which]
        return Verdict(
            admitted=False,
            retry_after_seconds=waits[which],
            which=which,
            headers=self._headers(now) | limit_headers.waits(self.limits.headers, waits[which]),
            limit=int(meter.limit),
            used=int(meter.limit - meter.left(now)),
            requested=needs[which],
        )

    def settle(self, reserved: int, used: int) -> None:
        """Give back the tokens that an admitted request reserved and did not use; what it used above them is taken.

        Reserves of one size are settled in the order they were taken.
        """
        if "tokens" in self._meters:
            self._meters["tokens"].settle(reserved, used, self._clock())

    def _headers(self, now: float) -> dict[str, str]:
        states: dict[str, limit_headers.State] = {
            which: limit_headers.State(meter.limit, meter.left(now), meter.seconds_to_full(now))
            for which, meter in self._meters.items()
        }
        return limit_headers.tell(self.limits.headers, states, self._wall)


def _meter(limits: RateLimits, limit: float, now: float) -> Meter:
    if limits.kind == "bucket":
        return Bucket(limit, 60.0, now)
    if limits.kind == "shallow":
        return Bucket(limit, limits.depth_seconds, now)
    return Log(limit, now, fixed=limits.kind == "minute")
