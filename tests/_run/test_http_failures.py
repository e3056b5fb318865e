"""Every way an exchange can fail, over real sockets, and what each means for the bill."""

import asyncio
import gzip
import socket
import ssl
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import trustme

from dfllm._run.http import route
from dfllm._run.http_errors import failure_of
from dfllm._run.secret import Secret

from .test_http_peer import (
    BODY,
    HEAD,
    KEY,
    MIB,
    OK,
    answer_of,
    answering,
    closing,
    failure_from,
    opened,
    resetting,
    run,
    served,
    to,
)

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TWO_LENGTHS = HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"

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
    """Return a server's context with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return a client's context that trusts this authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority():
    """Return a certificate authority of our own."""
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
        (CHUNKED + b"5\r\nhello\r\nff\r\nab", closing, "ConnectionLost: body cut at 7 bytes (maybe)"),
        (CHUNKED + b"5\r\nhello\r\n", closing, "ConnectionLost: body cut at 5 bytes (maybe)"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (HEAD + b"a b c\r\n\r\n", None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (TWO_LENGTHS, None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (OK + OK.replace(b"ok", b"no"), None, "BadResponse: the answer is not proper HTTP (maybe)"),
        (OK + b"excess", None, "BadResponse: the answer is not proper HTTP (maybe)"),
    ],
    ids=["reset", "end", "in head", "length", "chunk", "no end", "garbage", "header", "lengths", "two", "excess"],
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


def test_a_deadline_ends_with_its_request():
    """When it passes later, the connection is another request's and stays."""
    connections = []

    async def talk(peer):
        connections.append(peer)
        await answering(OK)(peer)

    async def main():
        async with served(talk) as port, opened() as http:
            for _ in range(3):
                await http.post(to(port), BODY, 0.03)
                await asyncio.sleep(0.05)

    run(main())

    assert 1 == len(connections)


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
