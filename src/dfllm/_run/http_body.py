"""Bodies of answers: read and unpacked piece by piece, never beyond what we take.

The engine hands over bytes as they came, so that a body of a few kilobytes cannot become gigabytes before anyone looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
import httpx
from aiohttp.http import HttpProcessingError

from dfllm._run.http_errors import TooBig

if TYPE_CHECKING:
    from dfllm._run.http_direct import Reply

#: A piece of unpacked body; what one look at the limits may cost at most.
_PIECE_BYTES: Final = 256 * 1024

#: Below this no ratio is unfair: a short answer of one repeated word packs 1000 to 1 and harms nobody.
_HARMLESS_BYTES: Final = 1024 * 1024

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_HEAD: Final = b"\x1f\x8b"


class BodyLimits(NamedTuple):
    """How much of a body we take.

    Attributes:
        most_bytes: of the unpacked body; None is no limit, for downloads that go to disk.
        most_ratio: of unpacked to packed bytes.
    """

    most_bytes: int | None
    most_ratio: int

    def check(self, unpacked: int, packed: int) -> None:
        """Raise TooBig where the body so far is beyond the limits."""
        if self.most_bytes is not None and unpacked > self.most_bytes:
            mebibytes = self.most_bytes / 2**20
            raise TooBig(f"over {mebibytes:g} MiB" if mebibytes >= 1 else f"over {self.most_bytes} bytes")
        if unpacked > _HARMLESS_BYTES and unpacked > self.most_ratio * packed:
            raise TooBig(f"packed tighter than {self.most_ratio} to 1")


class Unpacker:
    """Takes a body in packed pieces and gives it in unpacked ones."""

    def __init__(self, encoding: str, limits: BodyLimits) -> None:
        codings = [word for part in encoding.lower().split(",") if (word := part.strip()) not in ("", "identity")]
        if codings not in ([], ["gzip"], ["x-gzip"], ["deflate"]):
            raise httpx.DecodingError("packed in a way we did not ask for")
        self._coding = codings[0].removeprefix("x-") if codings else ""
        self._limits = limits
        self._zlib: zlib._Decompress | None = None
        self._early = b""
        self.packed_bytes = 0
        self.unpacked_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece unpacks to.

        Raises:
            TooBig: the body is beyond the limits.
            DecodingError: the body cannot be unpacked.
        """
        self.packed_bytes += len(data)
        if not self._coding:
            self.unpacked_bytes += len(data)
            self._limits.check(self.unpacked_bytes, self.packed_bytes)
            yield data
            return
        data, self._early = self._early + data, b""
        try:
            yield from self._unpack(data)
        except zlib.error as error:
            raise httpx.DecodingError("body does not unpack") from error

    def end(self) -> None:
        """Say that the body is over.

        Raises:
            DecodingError: it is over too early.
        """
        if self.packed_bytes and self._coding and not (self._zlib is not None and self._zlib.eof):
            raise httpx.DecodingError("packed body is cut")

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        if self._zlib is None:
            if len(data) < 2:
                self._early = data
                return
            self._zlib = zlib.decompressobj(_GZIP if self._coding == "gzip" else _deflate_bits(data))
        while True:
            if self._zlib.eof:
                # A gzip body may be several, one behind the other; anything else behind the end is padding.
                if self._coding != "gzip" or data[:2] != _GZIP_HEAD:
                    self._early = data if data == _GZIP_HEAD[:1] else b""
                    return
                self._zlib = zlib.decompressobj(_GZIP)
            piece = self._zlib.decompress(data, _PIECE_BYTES)
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            self.unpacked_bytes += len(piece)
            self._limits.check(self.unpacked_bytes, self.packed_bytes - len(data))
            if piece:
                yield piece
            # A full piece may leave output inside with no input left to call for it.
            if not data and len(piece) < _PIECE_BYTES:
                return


def is_delimited(response: aiohttp.ClientResponse | Reply) -> bool:
    """Whether an answer says where its body ends; if not, that is where the connection does."""
    return response.content_length is not None or "Transfer-Encoding" in response.headers


async def pieces(response: aiohttp.ClientResponse | Reply, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the body of an answer, unpacked, while it arrives.

    Raises:
        TooBig: it is beyond the limits, by its own word before the first byte or as it comes.
        DecodingError: it cannot be unpacked.
        aiohttp.ClientError: the connection failed.
    """
    unpacker = _unpacker(response, limits)
    with _woken_at_the_end(response):
        while data := await response.content.readany():
            for piece in unpacker.feed(data):
                yield piece
    unpacker.end()


async def whole(response: aiohttp.ClientResponse | Reply, limits: BodyLimits) -> bytes:
    """Return the body of an answer, unpacked; raises what `pieces` raises."""
    unpacker = _unpacker(response, limits)
    found: list[bytes] = []
    with _woken_at_the_end(response):
        if response.content_length is not None and "Content-Encoding" not in response.headers:
            return await response.content.read()  # the parser takes no byte more than announced
        while data := await response.content.readany():
            found.extend(unpacker.feed(data))
    unpacker.end()
    return b"".join(found)


@contextlib.contextmanager
def _woken_at_the_end(response: aiohttp.ClientResponse | Reply) -> Iterator[None]:
    """Make sure that whoever reads the body wakes when the connection ends.

    Where a body's framing breaks, aiohttp 3.14 closes the connection and tells nobody: its parser has let go of the
    body by then, and a read waits for ever.
    """
    content, connection = response.content, response.connection
    protocol = None if connection is None else connection.protocol
    closed = None if protocol is None or content.is_eof() else protocol.closed
    if protocol is None or closed is None:
        yield
        return

    def wake(ended: asyncio.Future[None]) -> None:
        if content.is_eof() or content.exception() is not None:
            return
        if isinstance(protocol.exception(), HttpProcessingError):
            content.set_exception(HttpProcessingError())
        else:
            content.set_exception(aiohttp.ClientPayloadError())

    # The future lives as long as its connection. Somebody has to look at what it ends with, or asyncio complains.
    closed.remove_done_callback(_look)
    closed.add_done_callback(_look)
    closed.add_done_callback(wake)
    try:
        yield
    finally:
        closed.remove_done_callback(wake)


def _look(ended: asyncio.Future[None]) -> None:
    if not ended.cancelled():
        ended.exception()


def _unpacker(response: aiohttp.ClientResponse | Reply, limits: BodyLimits) -> Unpacker:
    announced = response.content_length
    if announced is not None:
        limits.check(announced, announced)
    return Unpacker(response.headers.get("Content-Encoding", ""), limits)


def _deflate_bits(head: bytes) -> int:
    # RFC 9110 means zlib's format by "deflate"; some servers send it bare. zlib's head is 8 and a multiple of 31.
    is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
