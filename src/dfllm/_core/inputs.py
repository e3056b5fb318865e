"""Rendered rows to a word on why they cannot be sent: text that no provider's JSON could carry."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from dfllm._core.types import Failure, Messages


def has_nul(messages: Messages) -> bool:
    """Return whether a message holds NUL, which providers refuse and stores cut at."""
    return any("\x00" in message.content for message in messages)


def input_failure(reason: str, columns: Sequence[Hashable], values: Sequence[Any]) -> Failure:
    """Return the failure of a row whose rendered text cannot be sent, naming the column it came from.

    Args:
        reason: ``"lone surrogate"`` or ``"NUL"``.
        columns: the template's columns.
        values: this row's values in them.
    """
    odd = _has_nul if reason == "NUL" else _has_surrogate
    found = next((column for column, value in zip(columns, values, strict=True) if odd(str(value))), None)
    where = f"column {found!r}" if found is not None else "the template"
    return Failure("BadInput", f"{reason} in {where}")


def _has_nul(text: str) -> bool:
    return "\x00" in text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= mark <= "\udfff" for mark in text)
