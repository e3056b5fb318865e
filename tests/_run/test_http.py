"""The hot path over real sockets: every way an exchange can go, and what each means for the bill."""

import asyncio
import contextlib
import gc
import gzip
import json
import socket
import ssl
import struct
import threading
import time
import traceback
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import trustme

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
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
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
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
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
    peer.writer.close()


def resetting(peer) -> None:
    peer.reset()


def to(port: int, scheme: str = "http", host: str = "127.0.0.1", secret: str = KEY):
    return route(f"{scheme}://{host}:{port}/v1/chat/completions", {}, Secret(secret))


@contextlib.asynccontextmanager
async def opened(**options):
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


# Free: nothing was sent.


def test_a_name_that_does_not_resolve_is_free():
    """The resolver fails before there is a connection."""

    async def main():
        async with opened() as http:
            await http.post(route("https://nonexistent.invalid/v1", {}, Secret(KEY)), BODY)

    with pytest.raises(httpx.ConnectError) as caught:
        run(main())
    assert "ConnectFailed: name does not resolve (free)" == str(failure_of(caught.value))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_port_is_free(host):
    """Nobody listens, at one address or at several."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def main():
        async with opened() as http:
            await http.post(to(port, host=host), BODY)

    with pytest.raises(httpx.ConnectError) as caught:
        run(main())
    assert "ConnectFailed: connection refused (free)" == str(failure_of(caught.value))


def tls_failure(context: ssl.SSLContext | None, trust: ssl.SSLContext | None, talk=None, **options) -> str:
    """Return the failure's text of a post over https to a server with this certificate."""
    requests = []

    async def listen(peer):
        requests.append(await peer.request())

    async def main():
        async with served(talk or listen, ssl=context) as port, opened(trust=trust, **options) as http:
            await http.post(to(port, "https", "localhost"), BODY)

    # A server whose handshake fails complains to its loop, which is ours as well.
    with pytest.raises(httpx.TransportError) as caught:
        asyncio.run(main())
    assert [] == requests
    return str(failure_of(caught.value))


def certified(authority: trustme.CA, name: str = "localhost", **options) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def test_a_trusted_certificate_is_good(authority):
    """Over TLS all is as without."""

    async def main():
        async with (
            served(answering(OK), ssl=certified(authority)) as port,
            opened(trust=trusting(authority)) as http,
        ):
            return [await http.post(to(port, "https", "localhost"), BODY) for _ in range(2)]

    assert [b"ok", b"ok"] == [answer.body for answer in run(main())]


def test_an_unknown_authority_is_free(authority):
    """By default only certifi's and the system's authorities count; no request is sent."""
    assert "TlsError: certificate from an unknown authority (free)" == tls_failure(certified(authority), None)


def test_an_expired_certificate_is_free(authority):
    """Its end is in the past, and the question was never sent."""
    expired = certified(authority, not_after=datetime.now(UTC) - timedelta(days=1))

    assert "TlsError: certificate expired (free)" == tls_failure(expired, trusting(authority))


def test_a_certificate_for_another_host_is_free(authority):
    """The name is checked as well."""
    other = certified(authority, "other.example")

    assert "TlsError: certificate for another host (free)" == tls_failure(other, trusting(authority))


def test_a_server_without_tls_is_free():
    """Plain HTTP on a port for https is a failed handshake."""

    async def talk(peer):
        await peer.reader.read(100)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert tls_failure(None, None, talk).startswith("TlsError: handshake failed: ")


def test_a_reset_in_the_handshake_is_free():
    """The connection went before any question could be sent."""

    async def talk(peer):
        await peer.reader.read(10)
        peer.reset()

    assert "ConnectFailed: connection reset (free)" == tls_failure(None, None, talk)


def test_a_handshake_that_never_ends_is_free():
    """The limit for connecting holds for TLS as well."""

    async def talk(peer):
        await asyncio.Event().wait()

    assert "ConnectFailed: no connection in time (free)" == tls_failure(None, None, talk, connect_seconds=0.05)


def test_a_total_deadline_while_connecting_is_free():
    """A deadline shorter than the limit for connecting holds from the first moment."""

    async def talk(peer):
        await asyncio.Event().wait()

    assert "ConnectFailed: no connection in time (free)" == tls_failure(None, None, talk, timeout_seconds=0.05)


# Maybe: the question left, and no whole answer came.


@pytest.mark.parametrize(
    ("data", "end", "expected"),
    [
        (b"", resetting, "ConnectionLost: no answer came (maybe)"),
        (b"", closing, "ConnectionLost: no answer came (maybe)"),
        (HEAD + b"Content-Le", closing, "ConnectionLost: no answer came (maybe)"),
        (HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 812, closing, "ConnectionLost: body cut at 812 bytes (maybe)"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nab", closing, "ConnectionLost: body cut at 7 bytes (maybe)"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", closing, "ConnectionLost: body cut at 5 bytes (maybe)"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (HEAD + b"a b c\r\n\r\n", None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok", None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (OK + OK.replace(b"ok", b"no"), None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (OK + b"excess", None, "BadResponse: the answer is not proper HTTP (maybe)"),
    ],
    ids=["reset", "end", "end in the head", "length", "chunk", "no last chunk", "garbage", "header", "lengths", "two answers", "excess"],
)  # fmt: skip
def test_a_broken_answer_is_maybe(data, end, expected):
    """The question was sent; who can say whether the model ran."""
    assert expected == failure_from(answering(data, end))


@pytest.mark.parametrize("length", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_reset_in_the_body_is_maybe(length):
    """A reset after the head has come, also where only the connection's end would end the body."""

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + length + b"\r\n3e8\r\n")
        await asyncio.sleep(0.02)
        peer.reset()

    assert failure_from(talk).startswith("ConnectionLost: body cut at ")


def test_framing_that_breaks_in_the_body_is_no_cut():
    """A chunk whose size is no number is bad HTTP, though the head was good."""

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        await peer.say(b"zz\r\n")
        await peer.reader.read()

    assert "BadResponse: the answer is not proper HTTP (maybe)" == failure_from(talk)


def test_no_answer_in_time_is_maybe():
    """The connection is dropped at the deadline, and the server sees it go."""
    gone = []

    async def talk(peer):
        await peer.request()
        gone.append(await peer.reader.read())

    assert "Timeout: 0.05 s (maybe)" == failure_from(talk, 0.05)
    assert [b""] == gone


@pytest.mark.parametrize("head", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_slow_drip_ends_at_the_total_deadline(head):
    """A byte now and then does not win more time, whatever the framing."""

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + head + b"\r\n")
        while True:
            await peer.say(b"1\r\nx\r\n")
            await asyncio.sleep(0.005)

    started = time.monotonic()

    assert "Timeout: total deadline (maybe)" == failure_from(talk, 0.1)
    assert time.monotonic() - started < 5


# Stale connections.


class ThreadServer:
    """Answers once on a connection, ends it in a way, and then serves others normally; outside the client's loop."""

    def __init__(self, linger: bool):
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
        self.requests.append(connection.recv(65536))
        connection.sendall(OK)


def after_the_end(server: ThreadServer):
    """Post, let the server end the connection unnoticed by our loop, and post again."""

    async def main():
        async with opened() as http:
            await http.post(to(server.port), BODY)
            server.go.set()
            server.ended.wait(5)  # blocks the loop on purpose: it must not see the end before it sends
            time.sleep(0.02)
            return await http.post(to(server.port), BODY)

    return run(main())


def test_a_request_the_system_refused_to_send_is_sent_again_unseen():
    """A reset connection takes no byte, so no server can have read the question: a new connection, no failure."""
    with ThreadServer(linger=False) as server:
        answer = after_the_end(server)

    assert b"ok" == answer.body
    assert 2 == len(server.requests)


def test_a_request_sent_to_a_closed_connection_stays_maybe():
    """The system took the bytes; that the other side had closed does not prove that nobody read them."""
    with ThreadServer(linger=True) as server:
        with pytest.raises(httpx.ReadError) as caught:
            after_the_end(server)

    assert "ConnectionLost: no answer came (maybe)" == str(failure_of(caught.value))
    assert 1 == len(server.requests)


def test_an_answer_nobody_asked_for_is_given_to_nobody():
    """A connection that holds a late second answer is dropped; the next row gets its own answer, from a new one."""
    late = asyncio.Event()

    async def talk(peer):
        number = b"%d" % len(connections)
        connections.append(peer)
        await peer.request()
        await peer.say(HEAD + b"Content-Length: 1\r\n\r\n" + number)
        await asyncio.sleep(0.01)
        await peer.say(HEAD + b"Content-Length: 1\r\n\r\n9")
        late.set()
        await peer.reader.read()

    connections = []

    async def main():
        async with served(talk) as port, opened() as http:
            first = await http.post(to(port), BODY)
            await late.wait()
            await asyncio.sleep(0.02)
            return first, await http.post(to(port), BODY)

    assert [b"0", b"1"] == [answer.body for answer in run(main())]


# Paid: an answer came, and it is more than we take.


def test_an_announced_body_over_the_limit_is_not_read():
    """Its own word is enough."""

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\nx" % (65 * MIB))
        await peer.reader.read()

    assert "BadResponse: over 64 MiB (paid)" == failure_from(talk)


def test_an_unannounced_body_over_the_limit_is_cut():
    """Reading stops at the limit, in chunks that never say the sum."""
    sent = []

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            await peer.say(b"100000\r\n" + bytes(MIB) + b"\r\n")
            sent.append(MIB)

    assert "BadResponse: over 64 MiB (paid)" == failure_from(talk)
    assert 64 <= len(sent) < 200


def test_a_bomb_is_stopped_while_it_is_small():
    """Half a gigabyte packed into half a megabyte takes a few megabytes of memory."""
    bomb = gzip.compress(bytes(MIB)) * 512
    talk = answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)

    tracemalloc.start()
    failure = failure_from(talk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "BadResponse: packed tighter than 100 to 1 (paid)" == failure
    assert peak < 16 * MIB


def test_an_answer_that_does_not_unpack_is_maybe():
    """It is there and cannot be read."""
    talk = answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd")

    assert "BadResponse: body does not unpack (maybe)" == failure_from(talk)


def test_an_error_page_that_does_not_unpack_keeps_its_status():
    """Statuses are judged by themselves; a 429 in a wrapping we cannot read is a 429."""
    talk = answering(b"HTTP/1.1 429 No\r\nContent-Encoding: br\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nabcd")

    answer = answer_of(talk)

    assert (429, "3", b"") == (answer.status, answer.headers["Retry-After"], answer.body)


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
    """Cancellation passes through as it is, shows no key, and the server sees the connection go; the next post works."""
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


def test_an_http_nobody_used_closes_quietly():
    """Nothing is opened before it is needed."""

    async def main():
        await Http().close()

    run(main())
