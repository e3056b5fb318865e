"""Rendered rows to a word on why they cannot be sent: text that no provider's JSON could carry."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

from dfllm._core.types import Failure, Message, Messages


def has_nul(messages: Messages) -> bool:
    """Return whether a message holds NUL, which providers refuse or cut at."""
    return any("\x00" in message.content for message in messages)


def surrogate_failure(columns: Sequence[Hashable], values: Sequence[Any]) -> Failure:
    """Return the failure of a row whose rendered text holds a lone surrogate, naming the column it came from.

    Args:
        columns: the template's columns.
        values: this row's values in them.
    """
    odd = (column for column, value in zip(columns, values, strict=True) if has_surrogate(str(value)))
    found = next(odd, None)
    return Failure("BadInput", f"lone surrogate in {'the template' if found is None else f'column {found!r}'}")


def is_blank(messages: Messages) -> bool:
    """Return whether nothing is asked: providers bill such a request and have nothing to say."""
    return not any(
        message.content.strip() or message.__class__ is not Message for message in messages if message.role != "system"
    )


#: Prompts shorter than this fit every model there is, and are not measured.
LONG_CHARACTERS = 2**16
#: No vocabulary spends less than a token on so many bytes of words; only runs of blanks or of one sign do better.
_MOST_BYTES_A_TOKEN = 16
_RUNS = re.compile(r"(.)\1{15,}", re.DOTALL)


def is_long(messages: Messages) -> bool:
    """Return whether a prompt may be too long for a model."""
    return sum(len(message.content) for message in messages) >= LONG_CHARACTERS


def window_failure(messages: Messages, window: int | None) -> Failure | None:
    """Return the failure of a row whose prompt surely has more tokens than the model takes; None where it may fit."""
    if window is None:
        return None
    size = sum(len(_RUNS.sub(r"\1", message.content).encode("utf-8", "replace")) for message in messages)
    if size <= window * _MOST_BYTES_A_TOKEN:
        return None
    return Failure("ContextTooLong", f"{size:,} bytes of text, the model takes {window:,} tokens", "free")


def blank_failure() -> Failure:
    """Return the failure of a row whose rendered prompt is blank."""
    return Failure("BadInput", "the rendered prompt is blank")


def nul_failure() -> Failure:
    """Return the failure of a row whose rendered text holds NUL."""
    return Failure("BadInput", "NUL character in the prompt")


def has_surrogate(text: str) -> bool:
    """Return whether the text holds half of a UTF-16 pair, which UTF-8 has no bytes for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
