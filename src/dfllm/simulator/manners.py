"""How a simulator behaves: how long it takes, what goes wrong and when, how much it allows, and whom it lets in."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import luck
from .faults import FAULTS, NO_FAULTS, Faults
from .limiter import RateLimits

#: Outages in which nobody gets as far as the server. Only the door in the same process has them; to a client of a real
#: socket a server that is stopped, or never was, is the same.
UNREACHED: Mapping[str, str] = {
    "dns": "the name does not resolve; nothing is sent, and nothing is on the bill",
    "refuse": "the connection is refused; nothing is sent, and nothing is on the bill",
}


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every request goes wrong in the same way.

    Attributes:
        start_seconds: when it begins, counted from the simulator's start.
        stop_seconds: when it is over; infinite for never.
        fault: what each request meets, by the name of a fault; or ``"dns"`` or ``"refuse"``, where the simulator is
            used without sockets.

    Raises:
        ValueError: no fault has that name, or it is over before it begins.
    """

    start_seconds: float
    stop_seconds: float
    fault: str = "503"

    def __post_init__(self) -> None:
        if self.fault not in FAULTS and self.fault not in UNREACHED:
            near = difflib.get_close_matches(self.fault, [*FAULTS, *UNREACHED], n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "See dfllm simulate --list-faults."
            raise ValueError(f"There is no fault called {self.fault!r}. {hint}")
        if not 0 <= self.start_seconds < self.stop_seconds:
            raise ValueError(
                f"An outage starts at 0 or later and stops after it has started; this one lasts from "
                f"{self.start_seconds} to {self.stop_seconds}."
            )


@dataclass(slots=True, kw_only=True)
class Manners:
    """How a simulator behaves; may be changed while it runs, for the requests to come.

    Attributes:
        latency_seconds: how long an answer takes.
        latency_spread: by which share of it an answer may be faster or slower, by its hash and attempt.
        faults: what goes wrong.
        outages: when everything goes wrong; the first that is on counts, and goes before `faults` and `limits`.
        limits: how much may be asked in a minute; None for as much as one likes. Set anew, they start anew.
        seed: another seed, other answers.
        key: the only API key let in; None lets everyone in.

    Raises:
        ValueError: a latency is out of its range.
    """

    latency_seconds: float = 0.0
    latency_spread: float = 0.0
    faults: Faults = NO_FAULTS
    outages: Sequence[Outage] = ()
    limits: RateLimits | None = None
    seed: int = 0
    key: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.latency_seconds < math.inf or not 0 <= self.latency_spread <= 1:
            raise ValueError(
                f"latency_seconds is 0 or more and latency_spread from 0 to 1; these are {self.latency_seconds} and "
                f"{self.latency_spread}."
            )

    def latency(self, request_hash: str, attempt: int) -> float:
        """Return how long this attempt takes."""
        swing = 2 * luck.share(self.seed, request_hash, attempt, "latency") - 1
        return self.latency_seconds * (1 + self.latency_spread * swing)

    def outage(self, seconds: float) -> str | None:
        """Name what every request meets, so many seconds after the start; None if there is no outage."""
        for outage in self.outages:
            if outage.start_seconds <= seconds < outage.stop_seconds:
                return outage.fault
        return None
