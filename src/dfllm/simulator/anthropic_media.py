"""Anthropic's images and documents: a block looked at, or refused in the vendor's words."""

from collections.abc import Mapping
from typing import Any, NoReturn

from . import media
from .media import Seen
from .openai import Rejected, error

MOST_BYTES = 32 * 10**6
_MOST_IMAGE_BYTES = 10 * 2**20
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def seen(block: Mapping[str, Any], where: str, role: str) -> Seen | None:
    """Return what is seen of a block; None where it shows nothing.

    Raises:
        Rejected: the provider would answer 400.
    """
    kind = block["type"]
    if kind not in ("image", "document"):
        return None
    if role != "user":
        _reject(f"{where}: {kind} blocks are not permitted in {role} messages")
    source = block.get("source")
    form = source.get("type") if isinstance(source, dict) else None
    if form == "url" and isinstance(source, dict):
        if not str(source.get("url")).startswith("https://"):
            _reject(f"{where}.{kind}.source.url: Only HTTPS URLs are supported.")
        return media.seen_address(source["url"], "image" if kind == "image" else "file")
    if kind == "document" and form == "text" and isinstance(source, dict):
        if source.get("media_type") != media.TEXT or not str(source.get("data")).strip():
            _reject(f"{where}.document.source.text.media_type: Input should be 'text/plain'")
        return media.seen_bytes(str(source["data"]).encode("utf-8", "surrogatepass"), media.TEXT)
    if form != "base64" or not isinstance(source, dict):
        _reject(f"{where}.{kind}.source: Input tag does not match any of the expected tags: 'base64', 'url', 'file'")
    return _of_bytes(source, f"{where}.{kind}.source.base64", _IMAGES if kind == "image" else (media.PDF,))


def _of_bytes(source: Mapping[str, Any], where: str, kinds: tuple[str, ...]) -> Seen:
    named, data = source.get("media_type"), source.get("data")
    if named not in kinds:
        _reject(f"{where}.media_type: Input should be {' or '.join(map(repr, kinds))}")
    content = media.decoded(data)
    if content is None:
        _reject(f"{where}: invalid base64 data")
    found = media.media_type(content)
    if kinds == (media.PDF,):
        if found != media.PDF:
            _reject("The PDF specified was not valid.")
    elif found not in _IMAGES:
        _reject(f"{where}.data: Could not process image")
    elif found != named:
        _reject(f"{where}.data: Image does not match the provided media type {named}")
    elif len(str(data)) > _MOST_IMAGE_BYTES:
        _reject(f"{where}: image exceeds 10 MB maximum: {len(str(data))} bytes > {_MOST_IMAGE_BYTES} bytes")
    return media.seen_bytes(content, str(found))


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))
