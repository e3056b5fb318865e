"""Pictures: cells with images or files to what is sent. Paths are read here, URLs fetched only where that is asked for.

A cell may come from anybody. So only an image or a PDF leaves by its path, and plain text where the path is no text
itself but a `pathlib.Path`, which a program made and no table. An address is passed on as it is. Where it is to be
fetched, that is done like a stranger from the open internet would: https, no redirects, no key, and only at an address
that is public, looked up once and then connected to, so that a name cannot lead to one's own network.
"""

from __future__ import annotations

import io
import ipaddress
import os
import socket
import stat
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfllm._core import files, images
from dfllm._core.images import Unfit, is_address

_SECONDS = 30.0
AT_ONCE = 8

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


class Sort(NamedTuple):
    """What is to be read.

    Attributes:
        kind: what it is called.
        most_bytes: the most it may have.
        url: from its bytes, and whether a text led to them, to a data URL; raises Unfit.
        address: from a URL to the one that goes out; raises Unfit.
        accept: what is said to a server to be wanted.
    """

    kind: str
    most_bytes: int
    url: Callable[..., str]
    address: Callable[[str], str]
    accept: str

    @property
    def over(self) -> Unfit:
        """What is said of one that is too large."""
        most, unit = (
            (self.most_bytes >> 20, "MiB") if self.most_bytes % 2**20 == 0 else (self.most_bytes // 10**6, "MB")
        )
        return Unfit(f"{self.kind} of over {most} {unit}")


IMAGES = Sort("image", images.MOST_BYTES, images.data_url, images.address, "image/*")
FILES = Sort("file", files.MOST_BYTES, files.file_url, files.file_address, "application/pdf, text/plain")


class Pictures:
    """Reads cells with images, or with files.

    Args:
        sort: which of them.
        fetch: whether https URLs are fetched here and sent as bytes, instead of passed on.
        resolve: looks a host up.
        public: whether an address may be connected to.
        ports: those that may be.
        trust: what certificates are checked with; None is the usual.
    """

    def __init__(
        self,
        sort: Sort = IMAGES,
        *,
        fetch: bool,
        resolve: Resolve = resolved,
        public: Callable[[str], bool] = is_public,
        ports: Collection[int] = (443,),
        trust: Any = None,
    ) -> None:
        self._sort = sort
        self._fetch = fetch
        self._resolve = resolve
        self._public = public
        self._ports = ports
        self._trust = trust

    def one(self, cell: Any) -> str:
        """Return what a cell shows as a URL.

        Raises:
            Unfit: it cannot be sent, and why.
        """
        sort = self._sort
        if isinstance(cell, str):
            if is_address(cell):
                url = sort.address(cell)
                return sort.url(self._fetched(url)) if self._fetch and not url.startswith("data:") else url
            return sort.url(self._file(Path(cell)), is_named=True)
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return sort.url(bytes(cell))
        if isinstance(cell, os.PathLike):
            return sort.url(self._file(Path(cell)))
        if sort is IMAGES and hasattr(cell, "save") and hasattr(cell, "getbands"):
            # A picture of Pillow's, which need not be installed.
            written = io.BytesIO()
            cell.save(written, "PNG")
            return sort.url(written.getvalue())
        raise Unfit(f"{type(cell).__name__} is no {sort.kind}, path or URL")

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
            raise Unfit(f"{self._sort.kind} cannot be fetched: its host has no address") from None
        if not found or not all(map(self._public, found)):
            raise Unfit("address not allowed: it is not public")
        try:
            return self._download(asked.copy_with(host=found[0]), host)
        except httpx.HTTPError as error:
            raise Unfit(f"{self._sort.kind} cannot be fetched: {type(error).__name__}") from None

    def _download(self, url: Any, host: str) -> bytes:
        """Read it from the very address that was looked at, its certificate checked for the host's name."""
        import httpx

        options: dict[str, Any] = {} if self._trust is None else {"verify": self._trust}
        with httpx.Client(follow_redirects=False, trust_env=False, timeout=_SECONDS, **options) as client:
            headers = {"Host": host, "User-Agent": "dfllm", "Accept": self._sort.accept, "Accept-Encoding": "identity"}
            with client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as answer:
                if answer.status_code != 200:
                    raise Unfit(f"{self._sort.kind} cannot be fetched: http {answer.status_code}")
                content = bytearray()
                for piece in answer.iter_raw():
                    content += piece
                    if len(content) > self._sort.most_bytes:
                        raise self._sort.over
        return bytes(content)

    def _file(self, path: Path) -> bytes:
        """Return what a file holds, if it is one; a pipe or a device would never end."""
        try:
            # A pipe planted under that name must not make us wait.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(path.expanduser(), flags), "rb") as stream:
                found = os.fstat(stream.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise Unfit("path that is no file")
                if found.st_size > self._sort.most_bytes:
                    raise self._sort.over
                content: bytes = stream.read(self._sort.most_bytes + 1)
                return content
        except OSError as error:
            called = "image file" if self._sort is IMAGES else "file"
            raise Unfit(f"{called} cannot be read: {error.strerror or type(error).__name__}") from None
        except Unfit:
            raise
        except ValueError:  # a NUL, say
            raise Unfit(f"no path, URL or {self._sort.kind}") from None
