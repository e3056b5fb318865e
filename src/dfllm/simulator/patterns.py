"""Texts that match a simple regular expression: the other way round from what `re` does.

Read are literals, escapes, classes, groups, alternatives and repeats. Whatever else a pattern holds (look-around,
back-references) makes it too hard, and the answer is None.
"""

import re
import string
from collections.abc import Callable

from . import luck

# A made part of a text, from the key of its luck and how often to repeat beyond the least.
Maker = Callable[[str, int], str]

_PRINTABLE = string.ascii_letters + string.digits + " -_.,"
_CLASSES = {
    "d": string.digits,
    "w": string.ascii_lowercase + string.digits,
    "s": " ",
    "D": string.ascii_lowercase,
    "W": " -.",
    "S": string.ascii_lowercase,
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_SPECIAL = frozenset("*+?{")


class TooHard(Exception):
    """The pattern uses what this reader does not read."""


def match(pattern: str, key: str, least: int = 0, most: int | None = None) -> str | None:
    """Return a text of a length from ``least`` to ``most`` that the pattern matches, or None if that is too hard."""
    try:
        reader = _Reader(pattern)
        make = reader.alternatives()
        for extra in (*range(12), least):
            text = make(key, extra)
            fits = least <= len(text) and (most is None or len(text) <= most)
            if fits and reader.at_end and re.search(pattern, text):
                return text
    except (TooHard, re.error, RecursionError):
        pass
    return None


class _Reader:
    """A place in a pattern, and what can be read from there."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0

    @property
    def at_end(self) -> bool:
        return self.place >= len(self.pattern)

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        if self.at_end:
            raise TooHard
        self.place += 1
        return self.pattern[self.place - 1]

    def alternatives(self) -> Maker:
        options = [self.sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self.sequence())
        return lambda key, extra: luck.pick(options, key, "|")(key, extra)

    def sequence(self) -> Maker:
        parts: list[Maker] = []
        while not self.at_end and self.peek() not in "|)":
            parts.append(self.repeated(self.atom()))
        return lambda key, extra: "".join(part(f"{key}.{place}", extra) for place, part in enumerate(parts))

    def repeated(self, part: Maker) -> Maker:
        if self.peek() not in _SPECIAL:
            return part
        mark = self.take()
        if mark == "{":
            bounds = re.compile(r"(\d+)(,?)(\d*)\}").match(self.pattern, self.place)
            if bounds is None:
                raise TooHard
            self.place = bounds.end()
            least = int(bounds[1])
            most = int(bounds[3]) if bounds[3] else None if bounds[2] else least
        else:
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[mark]
        if self.peek() == "?":  # lazy or greedy, the texts are the same
            self.take()

        def make(key: str, extra: int) -> str:
            times = least + extra if most is None else min(most, least + extra)
            return "".join(part(f"{key}#{turn}", extra) for turn in range(times))

        return make

    def atom(self) -> Maker:
        mark = self.take()
        if mark in "^$":
            return lambda key, extra: ""
        if mark == "(":
            return self.group()
        if mark == "[":
            return _one_of(self.members())
        if mark == ".":
            return _one_of(string.ascii_lowercase)
        if mark == "\\":
            return _one_of(self.escaped())
        if mark in _SPECIAL:
            raise TooHard
        return _one_of(mark)

    def group(self) -> Maker:
        if self.peek() == "?":
            kind = re.compile(r"\?(:|P?<\w+>)").match(self.pattern, self.place)
            if kind is None:
                raise TooHard
            self.place = kind.end()
        inside = self.alternatives()
        if self.take() != ")":
            raise TooHard
        return inside

    def escaped(self) -> str:
        mark = self.take()
        if mark in _CLASSES:
            return _CLASSES[mark]
        if mark in _CONTROLS:
            return _CONTROLS[mark]
        if mark.isalnum():
            raise TooHard
        return mark

    def members(self) -> str:
        negated = self.peek() == "^"
        if negated:
            self.take()
        found = ""
        while (mark := self.take()) != "]" or not found:
            one = self.escaped() if mark == "\\" else mark
            if self.peek() == "-" and self.pattern[self.place + 1 : self.place + 2] not in ("]", "") and len(one) == 1:
                self.take()
                last = self.take()
                end = self.escaped() if last == "\\" else last
                one = "".join(map(chr, range(ord(one), min(ord(end[0]), ord(one) + 500) + 1)))
            found += one
        if negated:
            found = "".join(char for char in _PRINTABLE if char not in found)
        if not found:
            raise TooHard
        return found


def _one_of(chars: str) -> Maker:
    return lambda key, extra: luck.pick(chars, key)
