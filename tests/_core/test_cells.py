"""Cells: whatever a frame holds becomes plain data, or is refused with a reason."""

from __future__ import annotations

import datetime as dt
import enum
import math
import pathlib
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import UndefinedError

from dfllm._core.cells import BIG, DEPTH, VALUES, BlankCell, MissingCell, Skip, plain

Point = namedtuple("Point", "x y")
UTC = dt.timezone.utc  # noqa: UP017 - datetime.UTC is the same


class Colour(enum.Enum):
    """An enum as people have them."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum that is a number too."""

    HIGH = 3


class Shout(str):
    """A text that prints as something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "!"


@dataclass
class Opaque:
    """Something with a life of its own."""

    secret: str = "hush"


def nested(depth):
    """Return lists in lists, this many of them."""
    value = "end"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("é😀", "é😀"),
        (Shout("quiet"), "quiet"),
        (np.str_("text"), "text"),
        (7, 7),
        (True, True),
        (np.int64(7), 7),
        (np.bool_(1), True),
        (1.5, 1.5),
        (np.float64(1.5), 1.5),
        (np.float32(1.5), 1.5),
        (math.inf, math.inf),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("2026-01-02T00:00:00", "ns"), "2026-01-02T00:00:00.000000000"),
        (dt.timedelta(hours=1), "1:00:00"),
        (np.timedelta64(5, "s"), "5 seconds"),
        (pd.Period("2026-01"), "2026-01"),
        (pd.Interval(0, 1), "(0, 1]"),
        ([1, (2, 3)], [1, [2, 3]]),
        (Point(1, 2), [1, 2]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset([2, "a", 1]), [1, 2, "a"]),
        (OrderedDict(a=np.int8(1)), {"a": 1}),
        ({dt.date(2026, 1, 2): None, 1: "x"}, {"2026-01-02": None, 1: "x"}),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(7), 7),
        (np.array(["a", None, 1.0], dtype=object), ["a", None, 1.0]),
        (np.array(["2026-01-02", "NaT"], dtype="datetime64[ns]"), ["2026-01-02T00:00:00.000000000", None]),
        ([float("nan"), pd.NaT], [None, None]),
    ],
)
def test_value_becomes_plain(value, expected):
    """Each kind of value has one plain form."""
    made = plain(value)

    assert (type(expected), expected) == (type(made), made)


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "ns"), Decimal("NaN"), Decimal("sNaN")],
    ids=repr,
)
def test_missing_is_none(value):
    """All that pandas calls missing is one thing here."""
    assert plain(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x", "bytes cannot be sent"),
        (bytearray(b"x"), "bytes cannot be sent"),
        (memoryview(b"x"), "bytes cannot be sent"),
        (np.bytes_(b"x"), "bytes cannot be sent"),
        ("a\x00b", "NUL"),
        ("a\ud800b", "lone surrogate"),
        (["a\udfff"], "lone surrogate"),
        pytest.param(BIG, "integer of over 4300 digits", id="large"),
        pytest.param(-BIG, "integer of over 4300 digits", id="very negative"),
        (Opaque(), "Opaque cannot be sent: neither text, number, list nor dict"),
        (1j, "complex cannot be sent: neither text, number, list nor dict"),
        (print, "builtin_function_or_method cannot be sent: neither text, number, list nor dict"),
        (pd.Series([1]), "Series cannot be sent: neither text, number, list nor dict"),
        (np.longdouble(1), "longdouble cannot be sent"),
        ({(1, 2): 3}, "dict with lists or dicts as keys"),
        pytest.param(nested(DEPTH + 1), f"values nested over {DEPTH} deep", id="deep"),
        ([0] * (VALUES + 1), f"over {VALUES:,} values"),
        ([[0] * 1000] * 1000, f"over {VALUES:,} values"),
        (np.zeros(VALUES + 1), f"over {VALUES:,} values"),
    ],
)
def test_refused_says_why(value, reason):
    """What cannot be sent is refused, without a word of what is in it."""
    with pytest.raises(ValueError, match=r".") as caught:
        plain(value)

    assert reason == str(caught.value)


def test_limits_are_inclusive():
    """What is just within the limits is sent."""
    assert plain(BIG - 1) == BIG - 1
    assert len(plain([0] * VALUES)) == VALUES
    assert nested(DEPTH) == plain(nested(DEPTH))


def array_of(items):
    """Return an array of these objects; numpy would make a matrix of lists that look like one, or fail."""
    made = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        made[place] = item
    return made


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.decimals() | st.uuids()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.builds(array_of, st.lists(inner))
        | st.sets(st.integers() | st.text())
    ),
)


def kinds(value):
    """Return the types of all values inside."""
    if type(value) is list:
        return {list}.union(*map(kinds, value))
    if type(value) is dict:
        return {dict}.union(*map(kinds, value), *map(kinds, value.values()))
    return {type(value)}


@given(values)
def test_plain_has_only_plain_types(value):
    """Nothing that can do anything comes through, however it is wrapped."""
    try:
        made = plain(value)
    except ValueError:
        return

    assert kinds(made) <= {str, int, float, bool, type(None), list, dict}


@given(values)
def test_plain_of_plain_is_the_same(value):
    """Plain data is left as it is."""
    try:
        once = plain(value)
    except ValueError:
        return

    assert repr(once) == repr(plain(once))


@pytest.mark.parametrize(
    "use",
    [
        *(str, len, iter, list, int, float, abs, round),
        *(lambda cell: cell + 1, lambda cell: 1 + cell, lambda cell: cell * 2, lambda cell: -cell),
        *(lambda cell: cell < 1, lambda cell: cell[0], lambda cell: cell.upper, lambda cell: "a" in cell),
        lambda cell: [1, 2][cell:],
    ],
)
def test_missing_cell_ends_where_it_is_used(use):
    """A missing cell is good for nothing but being tested."""
    with pytest.raises(Skip, match=r"^column 'review' is missing$"):
        use(MissingCell("review"))


def test_missing_cell_is_like_none():
    """It is false, equals None and other missing cells, and nothing else."""
    cell = MissingCell("a")

    assert not cell
    assert cell == None  # noqa: E711 - the comparison is what is tested
    assert cell == MissingCell("b")
    assert cell != ""
    assert {None: 1}[cell] == 1


def test_missing_cell_is_no_undefined_error():
    """A row with a missing cell is told from one with a mistake."""
    assert not issubclass(Skip, UndefinedError)


def test_blank_cell_is_empty_and_like_none():
    """It prints as nothing, and a test for None holds."""
    cell = BlankCell()

    assert str(cell) == ""
    assert cell == None  # noqa: E711 - the comparison is what is tested
    assert cell == ""
    assert cell != "a"
    assert not cell
