"""The hot path over real sockets: what is sent, what comes back, and what never shows."""

import asyncio
import gzip
import json
import socket
import traceback
import zlib

import httpx
import pytest

from dfllm._run.http import Http

from .test_http_peer import (
    BODY,
    HEAD,
    KEY,
    MIB,
    OK,
    answer_of,
    answering,
    closing,
    opened,
    resetting,
    run,
    served,
    to,
)

# The way it should go.


def test_a_request_is_what_the_route_says():
    """One POST with the body, the key and few headers, and no cookie the server once set."""
    seen = []

    async def talk(peer):
        while True:
            seen.append(await peer.request())
            await peer.say(HEAD + b"Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")

    async def main():
        async with served(talk) as port, opened() as http:
            for _ in range(2):
                await http.post(to(port), BODY)
            return port

    port = run(main())

    head, body = seen[1].split(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert seen[0] == seen[1]
    assert b"POST /v1/chat/completions HTTP/1.1" == first
    assert BODY == body
    assert {
        b"Host: 127.0.0.1:%d" % port,
        b"User-Agent: dfllm",
        b"Accept: application/json",
        b"Accept-Encoding: gzip",
        b"Content-Type: application/json",
        b"Content-Length: 13",
        b"Authorization: Bearer " + KEY.encode(),
    } == set(headers)


def test_an_answer_is_status_headers_and_body():
    """Whatever the status, with headers in any case."""
    answer = answer_of(answering(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait"))

    assert (429, "7", b"wait") == (answer.status, answer.headers["retry-after"], answer.body)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 5\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        (b"Content-Encoding: gzip\r\nContent-Length: 25\r\n\r\n", gzip.compress(b"hello", mtime=0)),
        (b"Content-Encoding: deflate\r\nContent-Length: 13\r\n\r\n", zlib.compress(b"hello")),
        (b"Connection: close\r\n\r\n", b"hello"),
    ],
    ids=["length", "chunked", "gzip", "deflate", "until close"],
)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_body_is_whole_however_it_is_sent(head, body, in_pieces):
    """Every framing, at once and byte by byte."""

    async def talk(peer):
        await peer.request()
        whole = HEAD + head + body
        for at in range(0, len(whole), 1 if in_pieces else len(whole)):
            await peer.say(whole[at : at + (1 if in_pieces else len(whole))])
            await asyncio.sleep(0)

    assert b"hello" == answer_of(talk).body


def test_connections_are_used_again():
    """A hundred questions one after the other need one connection."""
    connections = []

    async def talk(peer):
        connections.append(peer)
        await answering(OK)(peer)

    async def main():
        async with served(talk) as port, opened() as http:
            for _ in range(100):
                await http.post(to(port), BODY)

    run(main())

    assert 1 == len(connections)


def test_a_thousand_are_in_flight_at_once():
    """No limit but descriptors holds them back, and each gets its own answer."""
    waiting, everyone = [], asyncio.Event()

    async def talk(peer):
        said = await peer.request()
        waiting.append(peer)
        if len(waiting) == 1000:
            everyone.set()
        await everyone.wait()
        body = said.split(b"\r\n\r\n")[1]
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def main():
        async with served(talk) as port, opened() as http:
            return await asyncio.gather(*(http.post(to(port), b"%d" % number) for number in range(1000)))

    answers = run(main())

    assert [b"%d" % number for number in range(1000)] == [answer.body for answer in answers]


def test_a_large_body_arrives_whole():
    """A few megabytes, more than the system buffers, without a word of warning."""

    async def talk(peer):
        said = await peer.request()
        size = b"%d" % len(said.split(b"\r\n\r\n")[1])
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(size) + size)

    async def main():
        async with served(talk) as port, opened() as http:
            return await http.post(to(port), bytes(5 * MIB))

    assert b"%d" % (5 * MIB) == run(main()).body


# Redirects, keys, ends.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_the_key_stays(status):
    """The other server is never called."""
    called = []

    async def other(peer):
        called.append(peer)

    async def main():
        async with served(other) as elsewhere:
            location = b"Location: http://127.0.0.1:%d/v1\r\nContent-Length: 0\r\n\r\n" % elsewhere
            async with served(answering(b"HTTP/1.1 %d Go\r\n" % status + location)) as port, opened() as http:
                return await http.post(to(port), BODY)

    answer = run(main())

    assert (status, b"") == (answer.status, answer.body)
    assert [] == called


def shown_by(error: BaseException) -> str:
    """Return all that a traceback with locals shows."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()) + repr(error)


@pytest.mark.parametrize(
    "talk",
    [
        answering(b"", resetting),
        answering(HEAD + b"Content-Length: 9\r\n\r\nabc", closing),
        answering(b"garbage\r\n\r\n"),
        answering(HEAD + b"Content-Length: 99999999999\r\n\r\n"),
    ],
    ids=["reset", "cut", "garbage", "too big"],
)
def test_a_failure_shows_no_key(talk):
    """Not in its traceback with all locals, nor in whatever it hangs on."""
    with pytest.raises(httpx.RequestError) as caught:
        answer_of(talk)

    error = caught.value
    assert KEY not in shown_by(error)
    assert error.__context__ is None
    assert KEY not in json.dumps([str(link) for link in (error, error.__cause__)])


def test_a_refusal_shows_no_key():
    """Where the system's error is the cause, it comes without the engine's frames."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def main():
        async with opened() as http:
            await http.post(to(port), BODY)

    with pytest.raises(httpx.ConnectError) as caught:
        run(main())

    assert KEY not in shown_by(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.__cause__.__traceback__ is None


def test_a_cancelled_post_is_cancelled_and_its_connection_closed():
    """It passes through, shows no key, the server sees the connection go, and the next post works."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def talk(peer):
        await peer.request()
        if not asked.is_set():
            asked.set()
            assert b"" == await peer.reader.read()
            gone.set()
        else:
            await peer.say(OK)

    async def main():
        async with served(talk) as port, opened() as http:
            task = asyncio.create_task(http.post(to(port), BODY))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            await asyncio.wait_for(gone.wait(), 5)
            return caught.value, await http.post(to(port), BODY)

    error, answer = run(main())

    assert KEY not in shown_by(error)
    assert b"ok" == answer.body


def test_closing_ends_what_is_in_flight():
    """Whoever waits gets an error at once, and no complaint about anything unclosed follows."""
    asked = asyncio.Event()

    async def talk(peer):
        await peer.request()
        asked.set()
        await peer.reader.read()

    async def main():
        async with served(talk) as port:
            http = Http()
            task = asyncio.create_task(http.post(to(port), BODY))
            await asked.wait()
            await http.close()
            with pytest.raises(httpx.ReadError):
                await asyncio.wait_for(task, 5)
            await http.close()

    run(main())


def test_a_body_that_closing_cuts_is_no_answer():
    """A body that ends where its connection does looks whole when we end it ourselves."""

    async def talk(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        asked.set()
        await peer.reader.read()

    async def main():
        async with served(talk) as port:
            http = Http()
            task = asyncio.create_task(http.post(to(port), BODY))
            await asked.wait()
            await asyncio.sleep(0.02)
            await http.close()
            with pytest.raises(httpx.ReadError):
                await asyncio.wait_for(task, 5)

    asked = asyncio.Event()
    run(main())


def test_a_post_to_what_was_closed_fails_as_a_request_does():
    """Whoever comes late gets an error that can be told from a broken program."""

    async def main():
        async with served(answering(OK)) as port:
            http = Http()
            await http.close()
            with pytest.raises(httpx.RequestError):
                await http.post(to(port), BODY)

    run(main())


def test_an_http_nobody_used_closes_quietly():
    """Nothing is opened before it is needed."""

    async def main():
        await Http().close()

    run(main())
