"""Files: documents that a cell may hold, and what of them goes to the provider. Nothing here reads a file.

What the bytes are decides, never a name. A file goes out as a data URL or as an https address, without a name of its
own, so the same bytes under another name are the same question.
"""

from __future__ import annotations

import base64
import binascii
import re

from dfllm._core.images import Unfit, https

MOST_BYTES = 50 * 10**6
PDF = "application/pdf"
TEXT = "text/plain"

_DATA = re.compile(r"data:[a-z0-9.+/-]*(?:;charset=[a-z0-9-]+)?;base64,([A-Za-z0-9+/=\s]*)\Z", re.IGNORECASE)
#: Control codes that no text has; tabs, line ends and page breaks it may.
_CONTROLS = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f]")


def file_type(content: bytes) -> str | None:
    """Return the type of a file by its bytes: PDF, plain text, or None for any other."""
    if content.startswith(b"%PDF-"):
        return PDF
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return TEXT if text.strip() and not _CONTROLS.search(text) else None


def file_url(content: bytes, *, is_named: bool = False) -> str:
    """Return the data URL of a file's bytes.

    Args:
        content: the bytes.
        is_named: whether a text led to them as a path. Such a text may be a stranger's, and text may hold a secret of
            the machine, so only a PDF leaves then.

    Raises:
        Unfit: they are neither a PDF nor plain text, or too many.
    """
    if len(content) > MOST_BYTES:
        raise Unfit(f"file of over {MOST_BYTES // 10**6} MB")
    kind = file_type(content)
    if kind is None:
        raise Unfit("neither a PDF nor plain UTF-8 text")
    if kind == TEXT and is_named:
        raise Unfit("path to no PDF: a text file goes as pathlib.Path or bytes")
    if kind == TEXT:
        content = content.removeprefix(b"\xef\xbb\xbf")
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def file_address(text: str) -> str:
    """Return a URL as it may go out: https, or a data URL whose bytes are a file that is taken.

    Raises:
        Unfit: it is another one.
    """
    if text[:5].lower() != "data:":
        return https(text, "files are https:// or data: URLs, paths or bytes")
    found = _DATA.match(text)
    if found is None:
        raise Unfit("data URL that is not in base64")
    try:
        return file_url(base64.b64decode("".join(found[1].split()), validate=True))
    except binascii.Error:
        raise Unfit("data URL whose base64 is broken") from None
