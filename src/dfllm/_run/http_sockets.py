"""The sockets: aiohttp's connections, one pool for an event loop, and its errors in httpx's words."""

from __future__ import annotations

import os
import socket
import ssl
import weakref
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Any, Final

import aiohttp
import httpx
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from dfllm._run.http_direct import Asking, Reply, fits
from dfllm._run.http_errors import BodyCut, Late
from dfllm._run.http_route import Route
from dfllm._run.http_sending import Sending

#: Everything the engine raises for a failed exchange; asyncio's cancellation is not among it and passes through.
ENGINE_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError)

#: Idle connections are dropped after this. Servers that drop them first (uvicorn and node: 5 s) leave us with requests
#: of which nobody can tell whether they were read.
_IDLE_SECONDS: Final = 4.0

#: Some gateways send policies longer than the engine's 8 KiB in one header; they are no reason to lose an answer.
_MOST_HEADER_BYTES: Final = 64 * 1024

#: Runs under way whose heads are kept; more are written again.
_MOST_ROUTES: Final = 64

_open: Final[weakref.WeakSet[Sockets]] = weakref.WeakSet()
_of_the_parent: Final[list[Sockets]] = []


class Sockets:
    """The connections of one event loop; made inside it, closed inside it."""

    def __init__(self, connect_seconds: float, trust: ssl.SSLContext | None = None) -> None:
        self._trust = trust or _trust()
        self._timeout = aiohttp.ClientTimeout(connect=connect_seconds)
        self._pooled = self._session(keepalive_timeout=_IDLE_SECONDS)
        self._fresh = self._session(force_close=True)
        self._asked: dict[int, Asking] = {}
        _open.add(self)

    async def close(self) -> None:
        """Close every connection; whoever waits on one gets an error."""
        self._asked.clear()
        await self._pooled.close()
        await self._fresh.close()

    async def ask(
        self, route: Route, body: Sending, within: aiohttp.ClientTimeout | None = None
    ) -> aiohttp.ClientResponse | Reply:
        """Post a question, as `begin` does, the short way where the engine has it.

        Raises:
            aiohttp.ClientError, OSError: see `translated`.
            HttpProcessingError: the answer is not proper HTTP.
        """
        if not fits():
            return await self.begin("POST", route.url, route.headers, body, within)
        for asking in self._asking(route):
            try:
                return await asking.exchange(body, within or self._timeout)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                left = body.sent or body.late
                if left or asking.is_last or isinstance(error, aiohttp.ClientConnectorError):
                    raise
        raise aiohttp.ServerDisconnectedError

    def _asking(self, route: Route) -> Iterator[Asking]:
        """Yield the way over pooled connections, and then the last one; hardly any request comes to that."""
        found = self._asked.get(id(route))
        if found is None or found.route is not route:
            if len(self._asked) >= _MOST_ROUTES:
                self._asked.clear()
            found = Asking(route, self._pooled, is_last=False, most_header_bytes=_MOST_HEADER_BYTES)
            self._asked[id(route)] = found
        yield found
        yield Asking(route, self._fresh, is_last=True, most_header_bytes=_MOST_HEADER_BYTES)

    async def begin(
        self,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: Sending | AsyncIterable[bytes] | None,
        within: aiohttp.ClientTimeout | None = None,
        skip_auto_headers: Iterable[str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return its answer's head; redirects are answers and not followed.

        A pooled connection may be dead without our knowing. Where the request certainly never left (`Sending.sent`),
        it is sent once more on a new connection and nobody hears of it: no server can see it twice. Where the
        connection broke later, the server may have read it, so it is an error and stays *maybe*: a reset that met our
        bytes on the way looks just like a crash after the model was run.

        Raises:
            aiohttp.ClientError, OSError: see `translated`.
        """
        for session in (self._pooled, self._fresh):
            try:
                response = await session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=within or self._timeout,
                    skip_auto_headers=skip_auto_headers,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                left = not isinstance(body, Sending) or body.sent or body.late
                if left or session is self._fresh or isinstance(error, aiohttp.ClientConnectorError):
                    raise
            else:
                if not isinstance(body, Sending) or body.sent:
                    return response
                # Taken from the connection before the question was on it: somebody else's answer.
                response.close()
        raise aiohttp.ServerDisconnectedError

    def _session(self, **options: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # how many are in flight is paced elsewhere
                ssl=self._trust,
                resolver=aiohttp.ThreadedResolver(),  # the system's own, so that /etc/hosts and VPNs count
                socket_factory=_socket,
                **options,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=self._timeout,
            max_field_size=_MOST_HEADER_BYTES,
        )


def translated(
    error: BaseException, body: Sending | None, seconds: float, response: aiohttp.ClientResponse | Reply | None = None
) -> httpx.TransportError:
    """Return the httpx exception that means what the engine's error means.

    It is new and holds nothing of the engine's: neither frames, whose locals are our headers, nor texts, which quote
    the URL. What the system said (`OSError`, `ssl.SSLError`) is its cause, for `failure_of` to read.

    Args:
        error: one of `ENGINE_ERRORS`.
        body: what was sent; None where that is not known, which counts as sent.
        seconds: the time the request had.
        response: the answer, where one had begun.
    """
    sent = body is None or body.sent
    if body is not None and body.late:
        return Late(seconds, begun=response is not None) if sent else httpx.ConnectTimeout("no connection in time")
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _because(httpx.ConnectError("certificate not accepted"), error.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            # Resolvers differ in what they raise; for us it is one thing.
            return _because(
                httpx.ConnectError("name does not resolve"), socket.gaierror(socket.EAI_NONAME, "name does not resolve")
            )
        case aiohttp.ClientConnectorError():
            return _because(httpx.ConnectError("no connection"), error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("no connection in time")
        case TimeoutError():
            return httpx.ReadTimeout("no answer in time")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol("address not allowed")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return httpx.RemoteProtocolError("the answer is not proper HTTP")
    if response is not None:
        return BodyCut(response.content.total_bytes)
    return httpx.ReadError("no answer came") if sent else httpx.WriteError("connection lost while sending")


def _because(error: httpx.TransportError, cause: BaseException) -> httpx.TransportError:
    cause = cause.with_traceback(None)
    cause.__context__ = None
    error.__cause__ = cause
    return error


def _leave_to_the_parent() -> None:
    # A fork shares the parent's epoll. Were these collected in the child, the engine would close them, and that takes
    # the parent's connections out of its own poll: their answers would never be noticed.
    _of_the_parent.extend(_open)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _trust() -> ssl.SSLContext:
    # httpx's authorities (certifi's, or what SSL_CERT_FILE names) and the system's own, where companies put theirs.
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that keeps quiet connections alive.

    A model may think for ten minutes; some routers forget a connection that says nothing for five, and the paid answer
    is lost. The figures are those of the providers' own clients.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
