"""The sockets' own settings, and the engine's errors that no server can be made to cause."""

import asyncio
import contextlib
import gc
import os
import socket
import warnings

import aiohttp
import httpx
import pytest
from multidict import CIMultiDict
from yarl import URL

from dfllm._run import http_sockets
from dfllm._run.http_sending import Sending
from dfllm._run.http_sockets import Sockets, translated

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def connections_of(data: bytes, pause_seconds: float, posts: int = 2) -> int:
    """Return how many connections it takes to post some times to a server that says this."""
    opened = []

    async def serve(reader, writer):
        opened.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"{}")
                writer.write(data)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        sockets = Sockets(connect_seconds=5)
        for _ in range(posts):
            response = await sockets.begin("POST", url, CIMultiDict(), Sending(b"{}"))
            await response.read()
            await asyncio.sleep(pause_seconds)
        await sockets.close()
        server.close()

    asyncio.run(main())
    return len(opened)


def test_an_idle_connection_is_not_used_for_long(monkeypatch):
    """Servers drop them after 5 s, and a question that meets the end is one nobody can tell about."""
    kept = http_sockets._IDLE_SECONDS
    monkeypatch.setattr(http_sockets, "_IDLE_SECONDS", 0.02)

    assert kept < 5
    assert (1, 2) == (connections_of(OK, 0.0), connections_of(OK, 0.05))


def test_a_long_header_is_no_reason_to_lose_an_answer():
    """Gateways send policies of tens of kilobytes."""
    long = OK.replace(b"\r\n\r\n", b"\r\nContent-Security-Policy: " + b"x" * 30_000 + b"\r\n\r\n")

    assert 1 == connections_of(long, 0.0)


def test_quiet_connections_are_kept_alive():
    """Routers forget what says nothing for five minutes; we say something each minute."""
    with http_sockets._socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))) as made:
        alive = made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = made.getsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE)

    assert (True, 60) == (bool(alive), idle)


def test_a_fork_leaves_the_parents_connections_alone():
    """A child that forgets them does not end them; the parent's next answer arrives."""

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"{}")
                writer.write(OK)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        held = [Sockets(connect_seconds=5)]
        ask = ("POST", url, CIMultiDict())
        await (await held[0].begin(*ask, Sending(b"{}"))).read()
        with warnings.catch_warnings():
            # Newer Pythons warn of a fork beside threads. In the child, aiohttp's complaint as an error would keep
            # alive what it complains about.
            warnings.simplefilter("ignore")
            child = os.fork()
            if child == 0:
                held.clear()
                gc.collect()
                os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222  # the loop is to stand still meanwhile
        answer = await asyncio.wait_for((await held[0].begin(*ask, Sending(b"{}"))).read(), 5)
        await held[0].close()
        server.close()
        return answer

    assert b"ok" == asyncio.run(asyncio.wait_for(main(), 5))


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize(
    ("error", "if_sent", "if_unsent"),
    [
        (aiohttp.ServerDisconnectedError(), httpx.ReadError, httpx.WriteError),
        (aiohttp.ClientOSError(104, "reset"), httpx.ReadError, httpx.WriteError),
        (aiohttp.ClientConnectionError("closed"), httpx.ReadError, httpx.WriteError),
        (aiohttp.SocketTimeoutError("https://host?key=1"), httpx.ReadTimeout, httpx.ReadTimeout),
        (aiohttp.ConnectionTimeoutError("https://host?key=1"), httpx.ConnectTimeout, httpx.ConnectTimeout),
        (aiohttp.InvalidURL("https://host?key=1"), httpx.UnsupportedProtocol, httpx.UnsupportedProtocol),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_means_what_it_means(error, if_sent, if_unsent, sent):
    """The exception depends on whether the question left, and quotes nothing."""
    sending = Sending(b"{}")
    sending.sent = sent

    found = translated(error, sending, 600.0)

    assert (if_sent if sent else if_unsent) is type(found)
    assert "key=" not in str(found)


def test_what_may_have_left_counts_as_sent():
    """A stream gives no account of itself."""
    assert httpx.ReadError is type(translated(aiohttp.ServerDisconnectedError(), None, 600.0))


def test_late_and_never_sent_is_no_connection():
    """A deadline that passes before anything left costs nothing."""
    sending = Sending(b"{}")
    sending.expire()

    assert httpx.ConnectTimeout is type(translated(aiohttp.ServerDisconnectedError(), sending, 1.0))
