"""Connections that died or were spoiled while idle: what is repaired unseen, and what stays *maybe*."""

import asyncio
import time

import httpx
import pytest

from dfllm._run.http_errors import failure_of

from .test_http_peer import (
    BODY,
    HEAD,
    ThreadServer,
    opened,
    run,
    served,
    to,
)


def test_a_reset_of_an_idle_connection_is_nobodys_business():
    """It ends between two questions: nothing is logged, nothing fails."""

    async def talk(peer):
        await peer.request()
        await peer.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.01)
        await peer.say(b"2\r\nok\r\n0\r\n\r\n")
        peer.reset()

    async def main():
        async with served(talk) as port, opened() as http:
            found = []
            for _ in range(2):
                found.append((await http.post(to(port), BODY)).body)
                await asyncio.sleep(0.02)
            return found

    assert [b"ok", b"ok"] == run(main())


def after_the_end(server: ThreadServer):
    """Post, let the server end the connection unnoticed by our loop, and post again."""

    async def main():
        async with opened() as http:
            await http.post(to(server.port), BODY)
            server.go.set()
            server.ended.wait(5)  # blocks the loop on purpose: it must not see the end before it sends
            time.sleep(0.02)  # noqa: ASYNC251  # as above
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
    with ThreadServer(linger=True) as server, pytest.raises(httpx.ReadError) as caught:
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
