"""What went wrong on the way, as httpx exceptions, and from those to Failures.

*Free*, *paid* and *maybe* hang on the difference, so each exception has one meaning here:

    ConnectError, ConnectTimeout      no connection: the question was never sent           free
    UnsupportedProtocol, InvalidURL   the address is not allowed: nothing was sent         free
    ReadError, WriteError             the connection went, sent or not: nobody can tell    maybe
    ReadTimeout                       sent, and no whole answer in time                    maybe
    RemoteProtocolError               what came back is no HTTP                            maybe
    TooBig                            an answer came, and it is more than we take          paid
    DecodingError                     an answer came, and cannot be unpacked               maybe

Reasons are in our own words. What the other side, the resolver or the TLS library says is not quoted, so no host,
address or key can be in a reason.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import Final

import httpx

from dfllm._core.types import Failure


class BodyCut(httpx.ReadError):
    """The answer ended before it was whole.

    Attributes:
        received_bytes: how much of its body came.
    """

    def __init__(self, received_bytes: int) -> None:
        super().__init__(f"body cut at {received_bytes} bytes")
        self.received_bytes = received_bytes


class Late(httpx.ReadTimeout):
    """The total deadline passed before the answer was whole.

    Attributes:
        seconds: the time it had.
        begun: whether an answer had begun, as a slow drip does.
    """

    def __init__(self, seconds: float, *, begun: bool = False) -> None:
        super().__init__("total deadline" if begun else f"{seconds:g} s")
        self.seconds = seconds
        self.begun = begun


class TooBig(httpx.DecodingError):
    """The answer's body is over what we take, in size or in how tightly it is packed."""


_BY_ERRNO: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ENETDOWN: "network down",
    errno.EHOSTDOWN: "host down",
    errno.ETIMEDOUT: "the host does not answer",
    errno.EADDRNOTAVAIL: "no free local port",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EACCES: "not permitted on this machine",
    errno.EPERM: "not permitted on this machine",
}

# https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_BY_VERIFY_CODE: Final = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "certificate self-signed",
    19: "certificate self-signed",
    20: "certificate from an unknown authority",
    21: "certificate from an unknown authority",
    23: "certificate revoked",
    62: "certificate for another host",
    64: "certificate for another host",
}


def failure_of(error: BaseException) -> Failure:
    """Return what an exception of an HTTP exchange means for its row.

    Where it cannot be told whether the question was sent, it is taken as sent: *maybe*.
    """
    match error:
        case TooBig():
            return Failure("BadResponse", str(error), "paid")
        case httpx.DecodingError():
            return Failure("BadResponse", "body does not unpack", "maybe")
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failure("ConnectFailed", "no connection in time", "free")
        case Late():
            return Failure("Timeout", str(error), "maybe")
        case httpx.TimeoutException() | TimeoutError():
            return Failure("Timeout", "no answer in time", "maybe")
        case httpx.ConnectError() | httpx.ProxyError():
            return _unconnected(error.__cause__)
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | httpx.LocalProtocolError():
            return Failure("ConnectFailed", "address or header not allowed", "free")
        case httpx.RemoteProtocolError():
            return Failure("BadResponse", "the answer is not proper HTTP", "maybe")
        case httpx.TooManyRedirects():
            return Failure("ProviderError", "unexpected redirect", "free")
        case BodyCut():
            return Failure("ConnectionLost", str(error), "maybe")
        case httpx.WriteError():
            return Failure("ConnectionLost", "connection lost while sending", "maybe")
        case _:
            return Failure("ConnectionLost", "no answer came", "maybe")


def _unconnected(cause: BaseException | None) -> Failure:
    match cause:
        case ssl.SSLCertVerificationError():
            code = getattr(cause, "verify_code", 0)
            return Failure("TlsError", _BY_VERIFY_CODE.get(code, f"certificate not trusted, code {code}"), "free")
        case ssl.SSLError():
            word = cause.reason if re.fullmatch(r"[A-Z0-9_ ]{1,60}", cause.reason or "") else None
            said = f": {word.replace('_', ' ').lower()}" if word else ""
            return Failure("TlsError", f"handshake failed{said}", "free")
        case socket.gaierror():
            return Failure("ConnectFailed", "name does not resolve", "free")
        case OSError():
            return Failure("ConnectFailed", _BY_ERRNO.get(cause.errno or 0, "no connection"), "free")
        case _:
            return Failure("ConnectFailed", "no connection", "free")
