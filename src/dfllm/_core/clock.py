"""A clock for one limit: when units that refill at a steady rate may be used next.

This is the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371): all that is kept is `tat`, the
theoretical arrival time, at which the clock will be full again. Beside it stands `credit`: units beyond a full clock,
from refunds and from bursts that the provider has proven to allow, which are spent first. So only the refill is clipped
at a full clock; what was charged and not used is never lost.

Nothing here waits or asks for the time. Charging reserves ahead: units are taken at once, and the answer is when they
may be used. Times are seconds on any clock that does not run backwards, even one that several processes share.
"""

from __future__ import annotations

import math

#: How long a full clock lasts at its rate.
FULL_SECONDS = 1.0


class Clock:
    """One limit.

    Attributes:
        rate: units a second; 0 is no limit.
        full: the units of a full clock: so many seconds' worth, and 1 at least.
        tat: when it is full again, if nothing more is charged.
        credit: units beyond a full clock.
        spent: units charged in all, refunds taken off; what was spent between two looks is their difference.
        most: the most units that are known to be there for one charge.
    """

    __slots__ = ("credit", "full", "most", "rate", "spent", "tat")

    def __init__(self, rate: float = 0.0) -> None:
        self.tat = 0.0
        self.credit = 0.0
        self.spent = 0.0
        self.most = math.inf
        self.set(rate)

    def set(self, rate: float, full_seconds: float = FULL_SECONDS) -> None:
        """Let it run at another rate; the seconds until it is full stay as they are."""
        self.rate = rate
        self.full = max(rate * full_seconds, 1.0)

    def burst(self, units: float) -> float:
        """Return what may be used at once by such a charge: a full clock, or all of the charge, as far as it is there.

        A charge larger than a full clock could never go otherwise.
        """
        return self.full if units <= self.full else max(self.full, min(units, self.most))

    def level(self, now: float) -> float:
        """Return how many units could be used now; less than zero where some were charged ahead."""
        owed = (self.tat - now) * self.rate
        return self.credit + self.full - owed if owed > 0.0 else self.credit + self.full

    def start(self, now: float, units: float) -> float:
        """Return when these units could be used, if they were charged now."""
        units -= self.credit
        if units <= 0.0:
            return now
        start = (self.tat if self.tat > now else now) + (units - self.burst(units)) / self.rate
        return start if start > now else now

    def charge(self, now: float, units: float) -> float:
        """Take units, and return when they may be used."""
        self.spent += units
        if self.credit > 0.0:
            lent = min(self.credit, units)
            self.credit -= lent
            units -= lent
            if units <= 0.0:
                return now
        tat = self.tat = (self.tat if self.tat > now else now) + units / self.rate
        start = tat - self.burst(units) / self.rate
        return start if start > now else now

    def refund(self, now: float, units: float) -> None:
        """Give back units that were charged and not used, or take more where units are less than zero."""
        self.spent -= units
        self.lift(now, units)

    def lift(self, now: float, units: float) -> None:
        """Raise the level, above a full clock if need be, or lower it where units are less than zero."""
        if units < 0.0:
            lent = min(self.credit, -units)
            self.credit -= lent
            self.tat = (self.tat if self.tat > now else now) + (-units - lent) / self.rate
            return
        owed = (self.tat - now) * self.rate
        if owed >= units:
            self.tat -= units / self.rate
        else:
            self.tat = min(self.tat, now)
            self.credit += units - max(0.0, owed)

    def cap(self, now: float, units: float) -> None:
        """Lower the level to these units, if it is higher."""
        if (excess := self.level(now) - units) > 0.0:
            self.lift(now, -excess)

    def empty(self, at: float, left: float = 0.0) -> None:
        """Let nothing be left but this, at a time that may lie ahead."""
        self.credit = 0.0
        self.tat = max(self.tat, at + (self.full - left) / self.rate)
