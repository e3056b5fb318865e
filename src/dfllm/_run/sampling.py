"""Sampling: which sample of its question each row gets, where rows are asked several times or equal rows vary.

A row that is asked n times has n places in a run, one behind the other. A place's number says which sample it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

from dfllm._core.types import Key


class Sampling(Protocol):
    """Numbers the samples of rows."""

    @property
    def each(self) -> int:
        """How many places a row has."""

    def firsts(self, start: int, keys: Sequence[Key | None]) -> Sequence[int]:
        """Return the number of the first sample of each of these rows, from row `start` on; keys tell equal rows."""

    def number(self, place: int) -> int:
        """Return the number at one place, of a row that was numbered before."""


class Alike:
    """Equal rows share their samples.

    Args:
        each: how many samples a row has.
    """

    def __init__(self, each: int) -> None:
        self.each = each

    def firsts(self, start: int, keys: Sequence[Key | None]) -> Sequence[int]:
        """Return 0 for each row."""
        return [0] * len(keys)

    def number(self, place: int) -> int:
        """Return the number at one place."""
        return place % self.each


class Varied:
    """The i-th of equal rows gets the i-th lot of samples, so that a row's do not depend on how windows are cut.

    Args:
        each: how many samples a row has.
    """

    def __init__(self, each: int) -> None:
        self.each = each
        self._firsts = array("q")
        self._next: dict[Key, int] = {}

    def firsts(self, start: int, keys: Sequence[Key | None]) -> Sequence[int]:
        """Return the first number of each row; rows come in order, and may come again."""
        for key in keys[len(self._firsts) - start :] if len(self._firsts) < start + len(keys) else ():
            first = 0 if key is None else self._next.get(key, 0)
            self._firsts.append(first)
            if key is not None:
                self._next[key] = first + self.each
        return self._firsts[start : start + len(keys)]

    def number(self, place: int) -> int:
        """Return the number at one place."""
        row, sample = divmod(place, self.each)
        return self._firsts[row] + sample


class Numbered:
    """Each row is one sample, whose number is known.

    Args:
        numbers: the rows' numbers.
    """

    each = 1

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    def firsts(self, start: int, keys: Sequence[Key | None]) -> Sequence[int]:
        """Return the number of each row."""
        return self._numbers[start : start + len(keys)]

    def number(self, place: int) -> int:
        """Return the number at one place."""
        return self._numbers[place]
