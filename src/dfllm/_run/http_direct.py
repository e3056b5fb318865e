"""One exchange on a connection of the engine's: its pool, its sockets and its parser, without its request objects.

Most of what the engine does for a request is the same for all requests of a run: headers are checked, ordered and
written, a task is made to write the body, an answer gets its objects. Here the head is written once a run, and a
request is one write and one read. That takes a third of the time of the engine's own way, measured in one run.

It leans on three things of the engine that are not in its manual: `BaseConnector.connect`, and `set_response_params`
and `read` of its protocol. Where an engine does not have them as they are known (`fits`), its own way is taken.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import cache
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDictProxy

from dfllm._run.http_route import Route
from dfllm._run.http_sending import Sending

_BUFFER_BYTES = 2**16
_WRITTEN_ANEW = frozenset({"content-length", "transfer-encoding", "connection"})


@cache
def fits() -> bool:
    """Return whether the engine is as it is known here."""
    try:
        wanted = {"timer", "skip_payload", "read_until_eof", "auto_decompress", "read_timeout", "read_bufsize"}
        has = set(inspect.signature(ResponseHandler.set_response_params).parameters)
        takes = list(inspect.signature(aiohttp.BaseConnector.connect).parameters)
        made = set(inspect.signature(ClientRequest).parameters)
    except (AttributeError, TypeError, ValueError):
        return False
    return (
        wanted | {"timeout_ceil_threshold", "max_line_size", "max_field_size"} <= has
        and takes == ["self", "req", "traces", "timeout"]
        and {"method", "url", "headers", "loop", "session"} <= made
        and all(hasattr(ResponseHandler, name) for name in ("read", "start_timeout"))
    )


class Asking:
    """All that the requests of one route have in common.

    Args:
        route: where to, with the key.
        session: whose connections are used.
        is_last: whether each connection ends with its answer.
        most_header_bytes: of one header of an answer.

    Attributes:
        route: as given.
        is_last: as given.

    Raises:
        aiohttp.ClientConnectionError: the session is closed.
    """

    __slots__ = ("_connector", "_head", "_reading", "_request", "is_last", "route")

    def __init__(self, route: Route, session: aiohttp.ClientSession, *, is_last: bool, most_header_bytes: int) -> None:
        connector = session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("closed")
        self.route = route
        self.is_last = is_last
        self._connector = connector
        # Never sent: it says whose connection is wanted, and which headers the engine would add.
        self._request = request = ClientRequest(
            "POST", route.url, headers=route.headers, loop=asyncio.get_running_loop(), session=session
        )
        head = b"POST " + route.url.raw_path_qs.encode("ascii") + b" HTTP/1.1\r\n"
        for name, value in request.headers.items():
            if name.lower() not in _WRITTEN_ANEW:
                head += name.encode("ascii") + b": " + value.encode("ascii") + b"\r\n"
        self._head = head + (b"Connection: close\r\n" if is_last else b"") + b"Content-Length: "
        self._reading: dict[str, Any] = {
            "timer": TimerNoop(),
            "skip_payload": False,
            "read_until_eof": True,
            "auto_decompress": False,
            "read_timeout": None,
            "read_bufsize": _BUFFER_BYTES,
            "timeout_ceil_threshold": 5,
            "max_line_size": 8190,
            "max_field_size": most_header_bytes,
        }

    async def exchange(self, body: Sending, within: aiohttp.ClientTimeout) -> Reply:
        """Send a body and return the answer's head, and of its body what has come with it.

        Raises:
            aiohttp.ClientError, OSError: as the engine's own way.
            HttpProcessingError: the answer is not proper HTTP.
        """
        try:
            connection = await self._connector.connect(self._request, [], within)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        protocol = cast("ResponseHandler", connection.protocol)
        try:
            protocol.set_response_params(**self._reading)
            protocol.start_timeout()  # of none: what the last request of the connection waited for may still run
            body.leave(protocol, self._head + b"%d\r\n\r\n" % len(body.content))
            while True:
                message, payload = await protocol.read()
                if message.code > 199 or message.code < 100 or message.code == 101:
                    break
        except BaseException:
            body.stop()
            connection.close()
            raise
        return Reply(message.code, message.headers, payload, connection, body)


class Reply:
    """An answer that has begun.

    Attributes:
        status: the HTTP status.
        headers: looked up in any case.
        content: the body as it comes.
        connection: what it comes on; None once that is given back.
    """

    __slots__ = ("__weakref__", "_sending", "connection", "content", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: CIMultiDictProxy[str],
        content: aiohttp.StreamReader,
        connection: Connection,
        sending: Sending,
    ) -> None:
        self.status = status
        self.headers = headers
        self.content = content
        self.connection: Connection | None = connection
        self._sending = sending
        content.on_eof(self._release)  # at once, where all of it is here

    @property
    def content_length(self) -> int | None:
        """How long the body is by its own word; None where it says nothing sensible."""
        said = self.headers.get("Content-Length", "")
        return int(said) if said.isascii() and said.isdigit() else None

    @property
    def closed(self) -> bool:
        """Whether its connection is not in use for it any more."""
        return self.connection is None

    def close(self) -> None:
        """Drop the connection."""
        if self.connection is not None:
            self._sending.stop()
            self.connection.close()
            self.connection = None

    def _release(self) -> None:
        connection = self.connection
        if connection is not None and not (connection.protocol is not None and connection.protocol.upgraded):
            if self._sending.stop():
                connection.release()
            else:
                connection.close()
            self.connection = None
