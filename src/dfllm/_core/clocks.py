"""The clocks of all limits together: a request goes when every one of them lets it."""

from __future__ import annotations

from collections.abc import Sequence

from dfllm._core.charges import Units
from dfllm._core.clock import FULL_SECONDS, Clock


class Clocks:
    """One clock for each place in Units.

    Attributes:
        all: of requests, tokens and output tokens; one without a rate is no limit.
        active: those with a rate, and their places.
    """

    __slots__ = ("active", "all")

    def __init__(self) -> None:
        self.all = (Clock(), Clock(), Clock())
        self.active: tuple[tuple[int, Clock], ...] = ()

    def set(self, rates: Sequence[float], full_seconds: float = FULL_SECONDS) -> None:
        """Let them run at these rates, units a second; 0 is no limit."""
        for clock, rate in zip(self.all, rates, strict=True):
            clock.set(rate, full_seconds)
        self.active = tuple((place, clock) for place, clock in enumerate(self.all) if clock.rate)

    @property
    def spent(self) -> Units:
        """What has been charged in all."""
        a, b, c = self.all
        return a.spent, b.spent, c.spent

    def fits(self, now: float, units: Units) -> bool:
        """Return whether a request that takes these units could go now."""
        for place, clock in self.active:  # noqa: SIM110  # for every request, and half as long as a generator takes
            if clock.start(now, units[place]) > now:
                return False
        return True

    def charge(self, now: float, units: Units) -> float:
        """Take the units of a request, and return when it may go."""
        start = now
        for place, clock in self.active:
            start = max(start, clock.charge(now, units[place]))
        return start

    def again(self, now: float, units: Units) -> float:
        """Return when the request may go that was charged these units last, after what has changed since."""
        return max(
            [now, *(clock.tat - clock.burst(units[place]) / clock.rate for place, clock in self.active)],
        )

    def refund(self, now: float, units: Sequence[float]) -> None:
        """Give back units that were charged and not used."""
        for place, clock in self.active:
            if units[place]:
                clock.refund(now, units[place])

    def enter(self, now: float, own: Sequence[float]) -> None:
        """Take units that were used already, or give them back where they are less than zero."""
        for place, clock in enumerate(self.all):
            if not clock.rate:
                clock.spent += own[place]
            elif own[place] > 0.0:
                clock.charge(now, own[place])
            elif own[place]:
                clock.refund(now, -own[place])

    def rate(self, mean: Sequence[float]) -> float | None:
        """Return the requests a second that all allow, if each takes so many units; None where there is no limit."""
        return min((clock.rate / max(mean[place], 1e-9) for place, clock in self.active), default=None)

    def cost(self, units: Units) -> float:
        """Return the seconds of the limits that a request takes; 1 where there is none, since all are equal then."""
        return max([units[place] / clock.rate for place, clock in self.active], default=1.0)

    def lend(self, units: Units) -> bool:
        """Return whether a request could go on credit alone."""
        for place, clock in self.active:
            if clock.credit < units[place]:
                return False
        return bool(self.active)

    def lendable(self, mean: Sequence[float]) -> int:
        """Return how many requests could go on credit alone, if each takes so many units."""
        return int(min((clock.credit / max(mean[place], 1e-9) for place, clock in self.active), default=0.0))
