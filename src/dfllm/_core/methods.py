"""Methods, operators and the rest that templates do with values without a filter's name, each within the limits."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jinja2 import Undefined, pass_context
from jinja2.runtime import LoopContext

from dfllm._core.cells import BlankCell
from dfllm._core.filters import joined, line_count, replaced, strippable
from dfllm._core.limits import ITEMS, SMALL, STEPS, Meter, TooMuch, few, fits, weigh

Method: TypeAlias = Callable[..., Any]

#: 4300 digits, the most that Python prints
_BITS = 14_284
_PRINTF = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d{0,3}(?:\.\d{0,3})?[sdiufFeEgGxXo%]")
#: what one place of a format string can print besides its value: 999 places wide, a float's 309 digits and as many more
_WIDEST = 2_500


def _simple(method: Method) -> Method:
    """Return the method of texts whose result is no longer than the text, or by a little."""

    def apply(meter: Meter, text: str, *args: Any, **options: Any) -> Any:
        meter.spend(2 * len(text))
        made = method(text, *args, **options)
        return meter.made(made) if made.__class__ is str else made

    return apply


def _stripped(method: Method) -> Method:
    def apply(_: Meter, text: str, chars: str | None = None) -> Any:
        return method(text, strippable(chars))

    return apply


def _from_right(method: Method) -> Method:
    """Return the method that searches from the right, which Python does without a clever algorithm."""

    def apply(meter: Meter, text: str, sought: str | None = None, *args: Any, **options: Any) -> Any:
        meter.spend(len(text) * (4 + len(sought or "") // 8))
        return method(text, sought, *args, **options)

    return apply


def _split(method: Method) -> Method:
    def apply(meter: Meter, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
        parts: list[str] = method(text, sep, ITEMS if maxsplit < 0 else min(maxsplit, ITEMS))
        few(len(parts))
        meter.spend(2 * len(text) + 16 * len(parts))
        return parts

    return apply


def _splitlines(meter: Meter, text: str, *keep: bool, **options: bool) -> list[str]:
    few(line_count(text))
    meter.spend(4 * len(text))
    return text.splitlines(*keep, **options)


def _join(meter: Meter, text: str, values: Any) -> str:
    return joined(meter, meter.items(values), text)


def _get(meter: Meter, value: dict[Any, Any], key: Any, default: Any = None) -> Any:
    return value.get(meter.hold(key), default)


def _sought(method: Method) -> Method:
    def apply(meter: Meter, value: Any, *args: Any) -> Any:
        meter.hold(value)
        return method(value, *args)

    return apply


def _changed(meter: Meter, loop: LoopContext, *values: Any) -> bool:
    meter.hold(values)
    return loop.changed(*values)


_SIMPLE = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "partition", "removeprefix",
    "removesuffix", "startswith", "swapcase", "title", "upper",
)  # fmt: skip
_TEXT: Mapping[str, Method] = {
    **{name: _simple(getattr(str, name)) for name in _SIMPLE},
    **{name: _stripped(getattr(str, name)) for name in ("lstrip", "rstrip", "strip")},
    **{name: _from_right(getattr(str, name)) for name in ("rfind", "rindex", "rpartition")},
    "join": _join,
    "replace": replaced,
    "rsplit": _from_right(str.rsplit),
    "split": _split(str.split),
    "splitlines": _splitlines,
}

_METHODS: Mapping[type, Mapping[str, Method]] = {
    str: _TEXT,
    BlankCell: _TEXT,
    dict: {
        "get": _get,
        "items": lambda _, value: value.items(),
        "keys": lambda _, value: value.keys(),
        "values": lambda _, value: value.values(),
    },
    list: {"count": _sought(list.count), "index": _sought(list.index)},
    tuple: {"count": _sought(tuple.count), "index": _sought(tuple.index)},
    float: {"is_integer": lambda _, value: value.is_integer()},
    LoopContext: {"cycle": lambda _, loop, *values: loop.cycle(*values), "changed": _changed},
}

#: what a template may ask of a loop
LOOP = (
    "index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem",
)  # fmt: skip
#: every method that a template may call on something
METHODS = sorted({name for methods in _METHODS.values() for name in methods})


def method_named(name: str) -> Method:
    """Return the filter that calls the method of that name on a value that has it."""

    @pass_context
    def call(row: Any, value: Any, *args: Any, **options: Any) -> Any:
        method = _METHODS.get(value.__class__, {}).get(name)
        for given in (value, *args):
            if isinstance(given, Undefined):
                given._fail_with_undefined_error()
        if method is None:
            raise TypeError(f"{type(value).__name__!r} object has no method {name!r}")
        return method(row.meter, value, *args, **options)

    return call


def _add(meter: Meter, left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        fits(len(left) + len(right))
        return meter.made(left + right)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        few(len(left) + len(right))
        return meter.hold(operator.add(left, right))
    return left + right


def _multiply(meter: Meter, left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _prints(left.bit_length() + right.bit_length())
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str) and isinstance(times, int):
            fits(len(many) * times)
            return meter.made(many * times)
        if isinstance(many, list | tuple) and isinstance(times, int):
            few(len(many) * times)
            return meter.hold(many * times)
    return left * right


def _power(_: Meter, left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1:
        _prints(right * math.log2(abs(left)))
    return left**right


def _modulo(meter: Meter, left: Any, right: Any) -> Any:
    if not isinstance(left, str):
        return left % right
    if isinstance(right, Undefined):
        right._fail_with_undefined_error()
    if "%" in _PRINTF.sub("", left):
        raise TypeError("a format takes %s %d %i %x %o %e %f %g, at most 999 wide")
    fits(len(left) + left.count("%") * (_WIDEST + weigh(right, printed=True)))
    meter.spend(len(left))
    return meter.made(left % right)


def _prints(bits: float) -> None:
    if bits > _BITS:
        raise TooMuch("over 4300 digits")


#: what is done by a function of ours instead of Python's operator
OPERATORS: Mapping[str, Callable[[Meter, Any, Any], Any]] = {"+": _add, "*": _multiply, "**": _power, "%": _modulo}


@pass_context
def _concatenated(row: Any, *values: Any) -> str:
    if all(value.__class__ is str and len(value) < SMALL for value in values):
        return "".join(values)
    return joined(row.meter, values)


@pass_context
def _stepped(row: Any, value: Any, units: int) -> Any:
    return row.meter.step(value, units)


@pass_context
def _held(row: Any, value: Any) -> Any:
    return row.meter.hold(value)


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if made and abs(made[-1] - made[0]) >= STEPS * abs(made.step):
        raise TooMuch(f"over {STEPS:,} steps")
    return made


#: What the compiler puts into a template. No name here is one that a template could write after a bar.
INNER: Mapping[str, Method] = {
    "~": _concatenated,
    "for ": _stepped,
    "hold ": _held,
    "range()": _range,
    **{f"loop.{name}": operator.attrgetter(name) for name in LOOP},
    **{f".{name}": method_named(name) for name in METHODS},
}
