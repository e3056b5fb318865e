"""Meters: one limit each, which is a bucket that fills or a log that forgets."""

import math
from collections import deque
from typing import Protocol

MINUTE_SECONDS = 60.0

# Sums of floats are a hair off; a request that comes at the very moment it was told to is let in.
_HAIR_SECONDS = 1e-9


class Meter(Protocol):
    """One limit, of requests or of tokens.

    Attributes:
        limit: how much is allowed a minute.
    """

    limit: float

    def left(self, now: float) -> float:
        """Return how much could be taken at once, never less than nothing."""

    def seconds_to_full(self, now: float) -> float:
        """Return how long until nothing is taken any more, if nobody comes."""

    def wait(self, amount: float, now: float) -> float:
        """Return how long until so much can be taken, if nobody else comes: 0 for now, infinite for never."""

    def take(self, amount: float, now: float, *, to_settle: bool = False) -> None:
        """Take so much, which `wait` found to be there; ``to_settle`` if the amount is not final."""

    def waste(self, now: float) -> None:
        """Count a refused request."""

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Put right what was taken to be settled."""


class Bucket:
    """Fills evenly, up to so many seconds' worth.

    Args:
        limit: how much flows in a minute.
        depth_seconds: how long it takes to fill; a single request finds room all the same.
        now: when it starts, full.
    """

    def __init__(self, limit: float, depth_seconds: float, now: float) -> None:
        self.limit = limit
        self._rate = limit / MINUTE_SECONDS
        self._depth = max(self._rate * depth_seconds, 1.0)
        self._level = self._depth
        self._at = now

    def left(self, now: float) -> float:
        """Return how much is in it."""
        return max(0.0, self._filled(now))

    def seconds_to_full(self, now: float) -> float:
        """Return how long it takes to fill up."""
        return (self._depth - self._filled(now)) / self._rate

    def wait(self, amount: float, now: float) -> float:
        """Return how long until so much is in it; what is larger than the bucket waits for a full one."""
        if amount > self.limit:
            return math.inf
        seconds = (min(amount, self._depth) - self._filled(now)) / self._rate
        return seconds if seconds > _HAIR_SECONDS else 0.0

    def take(self, amount: float, now: float, *, to_settle: bool = False) -> None:
        """Take so much; what is larger than the bucket leaves a debt."""
        self._level = self._filled(now) - amount

    def waste(self, now: float) -> None:
        """Take one, or what there is: a debt by refusals could grow without end."""
        level = self._filled(now)
        self._level = min(level, max(0.0, level - 1))

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Pour back what was not used, as much as there is room for."""
        self._level = min(self._depth, self._filled(now) + reserved - used)

    def _filled(self, now: float) -> float:
        if now > self._at:
            self._level = min(self._depth, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level


class Log:
    """Remembers what was taken: for 60 seconds, or to the end of the minute.

    Args:
        limit: how much may be remembered.
        now: when it starts, empty; fixed minutes begin here.
        fixed: whether it forgets at the end of the minute.
    """

    def __init__(self, limit: float, now: float, *, fixed: bool) -> None:
        self.limit = limit
        self._born = now
        self._fixed = fixed
        self._taken = 0.0
        self._entries: deque[_Entry] = deque()  # oldest first, so those forgotten first are first
        self._to_settle: dict[float, deque[_Entry]] = {}

    def left(self, now: float) -> float:
        """Return what is missing to the limit."""
        self._forget(now)
        return max(0.0, self.limit - self._taken)

    def seconds_to_full(self, now: float) -> float:
        """Return how long until all is forgotten."""
        self._forget(now)
        return next((entry.until - now for entry in reversed(self._entries) if entry.amount > 0), 0.0)

    def wait(self, amount: float, now: float) -> float:
        """Return how long until enough is forgotten."""
        if amount > self.limit:
            return math.inf
        self._forget(now)
        over = self._taken + amount - self.limit
        for entry in self._entries if over > 0 else ():
            over -= entry.amount
            if over <= 0:
                return entry.until - now
        return 0.0

    def take(self, amount: float, now: float, *, to_settle: bool = False) -> None:
        """Remember so much."""
        entry = self._entry(now)
        entry.amount += amount
        self._taken += amount
        if to_settle:
            self._to_settle.setdefault(amount, deque()).append(entry)

    def waste(self, now: float) -> None:
        """Remember one more, over the limit too: who goes on asking stays out, as OpenAI says."""
        self.take(1, now)

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Correct the entry, where it stands; one that is forgotten needs no correction."""
        self._forget(now)
        waiting = self._to_settle.get(reserved)
        if not waiting:
            return
        entry = waiting.popleft()
        if not waiting:
            del self._to_settle[reserved]
        entry.amount += used - reserved
        if not entry.forgotten:
            self._taken += used - reserved

    def _entry(self, now: float) -> "_Entry":
        self._forget(now)
        until = now + MINUTE_SECONDS
        if self._fixed:
            minutes = (now + _HAIR_SECONDS - self._born) // MINUTE_SECONDS
            until = self._born + (minutes + 1) * MINUTE_SECONDS
        if not self._entries or self._entries[-1].until < until:
            self._entries.append(_Entry(until))
        return self._entries[-1]

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0].until <= now + _HAIR_SECONDS:
            entry = self._entries.popleft()
            entry.forgotten = True
            self._taken -= entry.amount


class _Entry:
    """What was taken at one moment, or in one minute."""

    __slots__ = ("amount", "forgotten", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.amount = 0.0
        self.forgotten = False
