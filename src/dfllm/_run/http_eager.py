"""Requests whose body leaves at once, where the engine would wait one turn of the event loop.

The engine writes a body in a task of its own. From Python 3.12 on such a task takes its first step when it is made;
before that it begins in the loop's next turn, and with a thousand requests in flight a turn is milliseconds in which a
place in flight is idle.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from aiohttp.client_reqrep import ClientRequest


class EagerRequest(ClientRequest):
    """A request whose body is written as far as that goes without waiting."""

    def write_bytes(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, None]:
        """Write, and return what is left to do: nothing, unless the connection takes no more for now."""
        writing = super().write_bytes(*arguments, **options)
        try:
            waits_for = writing.send(None)
        except StopIteration:
            return _nothing()
        return _rest(writing, waits_for)


async def _nothing() -> None:
    """Be done."""


async def _rest(writing: Coroutine[Any, Any, None], waits_for: object) -> None:
    await _resumed(writing, waits_for)


@coroutine
def _resumed(writing: Coroutine[Any, Any, None], waits_for: object) -> Generator[object, Any, None]:
    """Go on with a coroutine that has begun already; a cancellation is passed on to it."""
    try:
        while True:
            try:
                said = yield waits_for
            except BaseException as error:  # noqa: BLE001  # as `await` does
                waits_for = writing.throw(error)
            else:
                waits_for = writing.send(said)
    except StopIteration:
        return


#: What a session makes its requests with.
REQUEST: type[ClientRequest] = ClientRequest if sys.version_info >= (3, 12) else EagerRequest
