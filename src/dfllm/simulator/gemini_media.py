"""Gemini's images and files: a part looked at, or refused in the vendor's words."""

from collections.abc import Mapping
from typing import Any, NoReturn

from . import media
from .media import Seen
from .openai import Rejected, error

MOST_BYTES = 100 * 2**20
#: Google's own client writes base64 for URLs, and both are taken.
_STANDARD = str.maketrans("-_", "+/")


def seen(part: Mapping[str, Any], where: str) -> Seen | None:
    """Return what is seen of a part; None where it shows nothing.

    Raises:
        Rejected: the provider would answer 400.
    """
    linked = part.get("fileData", part.get("file_data"))
    if linked is not None:
        uri = linked.get("fileUri", linked.get("file_uri")) if isinstance(linked, dict) else None
        if not isinstance(uri, str) or not uri.startswith("https://"):
            _reject("Invalid or unsupported file uri.")
        is_image = str(linked.get("mimeType", linked.get("mime_type", "image/"))).startswith("image/")
        return media.seen_address(uri, "image" if is_image else "file")
    inline = part.get("inlineData", part.get("inline_data"))
    if inline is None:
        return None
    if not isinstance(inline, dict):
        _reject(f"Invalid value at '{where}.inline_data'")
    named = inline.get("mimeType", inline.get("mime_type"))
    if named not in (*media.IMAGES, media.PDF, media.TEXT):
        _reject(f"Unsupported MIME type: {named}")
    content = media.decoded(str(inline.get("data")).translate(_STANDARD))
    if content is None:
        _reject(f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed.")
    found = media.media_type(content)
    if named in media.IMAGES and found not in media.IMAGES:
        _reject(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide."
        )
    if named == media.PDF and found != media.PDF:
        _reject("The document has no pages.")
    return media.seen_bytes(content, str(named))


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))
