"""httpx over our sockets: streams both ways, and each error is the one httpx has for it."""

import asyncio
import contextlib
import gzip
import socket
import struct

import httpx
import pytest

from dfllm._run.http import Http, route
from dfllm._run.http_errors import BodyCut, TooBig, failure_of
from dfllm._run.secret import Secret

from .test_http_peer import HEAD, KEY, MIB, OK, run


class Server:
    """Answers every request with the same bytes, and then ends the connection in a way."""

    def __init__(self, data: bytes, end: str = ""):
        self.data, self.end = data, end
        self.heads, self.bodies, self.tasks = [], [], set()

    async def serve(self, reader, writer):
        """Serve one connection."""
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not self.end or not self.heads:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                self.bodies.append(await self.body(reader))
                writer.write(self.data)
                await writer.drain()
        if self.end == "reset":
            await asyncio.sleep(0.01)
            option = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            writer.transport.abort()
        writer.close()

    async def body(self, reader):
        """Read the body of the request whose head was read last."""
        head = self.heads[-1].lower()
        if "transfer-encoding: chunked" in head:
            found = b""
            while size := int(await reader.readline(), 16):
                found += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
            return found
        sizes = [int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")]
        return await reader.readexactly(sizes[0] if sizes else 0)

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks)


@contextlib.asynccontextmanager
async def client_of(keyed_url=None, **options):
    """Open a client, with the key for this URL's host, and close it."""
    http = Http()
    try:
        async with http.client(keyed_url and route(keyed_url, {}, Secret(KEY)), **options) as client:
            yield client
    finally:
        await http.close()


def error_from(data: bytes, end: str = "", **options) -> httpx.RequestError:
    """Return what a GET from such a server raises."""

    async def main():
        async with Server(data, end) as server, client_of(**options) as client:
            with pytest.raises(httpx.RequestError) as caught:
                await client.get(server.url)
            return caught.value

    return run(main())


def test_a_get_is_answered():
    """Status, headers and body are httpx's own objects."""

    async def main():
        async with Server(HEAD + b'X-A: 1\r\nContent-Length: 12\r\n\r\n{"data": []}') as server, client_of() as client:
            return server, await client.get(f"{server.url}/v1/models?limit=2")

    server, response = run(main())

    assert (200, "1", {"data": []}) == (response.status_code, response.headers["x-a"], response.json())
    assert "OK" == response.reason_phrase
    assert server.heads[0].startswith("GET /v1/models?limit=2 HTTP/1.1\r\n")


def test_a_post_is_sent_as_it_is():
    """A body, its type and its length, once."""

    async def main():
        async with Server(OK) as server, client_of() as client:
            await client.post(server.url, content=b'{"a":1}', headers={"Content-Type": "application/json"})
            await client.post(server.url)
            return server

    server = run(main())

    assert [b'{"a":1}', b""] == server.bodies
    assert 1 == server.heads[0].lower().count("content-type: application/json")
    assert ["content-length: 0"] == [line for line in server.heads[1].lower().splitlines() if "content" in line]


def test_a_form_with_a_file_is_streamed():
    """Uploads of batch files go as httpx makes them, with their length."""

    async def main():
        async with Server(OK) as server, client_of() as client:
            await client.post(server.url, data={"purpose": "batch"}, files={"file": ("x.jsonl", b"line\n" * 50_000)})
            return server

    server = run(main())

    assert 50_000 == server.bodies[0].count(b"line\n")
    assert "multipart/form-data" in server.heads[0]
    assert "transfer-encoding" not in server.heads[0].lower()


def test_a_body_of_unknown_length_is_sent_in_chunks():
    """A generator of pieces is not collected first."""

    async def pieces():
        for number in range(3):
            yield b"%d" % number

    async def main():
        async with Server(OK) as server, client_of() as client:
            await client.post(server.url, content=pieces())
            return server

    assert [b"012"] == run(main()).bodies


def test_a_download_comes_piece_by_piece():
    """More than the usual limit, never in memory as a whole."""
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"

    async def main():
        async with (
            Server(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 70 + b"0\r\n\r\n") as server,
            client_of(most_bytes=None) as client,
            client.stream("GET", server.url) as response,
        ):
            return [len(piece) async for piece in response.aiter_bytes()]

    sizes = run(main())

    assert 70 * MIB == sum(sizes)
    assert max(sizes) <= 2 * MIB


def test_a_packed_answer_is_unpacked_once():
    """Under our limits; httpx is not told that it was packed."""
    packed = gzip.compress(b"hello")
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)

    async def main():
        async with Server(HEAD + head + packed) as server, client_of() as client:
            return server, await client.get(server.url)

    server, response = run(main())

    assert b"hello" == response.content
    assert "content-encoding" not in response.headers
    assert 1 == server.heads[0].lower().count("accept-encoding: gzip\r\n")


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % (65 * MIB),
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(MIB)) * 100,
    ],
    ids=["announced", "bomb"],
)
def test_what_is_too_big_is_refused(data):
    """Listings have the limits of answers."""
    error = error_from(data, "end")

    assert isinstance(error, TooBig)
    assert "paid" == failure_of(error).billing


@pytest.mark.parametrize(
    ("data", "end", "kind"),
    [
        (b"", "end", httpx.ReadError),
        (b"", "reset", httpx.ReadError),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", "end", BodyCut),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc", "reset", BodyCut),
        (b"nonsense\r\n\r\n", "", httpx.RemoteProtocolError),
    ],
    ids=["end", "reset", "cut", "cut in a chunk", "nonsense"],
)
def test_each_break_is_what_httpx_calls_it(data, end, kind):
    """None of them is a timeout while connecting, which would be taken for free."""
    error = error_from(data, end)

    assert kind is type(error)
    assert "maybe" == failure_of(error).billing


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_framing_that_breaks_in_a_stream_ends_it(method):
    """The reader wakes with an error, while the server keeps the connection and says nothing more."""
    breaks = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        await breaks.wait()
        writer.write(b"zz\r\n")
        await reader.read()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of() as client, client.stream(method, url) as response:
            stream = response.aiter_raw()
            first = await anext(stream)
            breaks.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await asyncio.wait_for(anext(stream), 5)
        server.close()
        return first

    assert b"ab" == run(main())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_port_is_a_connect_error(method):
    """And free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def main():
        async with client_of() as client:
            await client.request(method, f"http://127.0.0.1:{port}")

    with pytest.raises(httpx.ConnectError) as caught:
        run(main())
    assert "ConnectFailed: connection refused (free)" == str(failure_of(caught.value))


def test_silence_is_a_read_timeout():
    """Nobody can tell what the server did meanwhile."""

    async def main():
        async with Server(b"") as server, client_of(timeout_seconds=0.05) as client:
            await client.get(server.url)

    with pytest.raises(httpx.ReadTimeout):
        run(main())


@pytest.mark.parametrize("url", ["http://192.0.2.1/v1", "http://example.com", "ftp://example.com"])
def test_plain_http_to_another_machine_is_refused(url):
    """Whatever a server's answer may have named as the place of a file."""

    async def main():
        async with client_of() as client:
            await client.get(url)

    with pytest.raises(httpx.UnsupportedProtocol):
        run(main())


def test_the_key_goes_to_its_own_host_only():
    """A result file elsewhere is fetched without it."""

    async def main():
        async with Server(OK) as home, Server(OK) as elsewhere, client_of(f"{home.url}/v1/chat") as client:
            await client.get(f"{home.url}/v1/models")
            await client.get(f"{elsewhere.url}/v1/models")
            return home, elsewhere

    home, elsewhere = run(main())

    assert f"Authorization: Bearer {KEY}" in home.heads[0]
    assert KEY not in elsewhere.heads[0]


def test_redirects_are_not_followed_and_cookies_not_kept():
    """Both are answers like any other."""
    data = b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:9/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"

    async def main():
        async with Server(data) as server, client_of(f"{server.url}/v1") as client:
            return server, [(await client.get(server.url)).status_code for _ in range(2)]

    server, statuses = run(main())

    assert [302, 302] == statuses
    assert "cookie" not in server.heads[1].lower()


def test_a_stream_left_early_closes_its_connection():
    """What was not read is not left lying in the pool."""

    async def main():
        async with Server(HEAD + b"Content-Length: 1000\r\n\r\nabc") as server, client_of() as client:
            for _ in range(2):
                async with client.stream("GET", server.url):
                    pass
            return len(server.tasks)

    assert 2 == run(main())


def test_closing_a_client_leaves_the_connections():
    """The hot path shares them."""

    async def main():
        async with Server(OK) as server:
            http = Http()
            async with http.client() as client:
                await client.get(server.url)
            answer = await http.post(route(server.url, {}, None), b"{}")
            await http.close()
            return answer, len(server.tasks)

    answer, connections = run(main())

    assert (b"ok", 1) == (answer.body, connections)
