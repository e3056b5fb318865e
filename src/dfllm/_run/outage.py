"""An outage: while the provider is down nothing is sent but a probe now and then, until one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dfllm._core.health import Pause, is_trouble
from dfllm._core.types import Failure, Outcome


class Outage:
    """The outage a run may be in.

    Args:
        patience: seconds of probes without an answer, after which it is given up.
        probe: called when a probe is due.
        over: called when the provider is back.
        give_up: called with the provider's last word when it does not come back.
        waiting: hears what the run waits for, and None when it goes on.

    Attributes:
        is_on: whether the run is in one.
        is_due: whether a probe is due and has not gone.
    """

    def __init__(
        self,
        patience: float,
        *,
        probe: Callable[[], None],
        over: Callable[[], None],
        give_up: Callable[[Failure], None],
        waiting: Callable[[str | None], None],
    ) -> None:
        self._patience = patience
        self._probe = probe
        self._over = over
        self._give_up = give_up
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._pause: Pause | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_on = False
        self.is_due = False

    def begin(self, failure: Failure) -> None:
        """Send nothing from now on; an outage that is on goes on."""
        if self._pause is None:
            self._pause = Pause(failure, self._loop.time())
            self.is_on = True
            self._wait(failure)

    def probed(self, outcome: Outcome) -> None:
        """Hear what came of a probe: the same trouble, or any other answer, by which the provider is back."""
        if self._pause is None:
            return
        if isinstance(outcome, Failure) and (is_trouble(outcome) or outcome.type == self._pause.failure.type):
            self._wait(outcome)
        else:
            self.end()
            self._over()

    def end(self) -> None:
        """End it, whatever the provider says."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pause is not None:
            self._pause = None
            self.is_on = self.is_due = False
            self._waiting(None)

    def _wait(self, failure: Failure) -> None:
        assert self._pause is not None
        wait = self._pause.next_wait(self._loop.time(), self._patience)
        if wait is None:
            self._give_up(failure)
            return
        self._timer = self._loop.call_later(wait, self._now)
        self._waiting(f"{failure.type}: next try in {_span(wait)}")

    def _now(self) -> None:
        self.is_due = True
        self._probe()


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
