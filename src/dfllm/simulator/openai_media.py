"""OpenAI's images and files: those of a question, looked at, or refused in the vendor's words."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from . import media
from .media import Seen
from .openai import Rejected, error

_MOST_IMAGE_BYTES = 20 * 2**20
_PARTS = ("text", "image_url", "input_audio", "refusal", "audio", "file")


def seen_in(messages: Sequence[Mapping[str, Any]], *, more_files: bool = False) -> list[list[Seen]]:
    """Return what is seen in each message.

    Args:
        messages: of a chat completion, read and found to be messages.
        more_files: whether text files and addresses of files are taken, as Responses does.

    Raises:
        Rejected: the provider would answer 400.
    """
    seen: list[list[Seen]] = []
    for place, message in enumerate(messages):
        content = message.get("content")
        seen.append([])
        for number, part in enumerate(content if isinstance(content, list) else ()):
            where = f"messages[{place}].content[{number}]"
            kind = part["type"]
            if kind not in _PARTS:
                names = ", ".join(map(repr, _PARTS))
                _reject(f"Invalid value: '{kind}'. Supported values are: {names}.", f"{where}.type", "invalid_value")
            if kind not in ("image_url", "file"):
                continue
            if message["role"] != "user":
                what = f"this message with role '{message['role']}' contains one"
                _reject(
                    f"Invalid '{where}'. Images and files are only allowed for messages with role 'user', but {what}.",
                    where,
                    "invalid_value",
                )
            look = _image if kind == "image_url" else _file
            seen[-1].append(look(part.get(kind), f"{where}.{kind}", more_files))
    return seen


def _reject(message: str, param: str, code: str) -> NoReturn:
    raise Rejected(error(400, message, param=param, code=code))


def _image(shown: Any, where: str, more_files: bool) -> Seen:  # noqa: FBT001  # as `_file` has it
    url = shown.get("url") if isinstance(shown, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:")):
        _reject(f"Invalid '{where}.url'. Expected a URL or a data URL of an image.", where, "invalid_image_url")
    if not url.startswith("data:"):
        return media.seen_address(url, "image")
    head, mark, data = url.partition(";base64,")
    if not head.startswith("data:image/"):
        _reject("Invalid MIME type. Only image types are supported.", where, "invalid_image_format")
    content = media.decoded(data) if mark else None
    if content is None:
        _reject("Invalid base64 image_url.", where, "invalid_base64_image")
    kind = media.media_type(content)
    if kind not in media.IMAGES:
        message = "You uploaded an unsupported image. Please make sure your image is a png, jpeg, gif or webp."
        _reject(message, where, "invalid_image_format")
    if len(content) > _MOST_IMAGE_BYTES:
        _reject("The image is larger than 20 MB.", where, "image_too_large")
    return media.seen_bytes(content, kind)


def _file(shown: Any, where: str, more_files: bool) -> Seen:  # noqa: FBT001  # the same for every part
    if not isinstance(shown, dict):
        _reject(f"Invalid type for '{where}': expected an object.", where, "invalid_type")
    if more_files and isinstance(shown.get("file_url"), str):
        if not shown["file_url"].startswith("https://"):
            _reject(f"Invalid '{where}.file_url'. Expected a URL.", where, "invalid_value")
        return media.seen_address(shown["file_url"], "file")
    if not isinstance(shown.get("filename"), str):
        _reject(f"Missing required parameter: '{where}.filename'.", f"{where}.filename", "missing_required_parameter")
    head, mark, data = str(shown.get("file_data")).partition(";base64,")
    named = head.removeprefix("data:")
    if not mark or named not in ((media.PDF, media.TEXT) if more_files else (media.PDF,)):
        _reject(
            f"Invalid file data: '{where}.file_data'. Expected a base64-encoded data URL with an application/pdf MIME "
            f"type (e.g. 'data:application/pdf;base64,aGVsbG8='), but unsupported MIME type '{named[:40]}'.",
            f"{where}.file_data",
            "invalid_value",
        )
    content = media.decoded(data)
    if content is None or media.media_type(content) != named:
        _reject("The file that was sent is not valid, or not of its type.", f"{where}.file_data", "invalid_value")
    return media.seen_bytes(content, named)
