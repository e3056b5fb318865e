"""Converse's images and documents: a block looked at, or refused in AWS's words."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from . import media
from .media import Seen
from .openai import Rejected, error

MOST_DOCUMENTS = 5
_MOST_BYTES = 4_500_000
_FORMATS = ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")
_NAME = re.compile(r"(?!.*\s\s)[a-zA-Z0-9\s()\[\]-]{1,200}")


def seen(block: Mapping[str, Any], where: str, role: str) -> Seen | None:
    """Return what is seen of a block; None where it shows nothing.

    Raises:
        Rejected: the provider would answer 400.
    """
    kind = next((kind for kind in ("image", "document") if kind in block), None)
    if kind is None:
        return None
    if role != "user":
        _reject(f"The {kind} content block is only allowed for the user role.")
    shown = block[kind]
    if not isinstance(shown, dict) or not isinstance(shown.get("source"), dict) or len(shown["source"]) != 1:
        _reject(f"The {kind} content block at '{where}' needs a format and one source")
    if kind == "document":
        return _document(shown, where)
    content = _bytes(shown, where)
    found = media.media_type(content)
    if shown.get("format") not in [one.removeprefix("image/") for one in media.IMAGES]:
        _reject(f"Value at '{where}.image.format' must satisfy enum value set: [png, jpeg, gif, webp]")
    if found != f"image/{shown['format']}":
        _reject("Could not process image")
    return media.seen_bytes(content, found)


def _document(shown: Mapping[str, Any], where: str) -> Seen:
    if not isinstance(shown.get("name"), str) or not _NAME.fullmatch(shown["name"]):
        _reject(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, "
            "parentheses, and square brackets. The name can't contain more than one consecutive whitespace character."
        )
    if shown.get("format") not in _FORMATS:
        _reject(f"Value at '{where}.document.format' must satisfy enum value set: [{', '.join(_FORMATS)}]")
    is_pdf = shown["format"] == "pdf"
    if "text" in shown["source"] and not is_pdf:
        return media.seen_bytes(str(shown["source"]["text"]).encode("utf-8", "surrogatepass"), media.TEXT)
    content = _bytes(shown, where)
    if is_pdf != (media.media_type(content) == media.PDF):
        _reject("The PDF specified was not valid." if is_pdf else "The document file is not of its format.")
    if not is_pdf and len(content) > _MOST_BYTES:
        _reject("The document file size exceeds the maximum of 4.5 MB.")
    return media.seen_bytes(content, media.PDF if is_pdf else media.TEXT)


def _bytes(shown: Mapping[str, Any], where: str) -> bytes:
    if "bytes" not in shown["source"]:
        _reject(f"The source at '{where}' is no bytes; the simulator has no S3")
    content = media.decoded(shown["source"]["bytes"])
    if content is None:
        _reject(f"Value at '{where}.source.bytes' is no valid base64")
    return content


def check(blocks: list[list[Mapping[str, Any]]]) -> None:
    """Refuse documents that are too many, alone in their turn, or of one name.

    Args:
        blocks: those of each turn.

    Raises:
        Rejected: the provider would answer 400.
    """
    for turn in blocks:
        if any("document" in block for block in turn) and not any("text" in block for block in turn):
            _reject("A text block is required in a message that has a document.")
    names = [block["document"]["name"] for turn in blocks for block in turn if "document" in block]
    if len(names) > MOST_DOCUMENTS:
        _reject(f"Too many documents: {len(names)}, the maximum is {MOST_DOCUMENTS}.")
    if len(set(names)) < len(names):
        _reject("Messages contain duplicate document names.")


def _reject(message: str) -> NoReturn:
    raise Rejected(error(400, message))
