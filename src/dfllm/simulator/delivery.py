"""Bytes to the client, or not: every way in which a reply is delivered."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from .replies import Reply

DRIPS = 50


async def deliver(
    request: web.Request, reply: Reply, headers: dict[str, str], stall_seconds: float
) -> web.StreamResponse:
    """Send a reply the way it says.

    Args:
        request: whose connection is used.
        reply: what to send, and how.
        headers: those every response of this simulator has; the reply's own go before them.
        stall_seconds: how long a late reply waits, and how long a dripping one takes.
    """
    headers = {**headers, **reply.headers}
    if reply.delivery == "reset":
        _reset(request)
        return web.Response()
    if reply.delivery == "late":
        await asyncio.sleep(stall_seconds)
    if reply.delivery in ("whole", "late"):
        return web.Response(status=reply.status, body=reply.body, headers=headers, content_type=reply.content_type)
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_type = reply.content_type
    if reply.delivery == "cut_chunked":
        response.enable_chunked_encoding()
    else:
        response.content_length = len(reply.body)
    await response.prepare(request)
    await _send(request, response, reply, stall_seconds)
    return response


async def _send(request: web.Request, response: web.StreamResponse, reply: Reply, stall_seconds: float) -> None:
    half = len(reply.body) // 2
    if reply.delivery == "drip":
        size = -(-len(reply.body) // DRIPS)
        for start in range(0, len(reply.body), size):
            await response.write(reply.body[start : start + size])
            await asyncio.sleep(stall_seconds / DRIPS)
    elif reply.delivery in ("cut", "cut_chunked", "cut_reset"):
        await response.write(reply.body[:half])
        if reply.delivery == "cut_reset":
            await asyncio.sleep(0.01)  # a reset may overtake what is not yet read; give the half a chance
            _reset(request)
        else:
            _close(request)
    elif reply.delivery == "twice":
        with _in_one_piece(request):
            await response.write(reply.body)
            await response.write_eof()
            if request.transport is not None:
                head = f"HTTP/1.1 {reply.status} OK\r\nContent-Type: {reply.content_type}\r\n"
                request.transport.write(f"{head}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body)
    else:  # "stale"
        with _in_one_piece(request):
            await response.write(reply.body)
            await response.write_eof()
            if request.transport is not None:
                request.transport.write_eof()  # at once: whoever asks next must be able to know
        _close(request)


@contextmanager
def _in_one_piece(request: web.Request) -> Iterator[None]:
    """Hold back what is written until all of it is, where the system can (Linux).

    Else the client may ask its next question between two answers, and then nobody could tell whose the second one is;
    or between an answer and the end of the connection, and then nobody could tell whether it was read.
    """
    cork = getattr(socket, "TCP_CORK", None)
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if cork is None or connection is None:
        yield
        return
    connection.setsockopt(socket.IPPROTO_TCP, cork, 1)
    try:
        yield
    finally:
        connection.setsockopt(socket.IPPROTO_TCP, cork, 0)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    """Drop the connection with a TCP reset, without a farewell."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
