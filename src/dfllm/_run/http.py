"""The one hand that touches the network: a body to a route, an answer back, and httpx over the same sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple

import aiohttp
import httpx

from dfllm._run.http_body import BodyLimits, is_delimited, whole
from dfllm._run.http_deadlines import Deadlines
from dfllm._run.http_descriptors import allow_descriptors
from dfllm._run.http_direct import Reply
from dfllm._run.http_route import Route, route
from dfllm._run.http_sending import Sending
from dfllm._run.http_sockets import ENGINE_ERRORS, Sockets, translated
from dfllm._run.http_transport import AiohttpTransport

__all__ = ["AiohttpTransport", "Answer", "Http", "Route", "allow_descriptors", "route"]


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status: the HTTP status; redirects are not followed, so it may be 3xx.
        headers: looked up in any case.
        body: unpacked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """The connections of one event loop, in which it is made, used and closed."""

    def __init__(
        self,
        *,
        timeout_seconds: float = 600.0,
        connect_seconds: float = 10.0,
        most_bytes: int = 64 * 2**20,
        most_ratio: int = 100,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            timeout_seconds: from the call to the last byte of the answer.
            connect_seconds: for name, connection and TLS together.
            most_bytes: of an answer's unpacked body.
            most_ratio: of an answer's unpacked to its packed body.
            trust: whose certificates count; by default certifi's authorities and the system's.
        """
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = connect_seconds
        self._most_bytes = most_bytes
        self._limits = BodyLimits(most_bytes, most_ratio)
        self._deadlines = Deadlines(asyncio.get_running_loop())
        self._sockets = Sockets(connect_seconds, trust)
        self._is_closed = False

    async def close(self) -> None:
        """Close every connection; whoever still waits gets `httpx.ReadError`."""
        self._is_closed = True
        self._deadlines.close()
        await self._sockets.close()

    async def post(self, route: Route, body: bytes, timeout_seconds: float | None = None) -> Answer:
        """Send the body and return the whole answer, whatever its status.

        Args:
            route: where to, with the key.
            body: JSON, ready to send.
            timeout_seconds: from now to the last byte; None is the default.

        Raises:
            httpx.RequestError: there is no whole answer; `failure_of` tells what that means for the row.
        """
        timeout = None
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        if seconds < self._connect_seconds:
            timeout = aiohttp.ClientTimeout(connect=seconds)
        sending = Sending(body)
        self._deadlines.watch(sending, seconds)
        response = None
        trouble: httpx.RequestError
        try:
            response = await self._sockets.ask(route, sending, timeout)
            return await self._read(response, sending)
        except ENGINE_ERRORS as error:
            trouble = translated(error, sending, seconds, response)
        except httpx.RequestError as error:
            trouble = error.with_traceback(None)
        finally:
            self._deadlines.leave(sending)
            if response is not None and not response.closed:
                response.close()
            response = None
        # Raised out here, so that nothing of the engine hangs on it, nor on our frame: it holds the headers.
        raise trouble

    def client(
        self,
        route: Route | None = None,
        *,
        timeout_seconds: float = 60.0,
        most_bytes: int | None = 64 * 2**20,
    ) -> httpx.AsyncClient:
        """Return plain httpx over the same connections, for listings, files and downloads.

        It follows no redirect, keeps no cookie and reads no proxy or netrc setting.

        Args:
            route: whose headers, the key's among them, go with requests to its own host, and to no other.
            timeout_seconds: the longest silence; a download may take longer in all.
            most_bytes: of an answer's unpacked body; None for downloads that go to disk piece by piece.
        """
        return httpx.AsyncClient(
            transport=AiohttpTransport(self._sockets, route, self._limits._replace(most_bytes=most_bytes)),
            timeout=httpx.Timeout(timeout_seconds, connect=min(self._connect_seconds, timeout_seconds)),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
        )

    async def _read(self, response: aiohttp.ClientResponse | Reply, sending: Sending) -> Answer:
        content, headers = response.content, response.headers
        if content.is_eof() and "Content-Encoding" not in headers and content.total_bytes <= self._most_bytes:
            # It came in one piece, as nearly all do. Nobody else has run since, so the connection can be asked.
            body = content.read_nowait()
            if sending.has_more_answers():
                raise httpx.RemoteProtocolError("more answers than questions")
        else:
            body = await self._body(response)
            if sending.late or sending.was_reset(response) or (self._is_closed and not is_delimited(response)):
                # A body that ends where the connection does cannot tell that it was cut.
                raise aiohttp.ClientPayloadError
        return Answer(response.status, headers, body)

    async def _body(self, response: aiohttp.ClientResponse | Reply) -> bytes:
        try:
            return await whole(response, self._limits)
        except httpx.DecodingError:
            if response.status < 300:
                raise
            # An error's status says enough, and is judged by it; only an answer that was paid for needs its body.
            response.close()
            return b""
