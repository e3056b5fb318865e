"""Parts: turns that hold more than text, how rows' own turns join those of the template, and what is to be counted.

A turn has one form for everything that could be said in several: text alone is a plain `Message`, images before one
text are `Illustrated`, and only what is neither is `Parted`. So equal questions have one key, however they were given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dfllm._core.types import Failure, Illustrated, Message, Messages, Part, Parted

#: What an image and a file are guessed to be counted as, before any answer has said it.
USUAL_TOKENS = {"image": 1_000, "file": 3_000}
_RULES = ("system", "developer")


class Brought(NamedTuple):
    """What a row brings beside the template's columns.

    Attributes:
        talk: its own conversation, oldest turn first.
        media: images and files to show with the last turn of the user.
    """

    talk: Messages = ()
    media: tuple[Part, ...] = ()


def parts_of(message: Message) -> tuple[Part, ...]:
    """Return what a turn holds, in its order; a plain one holds its text."""
    if isinstance(message, Parted):
        return message.parts
    said = (Part("text", message.content),) if message.content else ()
    if isinstance(message, Illustrated):
        return (*(Part("image", url) for url in message.images), *said)
    return said


def turn(role: str, parts: Sequence[Part]) -> Message:
    """Return a turn of these parts; texts that follow one another are lines of one."""
    joined: list[Part] = []
    for part in parts:
        if part.kind == "text" and joined and joined[-1].kind == "text":
            joined[-1] = Part("text", f"{joined[-1].value}\n{part.value}")
        else:
            joined.append(part)
    said = "\n".join(part.value for part in joined if part.kind == "text")
    kinds = [part.kind for part in joined]
    if not kinds or kinds == ["text"]:
        return Message(role, said)
    shown = kinds[:-1] if kinds[-1] == "text" else kinds
    if all(kind == "image" for kind in shown):
        return Illustrated(role, said, tuple(part.value for part in joined[: len(shown)]))
    return Parted(role, said, tuple(joined))


def with_media(messages: Messages, media: Sequence[Part]) -> Messages:
    """Return the messages with images and files in the last one of the user, before all else in it."""
    if not media:
        return messages
    for place in range(len(messages) - 1, -1, -1):
        if messages[place].role == "user":
            shown = turn("user", (*media, *parts_of(messages[place])))
            return (*messages[:place], shown, *messages[place + 1 :])
    return (*messages, turn("user", media))


def joined(said: Messages, brought: Brought) -> Messages | Failure:
    """Return a row's whole conversation: the template's rules, its own turns, then the template's other turns.

    Args:
        said: what the template rendered to.
        brought: what the row brings.
    """
    talk, media = brought
    if talk:
        first = next((place for place, one in enumerate(said) if one.role not in _RULES), len(said))
        if any(one.role == "system" for one in said[:first]) and any(one.role == "system" for one in talk):
            return Failure("BadInput", "its conversation has a system message, and system= gives another")
        said = (*said[:first], *talk, *said[first:])
    return with_media(said, media)


def media_in(messages: Messages) -> Iterator[Part]:
    """Yield the images and files of a conversation."""
    for message in messages:
        if message.__class__ is not Message:
            yield from (part for part in parts_of(message) if part.kind != "text")


def listed(value: Any) -> list[Any] | None:
    """Return a list, a tuple or an array of numpy's as a list, None for anything else."""
    if isinstance(value, (list, tuple)):
        return list(value)
    found = value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else None
    return found if isinstance(found, list) else None


def split_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 of a data URL, None for another URL."""
    if not url.startswith("data:"):
        return None
    head, _, content = url.partition(";base64,")
    return head[5:], content
