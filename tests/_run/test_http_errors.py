"""From httpx exceptions to Failures: what went wrong, and who pays."""

import asyncio
import errno
import socket
import ssl

import httpx
import pytest

from dfllm._run.http_errors import BodyCut, Late, TooBig, failure_of

HOSTILE = "https://user:sk-secret@host/v1?key=sk-secret\n\x1b[31m" + "x" * 500


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """Return the error with its cause."""
    error.__cause__ = cause
    return error


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    """Return what ssl raises for a certificate."""
    error = ssl.SSLCertVerificationError(1, HOSTILE)
    error.verify_code = code
    error.verify_message = HOSTILE
    return error


def tls_error(reason: str) -> ssl.SSLError:
    """Return what ssl raises for a handshake."""
    error = ssl.SSLError(1, HOSTILE)
    error.reason = reason
    return error


CASES = [
    (caused(httpx.ConnectError(HOSTILE), socket.gaierror(-2, HOSTILE)), "ConnectFailed: name does not resolve (free)"),
    (
        caused(httpx.ConnectError(HOSTILE), OSError(errno.ECONNREFUSED, HOSTILE)),
        "ConnectFailed: connection refused (free)",
    ),
    (
        caused(httpx.ConnectError(HOSTILE), OSError(errno.ENETUNREACH, HOSTILE)),
        "ConnectFailed: network unreachable (free)",
    ),
    (caused(httpx.ConnectError(HOSTILE), OSError(HOSTILE)), "ConnectFailed: no connection (free)"),
    (httpx.ConnectError(HOSTILE), "ConnectFailed: no connection (free)"),
    (httpx.ConnectTimeout(HOSTILE), "ConnectFailed: no connection in time (free)"),
    (httpx.PoolTimeout(HOSTILE), "ConnectFailed: no connection in time (free)"),
    (httpx.UnsupportedProtocol(HOSTILE), "ConnectFailed: address or header not allowed (free)"),
    (httpx.InvalidURL(HOSTILE), "ConnectFailed: address or header not allowed (free)"),
    (caused(httpx.ConnectError(HOSTILE), certificate_error(10)), "TlsError: certificate expired (free)"),
    (caused(httpx.ConnectError(HOSTILE), certificate_error(18)), "TlsError: certificate self-signed (free)"),
    (caused(httpx.ConnectError(HOSTILE), certificate_error(62)), "TlsError: certificate for another host (free)"),
    (caused(httpx.ConnectError(HOSTILE), certificate_error(7)), "TlsError: certificate not trusted, code 7 (free)"),
    (
        caused(httpx.ConnectError(HOSTILE), tls_error("WRONG_VERSION_NUMBER")),
        "TlsError: handshake failed: wrong version number (free)",
    ),
    (caused(httpx.ConnectError(HOSTILE), tls_error(HOSTILE)), "TlsError: handshake failed (free)"),
    (httpx.ReadError(HOSTILE), "ConnectionLost: no answer came (maybe)"),
    (httpx.WriteError(HOSTILE), "ConnectionLost: connection lost while sending (maybe)"),
    (BodyCut(812), "ConnectionLost: body cut at 812 bytes (maybe)"),
    (Late(600.0), "Timeout: 600 s (maybe)"),
    (Late(600.0, begun=True), "Timeout: total deadline (maybe)"),
    (httpx.ReadTimeout(HOSTILE), "Timeout: no answer in time (maybe)"),
    (TimeoutError(HOSTILE), "Timeout: no answer in time (maybe)"),
    (TooBig("over 64 MiB"), "BadResponse: over 64 MiB (paid)"),
    (httpx.DecodingError(HOSTILE), "BadResponse: body does not unpack (maybe)"),
    (httpx.RemoteProtocolError(HOSTILE), "BadResponse: the answer is not proper HTTP (maybe)"),
    (httpx.TooManyRedirects(HOSTILE), "ProviderError: unexpected redirect (free)"),
    (asyncio.CancelledError(HOSTILE), "ConnectionLost: no answer came (maybe)"),
    (ValueError(HOSTILE), "ConnectionLost: no answer came (maybe)"),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=lambda case: type(case).__name__)
def test_each_error_has_its_failure(error, expected):
    """The row says what happened and who pays, and quotes nothing that was said by others."""
    assert expected == str(failure_of(error))


def test_every_transport_error_of_httpx_has_a_known_billing():
    """No exception httpx may raise on the way is left without a word on money."""
    kinds = [kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, httpx.RequestError)]

    billings = {kind.__name__: failure_of(kind("x")).billing for kind in kinds}

    assert len(billings) > 15
    assert {"free", "maybe"} == set(billings.values())
    assert "maybe" == billings["TransportError"]
