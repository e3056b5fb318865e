"""Bodies that leave at once, over real sockets, whatever Python this is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter

from dfllm._run.http_eager import EagerRequest
from dfllm._run.http_sending import Sending

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: More than the system takes for a reader who does not read.
_LARGE = 32 * 2**20


@asynccontextmanager
async def _asking(reads: asyncio.Event, got: list[bytes]) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Yield a session and the address of a server that reads one body once it is let."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        try:
            got.append(await reader.readexactly(size))
        except asyncio.IncompleteReadError as error:
            got.append(error.partial)
        else:
            writer.write(_ANSWER)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**16)
    host, port = server.sockets[0].getsockname()
    try:
        async with aiohttp.ClientSession(request_class=EagerRequest) as session:
            yield session, f"http://{host}:{port}/"
    finally:
        server.close()
        await server.wait_closed()


class Seen(aiohttp.BytesPayload):
    """A body that notes in which task it is written."""

    task: asyncio.Task[None] | None = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Note it, and write."""
        self.task = asyncio.current_task()
        await super().write_with_length(writer, content_length)


def test_a_body_is_written_by_who_asks_and_not_a_turn_later() -> None:
    """No task of its own has to come to its turn first."""

    async def check() -> None:
        reads, got, body = asyncio.Event(), list[bytes](), Seen(b"x" * 100)
        reads.set()
        async with _asking(reads, got) as (session, url), session.post(url, data=body) as answer:
            assert await answer.read() == b"ok"
        assert got == [b"x" * 100]
        assert body.task is asyncio.current_task()

    asyncio.run(check())


def test_a_body_that_the_connection_does_not_take_at_once_arrives_whole() -> None:
    """The rest goes out as the server reads."""

    async def check() -> None:
        reads, got = asyncio.Event(), list[bytes]()
        async with _asking(reads, got) as (session, url):
            asking = asyncio.ensure_future(session.post(url, data=Sending(b"y" * _LARGE)))
            await asyncio.wait([asking], timeout=0.2)
            assert not asking.done()
            reads.set()
            async with await asking as answer:
                assert await answer.read() == b"ok"
        assert got == [b"y" * _LARGE]

    asyncio.run(check())


def test_a_request_dropped_while_its_body_is_being_written_ends_at_once() -> None:
    """Nobody waits for a server that does not read."""

    async def check() -> None:
        reads, got, body = asyncio.Event(), list[bytes](), Sending(b"z" * _LARGE)
        async with _asking(reads, got) as (session, url):
            asking = asyncio.ensure_future(session.post(url, data=body))
            await asyncio.wait([asking], timeout=0.2)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (body.sent, got) == (True, [])
            body.expire()  # drops what the system has not taken yet
            reads.set()
            while not got:
                await asyncio.sleep(0)
        assert len(got[0]) < _LARGE

    asyncio.run(check())
