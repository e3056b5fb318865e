"""A request body on its way, which knows whether it left: on that hangs whether it may be billed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler

from dfllm._run.http_body import is_delimited

if TYPE_CHECKING:
    from dfllm._run.http_direct import Reply


class Sending(aiohttp.Payload):
    """One request's body, from the caller to the connection.

    Attributes:
        sent: whether all of it was handed to the system. False only where that is certain: then no server can have
            read the request, and sending it again cannot be billed twice.
        late: whether its total deadline passed.
    """

    _autoclose = True  # bytes need no closing; without this the engine warns

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._size = len(content)
        self._transport: asyncio.WriteTransport | None = None
        self._protocol: ResponseHandler | None = None
        self.sent = False
        self.late = False

    @property
    def content(self) -> bytes:
        """The body."""
        return cast("bytes", self._value)

    def leave(self, protocol: ResponseHandler, head: bytes) -> None:
        """Write head and body in one piece.

        Raises:
            aiohttp.ClientOSError: the connection is of no use; nothing was written, or the system took nothing.
        """
        transport = self._transport = cast("asyncio.WriteTransport | None", protocol.transport)
        if transport is None or transport.is_closing() or self.late or not _has_written_all(transport):
            raise aiohttp.ClientOSError("not sent")
        self._protocol = protocol
        if len(protocol) > 0:
            # An answer is here before the question: a server that answers twice. Whoever reads it gets another row's.
            raise aiohttp.ClientOSError("not sent")
        transport.write(head + self.content)
        # A connection that is closing now was closed by this very write: the system refused the first byte, as a stale
        # connection does. Whatever comes later counts as sent.
        self.sent = not transport.is_closing()
        if not self.sent:
            raise aiohttp.ClientOSError("not sent")

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write head and body in one piece; the engine calls this once it has a connection.

        Raises:
            ConnectionResetError: the connection is of no use, and nothing was written, not even the head.
        """
        transport = self._transport = writer.transport
        if transport is None or transport.is_closing() or self.late or not _has_written_all(transport):
            raise ConnectionResetError("not sent")
        protocol = self._protocol = cast("ResponseHandler", transport.get_protocol())
        if len(protocol) > 0:
            # An answer is here before the question: a server that answers twice. Whoever reads it gets another row's.
            raise ConnectionResetError("not sent")
        await cast("Any", writer).write(self._value, drain=False)  # the engine's abstract class does not know `drain`
        # Nothing else ran since the look at `is_closing`. A connection that is closing now was closed by this very
        # write: the system refused the first byte, as a stale connection does. Whatever comes later counts as sent.
        self.sent = not transport.is_closing()
        await writer.drain()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body; what older engines call."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; the engine's interface wants it."""
        return cast("bytes", self._value).decode(encoding, errors)

    def expire(self) -> None:
        """Drop the connection, so that whoever waits on it wakes with an error: the total deadline passed."""
        self.late = True
        if self._transport is not None:
            self._transport.abort()

    def stop(self) -> bool:
        """Send no more of it; return whether the system had taken all, so that the connection can carry another.

        A server may answer before it has read the question, and never read the rest. What is still to be sent would go
        before the next question, which nobody would ever see, and a connection that is closed waits for it for ever.
        """
        transport = self._transport
        if transport is None or _has_written_all(transport):
            return True
        transport.abort()
        return False

    def has_more_answers(self) -> bool:
        """Whether more answers than one came at once. To be asked before anyone else can use the connection."""
        return self._protocol is not None and len(self._protocol) > 0

    def was_reset(self, response: aiohttp.ClientResponse | Reply) -> bool:
        """Whether a body that ends where its connection does ended in a reset, which the engine takes for its end."""
        ended_by = self._protocol.exception() if self._protocol is not None else None
        return isinstance(ended_by, OSError) and not is_delimited(response)


def _has_written_all(transport: asyncio.WriteTransport) -> bool:
    """Return whether the system has taken all that was written; a connection that is closing takes no more."""
    if transport.is_closing():
        return True
    # Over TLS it waits in the connection below, which asyncio has no word for.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return not transport.get_write_buffer_size() and (below is None or not below.get_write_buffer_size())
