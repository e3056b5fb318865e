"""Pictures: the cells of image columns to what is sent. Files are read here, URLs fetched only where that is asked for.

A cell may come from anybody. So only images are read, whatever a path says, and an address is passed on as it is. Where
it is to be fetched, that is done like a stranger from the open internet would: https, no redirects, no key, and only at
an address that is public, looked up once and then connected to, so that a name cannot lead to one's own network.
"""

from __future__ import annotations

import io
import ipaddress
import os
import socket
import stat
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dfllm._core.images import MOST_BYTES, Unfit, address, data_url, is_address
from dfllm._core.types import Failure

_SECONDS = 30.0
_AT_ONCE = 8

Resolve = Callable[[str, int], Sequence[str]]


def resolved(host: str, port: int) -> list[str]:
    """Return a host's addresses, by the system's own look-up."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


def is_public(text: str) -> bool:
    """Return whether an address belongs to the open internet, and to no network of one's own or a cloud's."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    if inner is not None and not inner.is_global:
        return False
    if found.version == 6 and found in ipaddress.ip_network("64:ff9b::/96"):
        return False
    return found.is_global and not found.is_multicast


class Pictures:
    """Reads the cells of image columns.

    Args:
        fetch: whether https URLs are fetched here and sent as bytes, instead of passed on.
        resolve: looks a host up.
        public: whether an address may be connected to.
        ports: those that may be.
        trust: what certificates are checked with; None is the usual.
    """

    def __init__(
        self,
        *,
        fetch: bool,
        resolve: Resolve = resolved,
        public: Callable[[str], bool] = is_public,
        ports: Collection[int] = (443,),
        trust: Any = None,
    ) -> None:
        self._fetch = fetch
        self._resolve = resolve
        self._public = public
        self._ports = ports
        self._trust = trust

    def read(self, rows: Sequence[Sequence[tuple[str, Any]]]) -> list[tuple[str, ...] | Failure]:
        """Return each row's images as URLs, or why it cannot be sent.

        Args:
            rows: for each row its image columns' names and cells, None where one is missing.
        """
        if not self._fetch:
            return [self._row(row) for row in rows]
        with ThreadPoolExecutor(_AT_ONCE, "dfllm-images") as pool:
            return list(pool.map(self._row, rows))

    def _row(self, row: Sequence[tuple[str, Any]]) -> tuple[str, ...] | Failure:
        made: list[str] = []
        for column, cell in row:
            for one in cell if isinstance(cell, (list, tuple)) else (cell,):
                try:
                    made.append(self._one(one))
                except Unfit as error:
                    return Failure("BadInput", f"{error} in column {column!r}")
        return tuple(made)

    def _one(self, cell: Any) -> str:
        if isinstance(cell, str):
            if is_address(cell):
                url = address(cell)
                return data_url(self._fetched(url)) if self._fetch and not url.startswith("data:") else url
            return data_url(_file(Path(cell)))
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return data_url(bytes(cell))
        if isinstance(cell, os.PathLike):
            return data_url(_file(Path(cell)))
        if hasattr(cell, "save") and hasattr(cell, "getbands"):  # a picture of Pillow's, which need not be installed
            written = io.BytesIO()
            cell.save(written, "PNG")
            return data_url(written.getvalue())
        raise Unfit(f"{type(cell).__name__} is no image, path or URL")

    def _fetched(self, url: str) -> bytes:
        import httpx

        try:
            asked = httpx.URL(url)
        except httpx.InvalidURL:
            raise Unfit("address not allowed: it is no plain URL") from None
        host, port = asked.host, asked.port or 443
        if port not in self._ports:
            raise Unfit("address not allowed: only port 443 is fetched")
        try:
            found = self._resolve(host, port)
        except OSError:
            raise Unfit("image cannot be fetched: its host has no address") from None
        if not found or not all(map(self._public, found)):
            raise Unfit("address not allowed: it is not public")
        try:
            return self._download(asked.copy_with(host=found[0]), host)
        except httpx.HTTPError as error:
            raise Unfit(f"image cannot be fetched: {type(error).__name__}") from None

    def _download(self, url: Any, host: str) -> bytes:
        """Read the image from the very address that was looked at, its certificate checked for the host's name."""
        import httpx

        options: dict[str, Any] = {} if self._trust is None else {"verify": self._trust}
        with httpx.Client(follow_redirects=False, trust_env=False, timeout=_SECONDS, **options) as client:
            headers = {"Host": host, "User-Agent": "dfllm", "Accept": "image/*", "Accept-Encoding": "identity"}
            with client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as answer:
                if answer.status_code != 200:
                    raise Unfit(f"image cannot be fetched: http {answer.status_code}")
                content = bytearray()
                for piece in answer.iter_raw():
                    content += piece
                    if len(content) > MOST_BYTES:
                        raise Unfit(f"image of over {MOST_BYTES >> 20} MiB")
        return bytes(content)


def _file(path: Path) -> bytes:
    """Return what a file holds, if it is one; a pipe or a device would never end."""
    try:
        # A pipe planted under that name must not make us wait.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path.expanduser(), flags), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Unfit("path that is no file")
            if found.st_size > MOST_BYTES:
                raise Unfit(f"image of over {MOST_BYTES >> 20} MiB")
            content: bytes = stream.read(MOST_BYTES + 1)
            return content
    except OSError as error:
        raise Unfit(f"image file cannot be read: {error.strerror or type(error).__name__}") from None
    except Unfit:
        raise
    except ValueError:  # a NUL, say
        raise Unfit("no path, URL or image") from None
