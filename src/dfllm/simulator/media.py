"""Images and files, as far as a provider looks at them: what they are and cost, and what echo says of them."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

#: What an image counts for, whatever its size: what the providers take for one in low detail. And what a file does.
IMAGE_TOKENS = 85
FILE_TOKENS = 1_000

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
PDF = "application/pdf"
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Seen:
    """One image or file of a question.

    Attributes:
        said: what echo says of it: its type, size and hash, or its address.
        mark: what stands for it where beginnings of prompts are compared.
        tokens: what it costs to read.
    """

    said: str
    mark: bytes
    tokens: int


def media_type(content: bytes) -> str | None:
    """Return the type of an image or a file by its bytes, None where it is of another."""
    for start, kind in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", PDF),
    ):
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    try:
        return TEXT if "\0" not in content.decode() else None
    except UnicodeDecodeError:
        return None


def decoded(data: object) -> bytes | None:
    """Return the bytes of base64, None where it is broken or empty."""
    try:
        return base64.b64decode(str(data), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def seen_bytes(content: bytes, kind: str) -> Seen:
    """Return what is seen of an image or a file."""
    digest = hashlib.sha256(content).digest()
    said = f"[{kind} {len(content)} bytes {digest.hex()[:8]}]"
    return Seen(said, digest, IMAGE_TOKENS if kind in IMAGES else FILE_TOKENS)


def seen_address(url: str, what: str) -> Seen:
    """Return what is seen of an address: nothing is fetched here."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()
    return Seen(f"[{what} {url}]", digest, IMAGE_TOKENS if what == "image" else FILE_TOKENS)
