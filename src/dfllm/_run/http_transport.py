"""httpx over our sockets: for listings, files and downloads, where httpx's comfort is worth its price."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from dfllm._run.http_body import BodyLimits, pieces
from dfllm._run.http_route import ACCEPT_ENCODING, COMMON_HEADERS, Route, is_allowed
from dfllm._run.http_sending import Sending
from dfllm._run.http_sockets import ENGINE_ERRORS, Sockets, translated

#: What the engine sets by itself, or what would let the other side pack as it likes.
_NOT_PASSED_ON: Final = frozenset({"host", "transfer-encoding", "accept-encoding", "connection", "user-agent"})


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries httpx requests over aiohttp's connections, both ways in a stream.

    Every error becomes the httpx exception that means the same, as `http_errors` lists them. The route's key goes to
    the route's own host and nowhere else; plain http leaves this machine never. Closing it closes no connection.
    """

    def __init__(self, sockets: Sockets, route: Route | None, limits: BodyLimits) -> None:
        self._sockets = sockets
        self._route = route
        self._limits = limits

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return the answer with its body still to come."""
        url = URL(str(request.url), encoded=True)
        if not is_allowed(url):
            raise httpx.UnsupportedProtocol("address not allowed: https, or http to this machine")
        body: Sending | httpx.AsyncByteStream | None
        try:
            body = Sending(request.content) if request.content or request.method not in ("GET", "HEAD") else None
        except httpx.RequestNotRead:
            assert isinstance(request.stream, httpx.AsyncByteStream)
            body = request.stream
        watched = body if isinstance(body, Sending) else None
        allowed = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(connect=allowed.get("connect"), sock_read=allowed.get("read"))
        trouble: httpx.TransportError
        try:
            response = await self._sockets.begin(
                request.method, url, self._headers(request, url), body, timeout, skip_auto_headers=("Content-Type",)
            )
        except ENGINE_ERRORS as error:
            trouble = translated(error, watched, allowed.get("read") or 0.0)
        else:
            return _answer(response, watched, self._limits)
        raise trouble  # out here, so that nothing of the engine hangs on it

    def _headers(self, request: httpx.Request, url: URL) -> CIMultiDict[str]:
        headers = CIMultiDict({"User-Agent": COMMON_HEADERS["User-Agent"], "Accept-Encoding": ACCEPT_ENCODING})
        for name, value in request.headers.multi_items():
            if name not in _NOT_PASSED_ON:
                headers.add(name, value)
        if self._route is not None and self._route.url.origin() == url.origin():
            for name, value in self._route.headers.items():
                if name not in COMMON_HEADERS and name not in headers:
                    headers[name] = value
        return headers


def _answer(response: aiohttp.ClientResponse, sending: Sending | None, limits: BodyLimits) -> httpx.Response:
    # Unpacked here, under the limits, so httpx must not hear that it was packed.
    packed = response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
    hidden = (b"content-encoding", b"content-length") if packed else ()
    return httpx.Response(
        response.status,
        headers=[pair for pair in response.raw_headers if pair[0].lower() not in hidden],
        stream=_Incoming(response, sending, limits),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": (response.reason or "").encode("ascii", "replace")},
    )


class _Incoming(httpx.AsyncByteStream):
    """The body of an answer, as httpx wants it."""

    def __init__(self, response: aiohttp.ClientResponse, sending: Sending | None, limits: BodyLimits) -> None:
        self._response = response
        self._sending = sending
        self._limits = limits

    async def __aiter__(self) -> AsyncIterator[bytes]:
        trouble: httpx.TransportError
        try:
            async for piece in pieces(self._response, self._limits):
                yield piece
            if self._sending is not None and self._sending.was_reset(self._response):
                raise aiohttp.ClientPayloadError
        except ENGINE_ERRORS as error:
            trouble = translated(error, self._sending, 0.0, self._response)
        else:
            return
        raise trouble

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, close it otherwise."""
        self._response.close()
