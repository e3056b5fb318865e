"""Pace: when the next request may go. All senders to one provider and model wait here, and nowhere else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from dfllm._core.types import Failure

_FIRST_HOLD_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 60.0


class Pace:
    """Holds all senders while a provider says "too fast".

    Args:
        clock: a monotonic clock, in seconds.
        sleep: waits that many seconds.
        uniform: a random number in [0, 1).
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._held_until = 0.0
        self._hold_seconds = 0.0
        self._limited_since: float | None = None

    @property
    def held(self) -> bool:
        """Whether senders have to wait now."""
        return self._held_until > self._clock()

    async def admit(self) -> None:
        """Wait until a request may go."""
        while (wait := self._held_until - self._clock()) > 0:
            # Spread out a little: all at once would be refused all at once.
            await self._sleep(wait * (1 + 0.25 * self._uniform()))

    def limited(self, wait_seconds: float | None) -> float:
        """Hear of a 429: hold all senders for as long as it asks, else twice as long as the last time.

        Returns:
            Seconds since the first 429 after the last success.
        """
        now = self._clock()
        if self._limited_since is None:
            self._limited_since = now
        if wait_seconds is None:
            if not self.held:
                doubled = max(_FIRST_HOLD_SECONDS, 2 * self._hold_seconds)
                self._hold_seconds = min(_LONGEST_HOLD_SECONDS, doubled)
            wait_seconds = self._hold_seconds
        self._held_until = max(self._held_until, now + wait_seconds)
        return now - self._limited_since

    def succeeded(self) -> None:
        """Hear of an answer."""
        self._limited_since = None
        self._hold_seconds = 0.0


class Gate:
    """Lets the first request to a provider, model and key go alone: a dead key costs one call.

    Any answer that is not fatal opens it for good; a fatal one is the answer of all who were waiting.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.lock = asyncio.Lock()
        self.fatal_count = 0
        self.fatal = Failure("NotSent", "the gate was never shut")

    def shut(self, failure: Failure) -> None:
        """Let the next request go alone again, and give this failure to those who wait."""
        self.is_open = False
        self.fatal_count += 1
        self.fatal = failure
