"""Talks: cells that hold a whole conversation, to messages. What is wrong with one is said, never what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from dfllm._core.images import Unfit
from dfllm._core.inputs import has_surrogate
from dfllm._core.parts import listed, turn
from dfllm._core.types import Message, Messages, Part, Role

#: From ``"image"`` or ``"file"`` and what is to be shown to the part that goes out; raises Unfit.
Show: TypeAlias = Callable[[str, Any], Part]

_ROLES: tuple[str, ...] = get_args(Role)


def talk_of(cell: Any, show: Show) -> Messages:
    """Return the conversation in a cell: a list of ``{"role", "content"}``, or JSON text of one.

    Content is text, or a list of parts: ``{"type": "text", "text": ...}``, ``{"type": "image", "image": ...}`` and
    ``{"type": "file", "file": ...}``. A field that is None is as good as left out, as Parquet has it.

    Args:
        cell: what stands in it.
        show: makes parts of images and files.

    Raises:
        Unfit: it is no conversation.
    """
    messages = listed(_parsed(cell) if isinstance(cell, str) else cell)
    if messages is None:
        raise Unfit(f"{type(cell).__name__} is no list of messages")
    if not messages:
        raise Unfit("conversation without a message")
    return tuple(_message(message, f"message {number}", show) for number, message in enumerate(messages, 1))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("text that is no JSON list of messages") from None


def _fields(value: Any, known: tuple[str, ...], called: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unfit(f"{called} is no dict")
    found = {name: inner for name, inner in value.items() if inner is not None}
    if any(name not in known for name in found):
        raise Unfit(f"{called} has a key that is none of {', '.join(known)}")
    return found


def _message(message: Any, called: str, show: Show) -> Message:
    found = _fields(message, ("role", "content"), called)
    role, content = found.get("role"), found.get("content")
    if role not in _ROLES:
        raise Unfit(f"{called} has a role that is none of {', '.join(_ROLES)}")
    if isinstance(content, str):
        return Message(role, _text(content, called))
    parts = listed(content)
    if parts is None:
        raise Unfit(f"content of {called} is neither text nor a list of parts")
    if not parts:
        raise Unfit(f"{called} is empty")
    made = turn(role, [_part(part, f"part {number} of {called}", show) for number, part in enumerate(parts, 1)])
    if role != "user" and made.__class__ is not Message:
        raise Unfit(f"{called} shows something, which only the user can")
    return made


def _part(part: Any, called: str, show: Show) -> Part:
    found = _fields(part, ("type", "text", "image", "file"), called)
    kind = found.pop("type", None)
    if kind not in ("text", "image", "file"):
        raise Unfit(f"{called} has a type that is none of text, image, file")
    if list(found) != [kind]:
        raise Unfit(f"{called} is of the type {kind} and has no {kind!r}, or more than that")
    return Part("text", _text(found["text"], called)) if kind == "text" else show(kind, found[kind])


def _text(text: Any, called: str) -> str:
    if not isinstance(text, str):
        raise Unfit(f"{called} holds {type(text).__name__} where text should be")
    if not text.strip():
        raise Unfit(f"{called} is empty")
    if has_surrogate(text):
        raise Unfit(f"{called} holds a lone surrogate")
    return str.__str__(text)
