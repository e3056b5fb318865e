"""The short way over the engine's connections: the same requests, and the same ends, as the engine's own way."""

import asyncio
import contextlib
import gzip

import aiohttp
import httpx
import pytest

from dfllm._run import http_direct, http_sockets
from dfllm._run.http import route
from dfllm._run.http_errors import failure_of
from dfllm._run.secret import Secret

from .test_http_failures import authority, certified, trusting  # noqa: F401  # a fixture
from .test_http_peer import BODY, HEAD, KEY, MIB, OK, answering, closing, opened, resetting, run, served, to

PACKED = gzip.compress(b"packed")

#: More than the system takes at once.
LARGE = b"x" * (32 * MIB)


@pytest.fixture
def long_way(monkeypatch):
    """Let the engine be one that is not known."""
    monkeypatch.setattr(http_sockets, "fits", lambda: False)


def test_the_engine_that_is_installed_is_known():
    """Otherwise every request would take the long way, and nobody would notice but by the time."""
    assert http_direct.fits()


@pytest.mark.parametrize("gone", ["set_response_params", "read"])
def test_an_engine_without_what_is_needed_is_not_taken_for_known(monkeypatch, gone):
    """It looks for what it uses, and does not ask for a version."""

    class Other:
        set_response_params = aiohttp.client_proto.ResponseHandler.set_response_params
        read = aiohttp.client_proto.ResponseHandler.read

    delattr(Other, gone)
    monkeypatch.setattr(http_direct, "ResponseHandler", Other)
    assert not http_direct.fits.__wrapped__()


def end_of(talk):
    """Return what a post comes to: the answer, or the failure's text."""

    async def main():
        async with served(talk) as port, opened(timeout_seconds=5.0) as http:
            try:
                answer = await http.post(to(port), BODY)
            except httpx.RequestError as error:
                return type(error), str(failure_of(error))
            return answer.status, answer.body, sorted(answer.headers.items())

    return run(main())


def late(data):
    """Answer with a continuation first, and the body behind the head."""

    async def talk(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        head, _, body = data.partition(b"\r\n\r\n")
        await peer.say(head + b"\r\n\r\n")
        await peer.say(body)

    return talk


ENDS = {
    "whole": answering(OK),
    "error": answering(b"HTTP/1.1 429 Slow\r\nretry-after: 3\r\nContent-Length: 2\r\n\r\n{}"),
    "late body": late(OK),
    "empty": answering(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "no length": answering(HEAD + b"\r\nto the end", closing),
    "chunked": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "packed": answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED),
    "odd length": answering(HEAD + b"Content-Length: abc\r\n\r\nok"),
    "cut": answering(HEAD + b"Content-Length: 9\r\n\r\nabc", closing),
    "cut by reset": answering(HEAD + b"Content-Length: 9\r\n\r\nabc", resetting),
    "nothing": answering(b"", closing),
    "reset": answering(b"", resetting),
    "garbage": answering(b"garbage\r\n\r\n"),
    "broken chunks": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"),
    "two answers": answering(OK + OK),
    "long header": answering(HEAD + b"policy: " + b"x" * 30_000 + b"\r\nContent-Length: 2\r\n\r\nok"),
}


@pytest.mark.parametrize("name", ENDS)
def test_an_exchange_ends_as_it_does_the_long_way(monkeypatch, name):
    """Status, headers and body, or the failure and who may have been billed."""
    short = end_of(ENDS[name])
    monkeypatch.setattr(http_sockets, "fits", lambda: False)
    assert end_of(ENDS[name]) == short


def sent_by(post):
    """Return what a server is sent, as lines of head and the body."""
    requests = []

    async def talk(peer):
        while True:
            requests.append(await peer.request())
            await peer.say(OK)

    async def main():
        async with served(talk) as port, opened() as http:
            await post(http, port)

    run(main())
    heads = [request.partition(b"\r\n\r\n") for request in requests]
    return [(head.split(b"\r\n")[0], sorted(head.split(b"\r\n")[1:]), body) for head, _, body in heads]


async def odd_route(http, port):
    """Post to a path and with headers that are easily spoiled."""
    target = route(f"http://127.0.0.1:{port}/v1/a%2Fb%20c/100%25?v=1&w=%7B", {"x-beta": "50% {key}"}, Secret(KEY))
    for _ in range(2):
        await http.post(target, b'{"a": "100%d"}')


def test_a_request_is_the_same_as_the_long_way(monkeypatch):
    """Line, headers and body, byte by byte; only the order of headers is free."""

    def portless(found):
        return [
            (line, [one for one in lines if not one.lower().startswith(b"host:")], body) for line, lines, body in found
        ]

    short = portless(sent_by(odd_route))
    monkeypatch.setattr(http_sockets, "fits", lambda: False)
    assert portless(sent_by(odd_route)) == short
    assert short[0][0] == b"POST /v1/a%2Fb%20c/100%25?v=1&w=%7B HTTP/1.1"
    assert short[0][2] == b'{"a": "100%d"}'


@pytest.mark.usefixtures("long_way")
def test_an_unknown_engine_is_used_its_own_way():
    """Slower, and all is as it was."""

    async def main():
        async with served(answering(OK)) as port, opened() as http:
            return [(await http.post(to(port), BODY)).body for _ in range(3)]

    assert [b"ok"] * 3 == run(main())


def test_requests_share_a_connection_and_the_last_way_does_not():
    """One after the other they need one; a connection of the second try ends with its answer."""
    connections = []

    async def talk(peer):
        connections.append(peer)
        while True:
            await peer.request()
            await peer.say(OK)

    async def main():
        async with served(talk) as port, opened() as http:
            target = to(port)
            for _ in range(5):
                await http.post(target, BODY)
            kept, fresh = http._sockets._asking(target)
            return kept._head, fresh._head

    kept, fresh = run(main())
    assert 1 == len(connections)
    assert fresh.replace(b"Connection: close\r\n", b"") == kept


def test_the_way_over_a_new_connection_is_made_for_those_that_need_it(monkeypatch):
    """Where each request is signed it has a route of its own, and would pay for two heads."""
    made = []

    class Counting(http_sockets.Asking):
        def __init__(self, *of, is_last, **options):
            made.append(is_last)
            super().__init__(*of, is_last=is_last, **options)

    async def main():
        async with served(answering(OK)) as port, opened() as http:
            for _ in range(3):
                await http.post(to(port), BODY)

    monkeypatch.setattr(http_sockets, "Asking", Counting)
    run(main())
    assert [False] * 3 == made


def test_the_heads_of_many_routes_are_not_kept_for_ever(monkeypatch):
    """A long-lived process has many runs, each with a route."""
    monkeypatch.setattr(http_sockets, "_MOST_ROUTES", 3)

    async def main():
        async with served(answering(OK)) as port, opened() as http:
            for _ in range(10):
                await http.post(to(port), BODY)
            return len(http._sockets._asked)

    assert run(main()) <= 3


@pytest.mark.parametrize("way", ["short", "long"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_question_never_waits_behind_the_rest_of_one_that_was_refused(monkeypatch, authority, scheme, way):  # noqa: F811
    """A server that answers before it has read all may never read the rest; the next question has its own way."""
    monkeypatch.setattr(http_sockets, "fits", lambda: way == "short")
    is_tls = scheme == "https"
    bodies = []

    async def talk(peer):
        if not bodies:
            bodies.append(await peer.reader.readuntil(b"\r\n\r\n"))
            await peer.say(b"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}")
            await over.wait()
            return
        bodies.append(await peer.request())
        await peer.say(OK)

    async def main():
        context, trust = (certified(authority), trusting(authority)) if is_tls else (None, None)
        async with served(talk, ssl=context) as port, opened(timeout_seconds=5.0, trust=trust) as http:
            target = to(port, scheme, "localhost")
            try:
                return [(await http.post(target, body)).status for body in (LARGE, BODY)]
            finally:
                over.set()

    over = asyncio.Event()
    # The engine's own way may leave a writer behind that nobody asks, which is its affair.
    assert [429, 200] == (run(main()) if way == "short" else asyncio.run(main()))
    assert 2 == len(bodies)


def test_a_question_that_is_cancelled_while_it_leaves_is_not_sent_on():
    """Nobody waits for its answer, and its connection would outlast the client, however slowly the server reads."""
    found = []

    async def talk(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        begun.set()
        await dropped.wait()
        with contextlib.suppress(ConnectionResetError):
            while data := await peer.reader.read(MIB):
                found.append(len(data))
        ended.set()

    async def main():
        async with served(talk) as port, opened() as http:
            post = asyncio.ensure_future(http.post(to(port), LARGE))
            await begun.wait()
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
            dropped.set()
            await ended.wait()

    begun, dropped, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    run(main())
    assert sum(found) < len(LARGE)


def test_what_the_last_request_of_a_connection_waited_for_ends_none_that_comes_after():
    """Some servers send a line end too many, which starts the engine's timer of silence; models think for longer."""

    async def talk(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(OK)
        await asyncio.sleep(0.01)
        await peer.say(b"\r\n")
        spoilt.set()
        await peer.request()
        await asyncio.sleep(0.4)
        await peer.say(OK)

    async def main():
        async with served(talk) as port, opened() as http:
            async with http.client(timeout_seconds=0.2) as client:
                await client.get(f"http://127.0.0.1:{port}/v1/models")
            await spoilt.wait()
            await asyncio.sleep(0.01)
            return await http.post(to(port), BODY)

    spoilt = asyncio.Event()
    assert b"ok" == run(main()).body
