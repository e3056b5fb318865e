"""What the tests over real sockets share: servers that speak raw bytes, and ways to run against them."""

import asyncio
import contextlib
import gc
import socket
import struct
import threading

import httpx
import pytest

from dfllm._run.http import Http, route
from dfllm._run.http_errors import failure_of
from dfllm._run.secret import Secret

KEY = "sk-canary-0123456789abcdef"
BODY = b'{"model":"m"}'
HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\nok"
MIB = 2**20


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def request(self) -> bytes:
        """Return one request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with a reset instead of an end."""
        option = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def served(talk, **options):
    """Serve connections with `talk(peer)` on a free port; yields the port."""
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(Peer(reader, writer))
        finally:
            tasks.discard(asyncio.current_task())
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks)


def answering(data: bytes, end=None):
    """Return a talk that answers each request with these bytes, then ends the connection in a way."""

    async def talk(peer):
        while True:
            await peer.request()
            await peer.say(data)
            if end is not None:
                end(peer)
                return

    return talk


def closing(peer) -> None:
    """End a connection in the usual way."""
    peer.writer.close()


def resetting(peer) -> None:
    """End a connection with a reset."""
    peer.reset()


def to(port: int, scheme: str = "http", host: str = "127.0.0.1", secret: str = KEY):
    """Return a route to a server of ours, with the planted key."""
    return route(f"{scheme}://{host}:{port}/v1/chat/completions", {}, Secret(secret))


@contextlib.asynccontextmanager
async def opened(**options):
    """Open an `Http` and close it."""
    http = Http(**options)
    try:
        yield http
    finally:
        await http.close()


def run(main):
    """Run it, and take every complaint of the event loop as an error."""
    complaints = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        return await main

    found = asyncio.run(watched())
    gc.collect()
    assert [] == complaints
    return found


def answer_of(talk, timeout_seconds=None, **options):
    """Return what a post to such a server gives."""

    async def main():
        async with served(talk) as port, opened(**options) as http:
            return await http.post(to(port), BODY, timeout_seconds)

    return run(main())


def failure_from(talk, timeout_seconds=None, **options) -> str:
    """Return the failure's text of a post to such a server."""
    with pytest.raises(httpx.RequestError) as caught:
        answer_of(talk, timeout_seconds, **options)
    return str(failure_of(caught.value))


class ThreadServer:
    """Answers once on a connection, ends it in a way, and then serves others normally; outside the client's loop."""

    def __init__(self, *, linger: bool):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.ended = threading.Event()
        self.go = threading.Event()
        self.requests = []
        self.linger = linger
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.listening.close()
        self.thread.join(5)

    def serve(self):
        """Accept two connections."""
        first, _ = self.listening.accept()
        self.answer(first)
        self.go.wait(5)
        if not self.linger:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        self.ended.set()
        with contextlib.suppress(OSError):
            self.listening.settimeout(0.2 if self.linger else 5)
            second, _ = self.listening.accept()
            self.answer(second)
            second.close()

    def answer(self, connection):
        """Answer one request."""
        self.requests.append(connection.recv(65536))
        connection.sendall(OK)
