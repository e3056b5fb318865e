"""Cells as plain data: text, numbers, booleans, None, lists and dicts, and stand-ins for what is missing.

Plain data can do nothing: it has no attributes a template could walk, no methods that touch the world. A cell becomes
plain before any template sees it, or is refused. Nothing here imports pandas or numpy; their values are known by name.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias, cast
from uuid import UUID

from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError

Scalar: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[Scalar, Plain]"

#: values inside one cell, and how deep they may be nested: far above what a prompt can use
VALUES = 100_000
DEPTH = 64

#: Python itself prints no integer of more than 4300 digits
BIG = 10**4300

_DATES = (datetime, date, time)
_TEXTS = (Decimal, UUID, PurePath, timedelta)


def plain(value: object) -> Plain:
    """Return the cell as plain data, None where it is missing.

    Missing are None, NaN, NaT and NA. Dates become ISO texts; decimals, UUIDs, paths and durations their text; a member
    of an enum its value; tuples and sets lists, sets sorted so that a prompt is the same in every process.

    Raises:
        ValueError: the cell cannot be sent. The message says why and never what is in it; "in column ..." may follow.
    """
    return _Cell().plain(value, DEPTH)


class _Cell:
    """One cell on its way to plain data, with a count of the values in it."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values = VALUES

    def plain(self, value: object, depth: int) -> Plain:
        kind = type(value)
        if kind is str:
            return _sendable(cast("str", value))
        if value is None or kind is bool:
            return cast("bool | None", value)
        if isinstance(value, Enum):
            return self.plain(value.value, depth)
        if isinstance(value, int):
            if not -BIG < value < BIG:
                raise ValueError("integer of over 4300 digits")
            return int(value)
        if isinstance(value, float):
            return float(value) if value == value else None
        if isinstance(value, str):
            return _sendable(str.__str__(value))
        if isinstance(value, list | tuple | dict | set | frozenset):
            return self._nested(value, depth - 1)
        return self._foreign(value, depth)

    def _nested(self, value: Any, depth: int) -> Plain:
        if depth < 0:
            raise ValueError(f"values nested over {DEPTH} deep")
        self.values -= len(value)
        if self.values < 0:
            raise ValueError(f"over {VALUES:,} values")
        if isinstance(value, dict):
            return {self._label(key): self.plain(item, depth) for key, item in value.items()}
        items = [self.plain(item, depth) for item in value]
        if isinstance(value, set | frozenset):
            items.sort(key=lambda item: (type(item).__name__, repr(item)))
        return items

    def _label(self, key: object) -> Scalar:
        label = self.plain(key, 1)
        if isinstance(label, list | dict):
            raise ValueError("dict with lists or dicts as keys")
        return label

    def _foreign(self, value: Any, depth: int) -> Plain:
        kind = type(value)
        if kind.__name__ in ("NAType", "NaTType"):
            return None
        if isinstance(value, bytes | bytearray | memoryview):
            raise ValueError("bytes cannot be sent")
        if isinstance(value, _DATES):
            return value.isoformat()
        if isinstance(value, _TEXTS):
            return None if isinstance(value, Decimal) and value.is_nan() else str(value)
        family = kind.__module__.partition(".")[0]
        if family == "numpy" and hasattr(value, "dtype"):
            return self._numpy(value, depth)
        if family == "pandas" and kind.__name__ in ("Period", "Interval"):
            return str(value)
        raise ValueError(f"{kind.__name__} cannot be sent: neither text, number, list nor dict")

    def _numpy(self, value: Any, depth: int) -> Plain:
        if value.size > VALUES:
            raise ValueError(f"over {VALUES:,} values")
        if value.dtype.kind in "mM":
            # item() and tolist() make bare integers of nanoseconds.
            if value.ndim:
                return self.plain(list(value), depth)
            return None if value != value else str(value)
        item = value.tolist() if value.ndim else value.item()
        if type(item) is type(value):
            raise ValueError(f"{type(value).__name__} cannot be sent")
        return self.plain(item, depth)


def _sendable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("lone surrogate") from None
    return text


class Skip(TemplateRuntimeError):
    """A template prints a missing cell; the row is not sent."""


class MissingCell(Undefined):
    """A missing cell that may be tested for, and ends the row where it is used in any other way.

    To jinja it is undefined, so ``default`` and ``is defined`` see it as they should.
    """

    __slots__ = ()

    def __init__(self, label: Hashable) -> None:
        super().__init__(hint=f"column {label!r} is missing", exc=Skip)

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, MissingCell)

    def __hash__(self) -> int:
        return hash(None)

    __str__ = __iter__ = __len__ = __contains__ = Undefined._fail_with_undefined_error
    __abs__ = __round__ = __index__ = Undefined._fail_with_undefined_error


class BlankCell(str):
    """A missing cell that prints as nothing: empty text, and equal to None all the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__
