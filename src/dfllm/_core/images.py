"""Images: what a cell may hold, and what of it goes to the provider. Nothing here reads a file or asks a network.

An image goes out as a URL: an https address, which the provider fetches, or a data URL with the bytes. Either is part
of the question's key, so the same bytes under another name are the same question.
"""

from __future__ import annotations

import base64
import binascii
import re

MOST_BYTES = 20 * 2**20
_MOST_URL = 8192

#: no spaces, quotes or control codes, and nothing beyond ASCII: what a URL has once it is written as one
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~%]+")
_DATA = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=\s]+)\Z")


class Unfit(ValueError):
    """A cell that cannot go out as an image; the text says why, and never what is in it."""


def media_type(content: bytes) -> str | None:
    """Return the type of an image by its first bytes, None where it is none that providers take."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None


def data_url(content: bytes, *, is_named: bool = False) -> str:
    """Return the data URL of an image's bytes, however one came by them.

    Raises:
        Unfit: they are no PNG, JPEG, GIF or WebP, or too many.
    """
    if len(content) > MOST_BYTES:
        raise Unfit(f"image of over {MOST_BYTES >> 20} MiB")
    kind = media_type(content)
    if kind is None:
        raise Unfit("no PNG, JPEG, GIF or WebP image")
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def is_address(text: str) -> bool:
    """Return whether a cell's text is meant as a URL and not as a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(?!\\)", text) is not None


def address(text: str) -> str:
    """Return a URL as it may go out: https, or a data URL whose bytes are an image.

    Raises:
        Unfit: it is another one.
    """
    if text[:5].lower() == "data:":
        found = _DATA.match(text)
        if found is None:
            raise Unfit("data URL that is no base64 PNG, JPEG, GIF or WebP image")
        try:
            return data_url(base64.b64decode("".join(found[2].split()), validate=True))
        except binascii.Error:
            raise Unfit("data URL whose base64 is broken") from None
    return https(text, "images are https:// or data: URLs, files or bytes")


def https(text: str, what: str) -> str:
    """Return an https URL as it may go out.

    Args:
        text: the URL.
        what: what to say of others.

    Raises:
        Unfit: it is none, or no plain one.
    """
    if text[:8].lower() != "https://":
        raise Unfit(f"address not allowed: {what}")
    host = text[8:].partition("/")[0]
    if len(text) > _MOST_URL or not host or "@" in host or not _PLAIN.fullmatch(text):
        raise Unfit("address not allowed: it is no plain URL")
    return "https://" + text[8:]
