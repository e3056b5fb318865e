"""A seat: one run's place at a provider, where its requests get their tickets and give them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dfllm._core.charges import Charges
from dfllm._core.types import Failure, Response
from dfllm._run.line import Ticket, Turn, Waiter
from dfllm._wire.ratelimits import read

if TYPE_CHECKING:
    from dfllm._run.pace import Pace

#: Where there is no limit to charge, every request goes with this one.
FREE = Ticket()


class TooLarge(Exception):  # never leaves the run; its failure does
    """The request can never go: it is larger than a whole minute of a limit.

    Attributes:
        failure: what its row ends as.
    """

    def __init__(self, tokens: float, limit: float) -> None:
        said = f"{_thousands(tokens)} tokens, limit {_thousands(limit)} per minute"
        super().__init__(said)
        self.failure = Failure("TooLarge", said, "free")


def _thousands(number: float) -> str:
    return f"{number:,.0f}" if number < 10_000 else f"{number / 1000:,.0f}k"


class Seat(Turn):
    """One run's place in a Pace; made by its `join`.

    Attributes:
        places: how many requests this run may have in flight now. It changes over time.
        on_more: called when `places` has grown.
        most: its user's ceiling; None where there is none.
    """

    __slots__ = ("_pace", "most", "on_more", "places")

    def __init__(self, pace: Pace, charges: Charges, most: int | None) -> None:
        super().__init__(charges)
        self._pace = pace
        self.most = most
        self.places = 0
        self.on_more: Callable[[], None] = _nothing

    def take(self, size: int, max_tokens: int | None) -> Ticket | None:
        """Return a ticket if a request may go at once, and None if it must `wait`.

        Args:
            size: bytes of its body.
            max_tokens: the most output tokens it asks for; None where it does not say.

        Raises:
            TooLarge: it can never go.
        """
        pace = self._pace
        if pace.free:
            self.in_flight += 1
            pace.in_flight += 1
            pace.went += 1
            return FREE
        return pace.take(self, size, max_tokens)

    async def wait(self, size: int, max_tokens: int | None) -> Ticket:
        """Wait in line and return a ticket. Whoever is cancelled gives its place on.

        Args:
            size: bytes of its body.
            max_tokens: the most output tokens it asks for; None where it does not say.

        Raises:
            TooLarge: it can never go.
        """
        if self._pace.free and (ticket := self.take(size, max_tokens)) is not None:
            return ticket
        waiter = Waiter(self, size, max_tokens, asyncio.get_running_loop().create_future())
        self._pace.queue(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._pace.unqueue(waiter)
            raise

    def done(
        self, ticket: Ticket, response: Response | None, headers: Mapping[str, str], seconds: float, *, ok: bool
    ) -> None:
        """Give a ticket back.

        Args:
            ticket: as `take` or `wait` gave it.
            response: what was said, which may be in a failure; None where nothing was.
            headers: the answer's, looked up by lower-case name; empty where there was no answer.
            seconds: how long it took.
            ok: whether the provider did its work.
        """
        pace = self._pace
        self.in_flight -= 1
        pace.in_flight -= 1
        if pace.free and (not ok or pace.calm) and read(headers) is None:
            return
        pace.settle(self, ticket, response, headers, seconds, ok=ok)

    def leave(self) -> None:
        """End the run's place; nothing of it is in flight or in line any more."""
        self._pace.dismiss(self)


def _nothing() -> None:
    """Hear that there are more places, and mind one's own business."""
