"""Health: what a run's attempts say of the provider, and when to stop sending and only look whether it is back.

An outage is no failure of the rows: a run that meets one pauses, and sends a single request now and then until one is
answered. The rules:

- more than half of the last 100 rows in trouble at their first attempt: pause. Further attempts do not count there:
  they are of rows that fail, and say little of the others;
- 10 rows in trouble and no answer between them, or 3 while one of them used up its tries: pause;
- no connection any more, after answers have come: pause;
- a key refused that was good before: pause, for gateways say so in outages of their own, but only for three probes;
- retries are at most 20 and a tenth of the requests of a run, as in Google's SRE book, chapter "Handling Overload".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, repeat

from dfllm._core.types import Failure, Key

#: First attempts that the judgement looks back on, and the share of them in trouble that makes an outage.
_RECENT = 100
_TROUBLED = 0.5
_RUNNING = 10
_RUNNING_OUT = 3
_TIMEOUTS_OF = 200
_TIMEOUTS_SHARE = 0.05
_FLOOR = 20
_SHARE = 0.1
_LONGEST_WAIT_SECONDS = 300.0
_KEY_WAITS_SECONDS = (5.0, 30.0, 120.0)
_TROUBLE = frozenset({"ServerError", "Overloaded", "ConnectFailed", "ConnectionLost", "Timeout"})


def is_trouble(failure: Failure) -> bool:
    """Return whether a failure is the provider's, and would meet any request."""
    return failure.type in _TROUBLE


class Health:
    """The last attempts of one run.

    Attributes:
        requests: attempts begun.
        answered: those that ended without trouble.
        retries: those of them that were further tries.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._troubled = 0
        self._running: set[Key] = set()
        self._timeouts = 0
        self._looked_at = 0
        self.requests = 0
        self.answered = 0
        self.retries = 0

    def heard(self, key: Key, failure: Failure | None, *, first: bool) -> bool:
        """Hear how an attempt ended; return whether too many end in timeouts, at most once in 200.

        Args:
            key: whose it was.
            failure: how it ended, None for well.
            first: whether it was its row's first.
        """
        trouble = failure is not None and is_trouble(failure)
        if first:
            if len(self._recent) == _RECENT:
                self._troubled -= self._recent[0]
            self._recent.append(trouble)
            self._troubled += trouble
        if trouble:
            self._running.add(key)
        else:
            self.answered += 1
            if self._running:
                self._running.clear()
        self._looked_at += 1
        if failure is not None and failure.type == "Timeout":
            self._timeouts += 1
        if self._timeouts > _TIMEOUTS_SHARE * _TIMEOUTS_OF:
            self._looked_at = self._timeouts = 0
            return True
        if self._looked_at >= _TIMEOUTS_OF:
            self._looked_at = self._timeouts = 0
        return False

    def is_down(self, *, used_up: bool) -> bool:
        """Return whether the provider, not the rows, is in trouble.

        Args:
            used_up: whether the row that asks has no try left, and nothing was answered since its first.
        """
        many = len(self._recent) == _RECENT and self._troubled > _TROUBLED * _RECENT
        return many or len(self._running) >= (_RUNNING_OUT if used_up else _RUNNING)

    def recover(self) -> None:
        """Forget the trouble, as the provider is back."""
        self._recent.clear()
        self._running.clear()
        self._troubled = 0

    def may_retry(self) -> bool:
        """Return whether the run can afford another retry; if so, it is counted."""
        if self.retries >= _FLOOR + _SHARE * self.requests:
            return False
        self.retries += 1
        return True


class Pause:
    """An outage under way.

    Args:
        failure: what the provider said, or did not.
        began: when.
    """

    def __init__(self, failure: Failure, began: float) -> None:
        self.failure = failure
        self.began = began
        self._waits = _waits(failure)

    def next_wait(self, now: float, patience: float) -> float | None:
        """Return the seconds to the next probe; None where there is to be none."""
        wait = next(self._waits, None)
        left = self.began + patience - now
        if wait is None or left <= 0:
            return None
        return min(wait, left)


def _waits(failure: Failure) -> Iterator[float]:
    if failure.type == "AuthFailed":
        return iter(_KEY_WAITS_SECONDS)
    return chain((min(2.0**n, _LONGEST_WAIT_SECONDS) for n in range(9)), repeat(_LONGEST_WAIT_SECONDS))
