"""Filters and tests of templates: jinja2's own, those that are of use in a prompt, each within the limits.

A name that is not in `FILTERS` or `TESTS` does not exist for a template. Left out are filters that reach attributes or
format strings, those of no use outside HTML, and those whose result differs from run to run: a prompt must be the same
each time. Arguments and results are jinja2's, but that what jinja2 gives as a generator is a list here.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from jinja2 import Environment, Undefined, pass_context, pass_environment
from jinja2 import filters as jinja
from jinja2.tests import TESTS as JINJA_TESTS
from markupsafe import Markup, escape

from dfllm._core.cells import BlankCell, MissingCell
from dfllm._core.limits import SMALL, Meter, TooMuch, few, fits, weigh

_JINJA: Mapping[str, Callable[..., bool]] = cast("Any", JINJA_TESTS)
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_TEXT = frozenset([str])
_DIGITS = 4300
_MARGIN = 16


def line_count(text: str) -> int:
    """Return how many lines `str.splitlines` makes of the text, or a few more."""
    return 1 + sum(map(text.count, _BREAKS))


def strippable(characters: str | None) -> str | None:
    """Return the characters to strip, where they are few enough to look each one up."""
    if characters is not None and len(characters) > SMALL:
        raise TooMuch(f"over {SMALL} characters to strip")
    return characters


def replaced(meter: Meter, text: str, old: str, new: str, count: int | None = None) -> str:
    """Return the text with up to `count` occurrences replaced."""
    most = -1 if count is None else count
    found = text.count(old) if old else len(text) + 1
    found = found if most < 0 else min(found, most)
    fits(len(text) + found * (len(new) - len(old)))
    return meter.made(text.replace(old, new, most))


def joined(meter: Meter, values: Iterable[Any], between: str = "") -> str:
    """Return the values as one text."""
    texts = list(values)
    if not _TEXT.issuperset(map(type, texts)):
        texts = [meter.text(value) for value in texts]
    fits(sum(map(len, texts)) + len(between) * (len(texts) - 1))
    return meter.made(between.join(texts))


def _of_text(convert: Callable[[str], Any], units: int = 1) -> Callable[..., Any]:
    @pass_context
    def apply(row: Any, value: Any) -> Any:
        if value.__class__ is str and len(value) < SMALL:
            return convert(value)
        made = convert(row.meter.text(value, units))
        return row.meter.made(made) if made.__class__ is str else made

    return apply


def _of_items(
    function: Callable[..., Any], *, by_row: bool = False, compared: bool = False, into: Callable[[Any], Any] = list
) -> Callable[..., Any]:
    @pass_context
    def apply(row: Any, value: Any, *args: Any, **options: Any) -> Any:
        items = row.meter.items(value, 128)
        if compared:
            row.meter.hold(items)
        return into(function(row if by_row else row.environment, items, *args, **options))

    return apply


@pass_context
def _map(row: Any, value: Any, *args: Any, **options: Any) -> list[Any]:
    items = row.meter.items(value, 128)
    # The table of filters also holds what the compiler puts into templates, under names nobody can write after a bar.
    if args and args[0] not in FILTERS:
        raise TypeError("map takes the name of a filter, or attribute=")
    made = list(jinja.do_map(row, items, *args, **options))
    if len(args) > 1 or len(options) > ("attribute" in options):
        # Only an argument can be in the result many times over.
        row.meter.hold(made)
    return made


def _escape(text: str) -> str:
    return str(escape(text))


@pass_context
def _striptags(row: Any, value: Any) -> str:
    text = row.meter.text(value, 16)
    # Older markupsafe copies the text once for each tag.
    row.meter.spend(text.count("<") * len(text) // 256)
    made: str = row.meter.made(str(Markup(text).striptags()))  # noqa: S704 - nothing here is ever shown as HTML
    return made


@pass_context
def _trim(row: Any, value: Any, chars: str | None = None) -> str:
    if value.__class__ is str and len(value) < SMALL and chars is None:
        stripped: str = value.strip()
        return stripped
    text: str = row.meter.text(value)
    return text.strip(strippable(None if chars is None else row.meter.text(chars)))


@pass_context
def _replace(row: Any, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    meter = row.meter
    return replaced(meter, meter.text(value), meter.text(old), meter.text(new), count)


@pass_context
def _join(row: Any, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = row.meter.items(value)
    return joined(row.meter, _attributes(row, items, attribute), row.meter.text(d))


def _attributes(row: Any, items: Iterable[Any], attribute: str | int | None) -> Iterable[Any]:
    return items if attribute is None else map(jinja.make_attrgetter(row.environment, attribute), items)


@pass_context
def _indent(row: Any, value: Any, width: int | str = 4, *flags: bool, **options: bool) -> str:
    text = row.meter.text(value)
    lines = line_count(text)
    few(lines)
    fits(len(text) + (lines + 1) * (1 + (len(width) if isinstance(width, str) else max(0, width))))
    made: str = row.meter.made(jinja.do_indent(text, width, *flags, **options))
    return made


@pass_context
def _truncate(row: Any, value: Any, *args: Any, **options: Any) -> str:
    made: str = row.meter.made(jinja.do_truncate(row.environment, row.meter.text(value), *args, **options))
    return made


@pass_context
def _wordwrap(
    row: Any,
    value: Any,
    width: int = 79,
    break_long_words: bool = True,  # noqa: FBT001, FBT002 - jinja2's signature
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,  # noqa: FBT001, FBT002 - jinja2's signature
) -> str:
    text = row.meter.text(value, 64)
    few(line_count(text))
    longest = max(map(len, text.splitlines()), default=0)
    # A long word is cut from the front, and copied each time.
    row.meter.spend(longest * longest // (64 * max(1, width)))
    fits(len(text) * (1 + len(wrapstring or "")))
    wrapped = jinja.do_wordwrap(row.environment, text, width, break_long_words, wrapstring, break_on_hyphens)
    made: str = row.meter.made(wrapped)
    return made


@pass_context
def _tojson(row: Any, value: Any, indent: int | str | None = None) -> str:
    weight = weigh(value, printed=True)
    fits(2 * weight)
    row.meter.spend(8 * weight)
    if indent is not None and (len(indent) if isinstance(indent, str) else indent) > _MARGIN:
        raise TooMuch(f"over {_MARGIN} characters of indent")
    # Unlike jinja2's: a prompt is no HTML, and a model reads é better than \u00e9.
    made: str = row.meter.made(_dumps(value, sort_keys=True, ensure_ascii=False, indent=indent))
    return made


def _dumps(value: Any, **options: Any) -> str:
    if options["indent"] is None:
        return json.dumps(value, **options)
    parts, size = [], 0
    for part in json.JSONEncoder(**options).iterencode(value):
        parts.append(part)
        size += len(part)
        fits(size)
    return "".join(parts)


@pass_environment
def _first(environment: Environment, value: Any) -> Any:
    return value if isinstance(value, BlankCell) else jinja.do_first(environment, value)


@pass_environment
def _last(environment: Environment, value: Any) -> Any:
    return value if isinstance(value, BlankCell) else jinja.do_last(environment, value)


@pass_context
def _list(row: Any, value: Any) -> list[Any]:
    return list(row.meter.items(value))


@pass_context
def _reverse(row: Any, value: Any) -> Any:
    if isinstance(value, str):
        return row.meter.made(value[::-1])
    return list(row.meter.items(value))[::-1]


@pass_context
def _sum(row: Any, value: Any, attribute: str | int | None = None, start: float = 0) -> Any:
    numbers = [start, *_attributes(row, row.meter.items(value, 128), attribute)]
    for number in numbers:
        if not isinstance(number, int | float):
            _fail_undefined(number)
            raise TypeError(f"sum takes numbers, not {type(number).__name__!r}")
    return sum(numbers[1:], start)


@pass_context
def _dictsort(row: Any, value: Any, *args: Any, **options: Any) -> list[Any]:
    row.meter.items(value, 128)
    row.meter.hold(value)
    return [] if isinstance(value, BlankCell) else jinja.do_dictsort(value, *args, **options)


def _items(value: Any) -> Any:
    _fail_undefined(value)
    if isinstance(value, BlankCell):
        return []
    if not isinstance(value, dict):
        raise TypeError("items takes a dict")
    return value.items()


def _fail_undefined(value: Any) -> None:
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()


def _default(value: Any, *args: Any, **options: Any) -> Any:
    return jinja.do_default(Undefined() if isinstance(value, BlankCell) else value, *args, **options)


def _int(value: Any, default: int = 0, base: int = 10) -> int:
    # A text that long is no number, and would take long to find out.
    return default if isinstance(value, str) and len(value) > _DIGITS else jinja.do_int(value, default, base)


def _float(value: Any, default: float = 0.0) -> float:
    return default if isinstance(value, str) and len(value) > _DIGITS else jinja.do_float(value, default)


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if isinstance(value, BlankCell):
        return value
    if not -400 <= precision <= 400:
        raise TooMuch("over 400 places")
    return jinja.do_round(value, precision, method)


def _abs(value: Any) -> Any:
    return value if isinstance(value, BlankCell) else abs(value)


def _filesizeformat(value: Any, *args: Any, **options: Any) -> Any:
    _fail_undefined(value)
    if isinstance(value, BlankCell):
        return value
    if not isinstance(value, int | float):
        raise TypeError(f"filesizeformat takes a number, not {type(value).__name__!r}")
    return jinja.do_filesizeformat(value, *args, **options)


def _whole(value: Any) -> Any:
    return value


FILTERS: Mapping[str, Callable[..., Any]] = {
    "abs": _abs,
    "capitalize": _of_text(str.capitalize),
    "count": len,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "e": _of_text(_escape),
    "escape": _of_text(_escape),
    "filesizeformat": _filesizeformat,
    "first": _first,
    "float": _float,
    "groupby": _of_items(jinja.do_groupby, compared=True),
    "indent": _indent,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": len,
    "list": _list,
    "lower": _of_text(str.lower),
    "map": _map,
    "max": _of_items(jinja.do_max, compared=True, into=_whole),
    "min": _of_items(jinja.do_min, compared=True, into=_whole),
    "reject": _of_items(jinja.do_reject, by_row=True),
    "rejectattr": _of_items(jinja.do_rejectattr, by_row=True),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "safe": _of_text(str),
    "select": _of_items(jinja.do_select, by_row=True),
    "selectattr": _of_items(jinja.do_selectattr, by_row=True),
    "sort": _of_items(jinja.do_sort, compared=True),
    "string": _of_text(str),
    "striptags": _striptags,
    "sum": _sum,
    "title": _of_text(jinja.do_title, 64),
    "tojson": _tojson,
    "trim": _trim,
    "truncate": _truncate,
    "unique": _of_items(jinja.do_unique, compared=True),
    "upper": _of_text(str.upper),
    "wordcount": _of_text(jinja.do_wordcount, 16),
    "wordwrap": _wordwrap,
}


def _absent(value: Any) -> bool:
    return value is None or isinstance(value, MissingCell | BlankCell)


def _defined(value: Any) -> bool:
    return not isinstance(value, Undefined | BlankCell)


def _of_numbers(name: str) -> Callable[..., bool]:
    """Return jinja2's test for numbers only: texts would take ``%`` for formatting."""
    test = _JINJA[name]

    def apply(value: Any, *args: Any) -> bool:
        for number in (value, *args):
            if not isinstance(number, int | float):
                _fail_undefined(number)
                raise TypeError(f"{name} takes numbers, not {type(number).__name__!r}")
        return test(value, *args)

    return apply


def _compared(test: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    @pass_context
    def apply(row: Any, value: Any, other: Any) -> Any:
        return test(row.meter.hold(value), other)

    return apply


@pass_context
def _in(row: Any, value: Any, group: Any) -> bool:
    _fail_undefined(group)
    row.meter.hold(value)
    if isinstance(group, str):
        _fail_undefined(value)
    if not isinstance(group, dict):
        row.meter.hold(group)
    return value in group


_COMPARISONS = {
    operator.eq: ("==", "eq", "equalto"),
    operator.ne: ("!=", "ne"),
    operator.gt: (">", "gt", "greaterthan"),
    operator.ge: (">=", "ge"),
    operator.lt: ("<", "lt", "lessthan"),
    operator.le: ("<=", "le"),
}

TESTS: Mapping[str, Callable[..., Any]] = {
    **{name: _JINJA[name] for name in ("boolean", "false", "true", "integer", "float", "mapping", "number")},
    **{name: _of_numbers(name) for name in ("odd", "even", "divisibleby")},
    **{name: _compared(test) for test, names in _COMPARISONS.items() for name in names},
    "defined": _defined,
    "undefined": lambda value: not _defined(value),
    "none": _absent,
    "sameas": lambda value, other: value is other or (other is None and _absent(value)),
    "string": lambda value: isinstance(value, str) and not isinstance(value, BlankCell),
    "sequence": lambda value: isinstance(value, str | list | tuple | dict | range),
    "iterable": lambda value: not isinstance(value, Undefined) and _JINJA["iterable"](value),
    "lower": _of_text(str.islower),
    "upper": _of_text(str.isupper),
    "in": _in,
}
