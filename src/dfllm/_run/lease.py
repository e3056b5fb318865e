"""A lease on a tempo that processes share: for a few milliseconds, and a small part of what is free, alone.

To lock, read and write the shared file takes longer than all else that pacing does. Where a limit is far away, nothing
depends on the last few requests of others: a process then charges its own copy, and enters the sum when it looks at the
file again. What all do not know of one another is bounded by a lease's length and by its size, a 32nd of a full clock:
sixteen processes at once take half a full clock, which was there.

Near a limit, after a refusal, while one is looked for and where anybody waits in line, every charge goes to the file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol

from dfllm._core.charges import Units
from dfllm._core.tempo import Tempo

_SECONDS = 0.005
_LEAST_LEVEL = 1 / 2
_MOST_OWN = 1 / 32
_NOTHING = nullcontext()


class Shared(Protocol):
    """What keeps a tempo together with other processes while it is entered.

    Attributes:
        holds: whether it is ours alone now; if not, each paces for itself.
    """

    holds: bool

    def __enter__(self) -> bool:
        """Bring the tempo up to date; return whether there was anything to take over."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Let others see the tempo."""


class Lease:
    """One tempo, up to date and ours alone while this is entered.

    Args:
        tempo: the tempo.
        clock: its time.
    """

    __slots__ = ("_clock", "_shared", "_spent", "_synced_at", "_tempo")

    def __init__(self, tempo: Tempo, clock: Callable[[], float]) -> None:
        self._tempo = tempo
        self._clock = clock
        self._shared: Shared | None = None
        self._spent = tempo.clocks.spent
        self._synced_at = 0.0

    def share(self, shared: Shared | None) -> None:
        """Share the tempo from now on, if there is anything to share it by."""
        self._shared = shared

    def __enter__(self) -> None:
        if self._shared is None:
            return
        clocks = self._tempo.clocks
        own = [now - then for now, then in zip(clocks.spent, self._spent, strict=True)]
        if self._shared.__enter__():
            clocks.enter(self._clock(), own)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._shared is None:
            return
        if self._shared.holds:
            self._spent = self._tempo.clocks.spent
            self._synced_at = self._clock()
        self._shared.__exit__(kind, error, tb)

    def loosely(self, now: float, units: Units) -> AbstractContextManager[None]:
        """Return what to enter to charge such a request or to settle it: nothing, while the lease lasts."""
        return _NOTHING if self._shared is None or self._lasts(now, units) else self

    def _lasts(self, now: float, units: Units) -> bool:
        if now - self._synced_at >= _SECONDS or not self._tempo.is_steady(now):
            return False
        for place, clock in self._tempo.clocks.active:
            if clock.level(now) < _LEAST_LEVEL * clock.full:
                return False
            if clock.spent - self._spent[place] + units[place] > _MOST_OWN * clock.full:
                return False
        return True
