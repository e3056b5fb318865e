"""What one rendering may cost: loop steps, work, and the size of every text and list made on the way.

Work is counted in units of about 10 ns: a character handled takes one, an item of a list several. A rendering has as
many as fit a second, so that a row ends alike on every machine and under any load; the thread's clock only backs the
count up, and is not read at all before the first million units. Every value that a template makes is measured as if it
were printed (`Meter.hold`): a list that holds another a thousand times weighs a thousand of it, so that whatever is
done with it later is bounded too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, cast

from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError

from dfllm._core.cells import BlankCell

STEPS = 100_000
ITEMS = 100_000
CHARACTERS = 8 * 2**20
SECONDS = 1.0
#: The clock is read between pieces of work, and not before the first: so much earlier, all is over in time.
_EARLY_SECONDS = 0.25
WORK = 64 * 2**20
#: Texts shorter than this are handled uncounted; a loop pays for its body's operations in advance.
SMALL = 100
_LOOK = 2**20
#: what a value weighs besides its characters: about as long as it takes to look at it
_VALUE = 32

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SCALARS = frozenset((int, float, bool, type(None), range, BlankCell))
_NESTED: tuple[type[Collection[Any]], ...] = (list, tuple, *_VIEWS)
_SIZED = (list, tuple, str, dict, range, *_VIEWS)


class TooMuch(TemplateRuntimeError):
    """A rendering passes a limit; the text says which."""


class Meter:
    """Counts what one rendering costs, and ends it where that is too much. Started anew for each row."""

    __slots__ = ("_clock", "_deadline", "_mark", "room", "steps", "work")

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin with the whole allowance."""
        self.steps = STEPS
        self.room = CHARACTERS
        self.work = WORK
        self._mark = WORK - _LOOK
        self._deadline: float | None = None

    def spend(self, units: int) -> None:
        """Pay for work."""
        self.work -= units
        if self.work < self._mark:
            self._look()

    def _look(self) -> None:
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + SECONDS - _EARLY_SECONDS
        if self.work < 0 or now > self._deadline:
            raise TooMuch(f"over {SECONDS:g} s")
        self._mark = max(0, self.work - _LOOK)

    def count(self, value: Any) -> str:
        """Return the value as it is printed, and count it as output."""
        text: str = value if value.__class__ is str else self._printed(value)
        self.room -= len(text)
        if self.room < 0:
            raise too_long()
        return text

    def text(self, value: Any, units: int = 1) -> str:
        """Return the value as it would be printed, each character paid for."""
        text: str = value if value.__class__ is str else self._printed(value)
        self.spend(len(text) * units)
        return text

    def made(self, text: str) -> str:
        """Return the text just made, its memory paid for."""
        fits(len(text))
        self.spend(len(text) if text.isascii() else 4 * len(text))
        return text

    def items(self, value: Any, units: int = 8) -> Collection[Any]:
        """Return the value as something to iterate, each item paid for."""
        sized = _sized(value)
        few(len(sized))
        self.spend(len(sized) * units)
        return sized

    def step(self, value: Any, units: int) -> Collection[Any]:
        """Return what a loop goes over, all its steps counted and their work paid for in advance."""
        sized = value if value.__class__ is list else _sized(value)
        steps = len(sized)
        self.steps -= steps
        if self.steps < 0:
            raise TooMuch(f"over {STEPS:,} steps")
        self.spend(steps * units)
        return sized

    def hold(self, value: Any) -> Any:
        """Return the value, measured and paid for."""
        kind = value.__class__
        if kind is str:
            self.spend(len(value))
        elif kind not in _SCALARS:
            self.spend(weigh(value))
        return value

    def _printed(self, value: Any) -> str:
        if isinstance(value, BlankCell):
            return ""
        if value.__class__ not in _SCALARS and not isinstance(value, Undefined):
            self.spend(2 * weigh(value, printed=True))
        return str(value)


def weigh(value: Any, *, printed: bool = False) -> int:
    """Return what it takes to go through the value: a unit for each character, some for each value in it.

    It prints as no more characters than that.

    Args:
        value: plain data, or what a template makes of it.
        printed: whether an undefined value inside is an error, as it is for one that is printed.

    Raises:
        TooMuch: it is over the limit; no more of it is looked at than that takes.
        TypeError: something in it is no plain data.
    """
    weight = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = item.__class__
        if kind is str:
            weight += len(item)
        elif kind is int:
            weight += item.bit_length() // 3
        elif kind in _SCALARS:
            pass
        elif kind is dict:
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, _NESTED):
            waiting.extend(item)
        else:
            _undefined(item, printed=printed)
        weight += _VALUE
        if weight > CHARACTERS:
            raise too_long()
    return weight


def _undefined(item: Any, *, printed: bool) -> None:
    if not isinstance(item, Undefined):
        raise TypeError(f"{type(item).__name__!r} object cannot be used as a value")
    if printed:
        str(item)


def _sized(value: Any) -> Collection[Any]:
    if isinstance(value, _SIZED):
        return cast("Collection[Any]", value)
    if isinstance(value, Undefined):
        return list(value)  # fails, save for what an if without else leaves
    raise TypeError(f"{type(value).__name__!r} object is not iterable")


def too_long() -> TooMuch:
    """Return the error for a text that is too long."""
    return TooMuch(f"over {CHARACTERS // 2**20} MiB")


def fits(characters: int) -> None:
    """Refuse a text of this length where it is too long."""
    if characters > CHARACTERS:
        raise too_long()


def few(items: int) -> None:
    """Refuse a list of this length where it is too long."""
    if items > ITEMS:
        raise TooMuch(f"over {ITEMS:,} items")
