"""pandas: rows out of a frame as plain values, outcomes back into it as columns. The frame itself is never changed."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from dfllm._core.cells import Plain, plain
from dfllm._core.errors import OptionError
from dfllm._core.inputs import has_surrogate
from dfllm._core.keys import text_of
from dfllm._core.schema import Schema
from dfllm._core.strict import Kind
from dfllm._core.types import Failure, Response
from dfllm._run.desk import Block, Settled
from dfllm._vectors import vectors_of

Column: TypeAlias = list[Plain]

DETAILS: Mapping[str, Kind] = {
    "key": "text",
    "model": "text",
    "source": "text",
    "tokens_in": "int",
    "tokens_out": "int",
    "cost": "float",
    "seconds": "float",
    "finish": "text",
}
_ARROW: dict[Kind, pa.DataType] = {
    "text": pa.large_string(),
    "json": pa.large_string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "vector": pa.large_binary(),
}
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype(), pa.bool_(): pd.BooleanDtype()}
#: Beyond this many columns pandas before version 3 warns of each that is added.
_MANY = 90
_LOST = Failure("NotSent", "the run ended before this row")


def cells_of(frame: pd.DataFrame, labels: Sequence[Hashable]) -> Callable[[int, int], Block]:
    """Return the function from a window's bounds to the plain values of these columns.

    Only these columns are touched, and only a window of them at a time. A missing value (None, NaN, NaT, NA) is None.
    """
    columns = [(label, frame[label]) for label in labels]

    def cells(start: int, stop: int) -> Block:
        unfit: dict[int, Failure] = {}
        return Block([_plain(label, column.iloc[start:stop], unfit) for label, column in columns], unfit)

    return cells


def _plain(label: Hashable, column: pd.Series[Any], unfit: dict[int, Failure]) -> Column:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_categories(label, column, unfit)
    kind = getattr(dtype, "kind", "O")
    if kind in "iub" and not column.hasnans:
        return column.to_numpy().tolist()
    if kind == "f":
        numbers = column.to_numpy(dtype="float64", na_value=np.nan).tolist()
        return [None if math.isnan(number) else number for number in numbers]
    if isinstance(dtype, pd.ArrowDtype):
        values = pa.array(column.array).to_pylist()  # pandas would make floats of integers in lists with a null
    else:
        values = column.to_numpy(dtype=object, na_value=cast("Any", None)).tolist()
    made: Column = []
    for place, value in enumerate(values):
        if value is None or type(value) is str:
            made.append(value)
            continue
        try:
            made.append(plain(value))
        except ValueError as error:
            unfit[place] = Failure("BadInput", f"{error} in column {label!r}")
            made.append(None)
        except Exception:  # noqa: BLE001  # the methods of a user's own class may raise anything, with anything in it
            unfit[place] = Failure("BadInput", f"{type(value).__name__} cannot be read in column {label!r}")
            made.append(None)
    return made


def _of_categories(label: Hashable, column: pd.Series[Any], unfit: dict[int, Failure]) -> Column:
    """Return the values of a categorical column; each category is converted once, not each cell."""
    if len(column.cat.categories) > len(column):
        column = column.cat.remove_unused_categories()
    odd: dict[int, Failure] = {}
    categories = [*_plain(label, pd.Series(column.cat.categories), odd), None]
    codes = column.cat.codes.tolist()
    if odd:
        unfit.update({place: odd[code] for place, code in enumerate(codes) if code in odd})
    return [categories[code] for code in codes]


class Names(NamedTuple):
    """The columns a run makes.

    Attributes:
        results: result columns and their kinds, in order.
        error: the error column.
        details: detail columns by what they hold.
    """

    results: Mapping[str, Kind]
    error: str
    details: Mapping[str, str]

    @property
    def all(self) -> list[str]:
        """Every column, in the order they stand in the frame."""
        return [*self.results, self.error, *self.details.values()]


def names_of(into: str, schema: Schema | None, *, details: bool, calls: bool = False) -> Names:
    """Return the columns that go with `into`; `calls` adds the one for the tools that a model calls.

    Raises:
        OptionError: `into` is no name, or a field has the name of a column that is made anyway.
    """
    if not isinstance(cast("object", into), str) or not into:
        raise OptionError(f"into takes a column's name; found {into!r}.")
    if has_surrogate(into):
        raise OptionError(f"into={into!r} holds a lone surrogate, which no column's name can.")
    if schema is None or schema.single:
        results = {into: next(iter(schema.fields.values())) if schema else "text"}
    else:
        results = {into if field == schema.main else f"{into}_{field}": kind for field, kind in schema.fields.items()}
    twice = {f"{into}_calls"} & set(results) if calls else set()
    if calls:
        results[f"{into}_calls"] = "json"
    made = Names(results, f"{into}_error", {what: f"{into}_{what}" for what in DETAILS} if details else {})
    if twice := twice | {name for name in made.all if made.all.count(name) > 1}:
        raise OptionError(
            f"A field of the schema would make the column {min(twice)!r}, which holds something else. Rename the field."
        )
    return made


def answers_of(names: Names, schema: Schema | None) -> Mapping[str, str]:
    """Return the result columns by the field they hold; by the empty text where there is one answer a row."""
    fields = [""] if schema is None or schema.single else list(schema.fields)
    return dict(zip(fields, names.results, strict=False))  # behind them may be the calls of tools


def check_names(frame: pd.DataFrame, names: Names, *, read: Sequence[Hashable], overwrite: bool | None) -> None:
    """Refuse what would overwrite the user's own columns.

    A pair that an earlier run made is replaced, so that a cell can be run again.

    Raises:
        OptionError: a column is in the way.
    """
    if isinstance(frame.columns, pd.MultiIndex):
        raise OptionError("The frame's columns are a MultiIndex; flatten them first.")
    there = set(frame.columns)
    if mixed := [name for name in names.all if name in read]:
        raise OptionError(f"The template reads {mixed[0]!r}, which into= would overwrite. Choose another into=.")
    taken = [name for name in names.all if name in there]
    if not taken or overwrite is True:
        return
    if overwrite is False:
        raise OptionError(f"The frame already has {taken[0]!r} and overwrite=False.")
    if names.error not in there or not any(name in there for name in names.results):
        raise OptionError(
            f"The frame already has {taken[0]!r}, which no earlier run made (a run makes it together with "
            f"{names.error!r}). Choose another into=, or say overwrite=True."
        )


class _Chunk:
    """The columns of one window while they fill; Arrow once they are full."""

    __slots__ = ("ended", "left", "lists")

    def __init__(self, rows: int, columns: int) -> None:
        self.lists: list[list[Any]] = [[None] * rows for _ in range(columns)]
        self.ended = bytearray(rows)
        self.left = rows


class Columns:
    """Takes outcomes to their rows, window by window, as Arrow arrays where a window is complete.

    Args:
        names: the columns.
        lists: whether each cell of a result holds a list of values.

    Attributes:
        asked: the models that may have answered a row, where there are several; what the wire calls them may be alike.
    """

    def __init__(self, names: Names, *, lists: bool = False) -> None:
        self._names = names
        results = [_ARROW[kind] for kind in names.results.values()]
        others: list[Kind] = ["text", *(DETAILS[what] for what in names.details)]
        self._types = [*(map(pa.list_, results) if lists else results), *(_ARROW[kind] for kind in others)]
        self._chunks: dict[int, _Chunk | list[pa.Array]] = {}
        self._starts: list[int] = []
        self._sizes: list[int] = []
        self.asked: Sequence[str] = ()

    def details_of(self, one: Settled) -> tuple[str | int | float | None, ...]:
        """Return what stands behind a row's outcome, in the order of `DETAILS`; cost in USD."""
        found = details_of(one)
        if not self.asked or one.source is None:
            return found
        return (found[0], self.asked[one.by], *found[2:])

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""
        chunk = _Chunk(len(settled), len(self._types))
        self._starts.append(start)
        self._sizes.append(len(settled))
        self._chunks[start] = chunk
        width = len(self._names.results)
        errors = chunk.lists[width]
        first = chunk.lists[0]
        plain_text = width == 1
        details = bool(self._names.details)
        came = 0
        for place, one in enumerate(settled):
            if one is None:
                continue
            came += 1
            chunk.ended[place] = 1
            if one.cells is not None:
                if plain_text:
                    first[place] = one.cells[0]
                else:
                    for column, cell in zip(chunk.lists, one.cells, strict=False):
                        column[place] = cell
            if isinstance(one.outcome, Failure):
                errors[place] = str(one.outcome)
            if details:
                self._detail(chunk, place, one)
        chunk.left -= came
        if not chunk.left:
            self._seal(start, chunk)

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later to its rows."""
        width = len(self._names.results)
        error = str(settled.outcome) if isinstance(settled.outcome, Failure) else None
        for position in positions:
            start = self._start_of(position)
            chunk = self._chunks[start]
            assert isinstance(chunk, _Chunk)
            place = position - start
            chunk.ended[place] = 1
            if settled.cells is not None:
                for column, cell in zip(chunk.lists[:width], settled.cells, strict=True):
                    column[place] = cell
            chunk.lists[width][place] = error
            if self._names.details:
                self._detail(chunk, place, settled)
            chunk.left -= 1
            if not chunk.left:
                self._seal(start, chunk)

    def _start_of(self, position: int) -> int:
        return self._starts[bisect_right(self._starts, position) - 1]

    def _detail(self, chunk: _Chunk, place: int, one: Settled) -> None:
        for column, value in zip(chunk.lists[-len(DETAILS) :], self.details_of(one), strict=True):
            column[place] = value

    def _seal(self, start: int, chunk: _Chunk) -> None:
        self._chunks[start] = [_array(values, kind) for values, kind in zip(chunk.lists, self._types, strict=True)]

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the columns put in; rows that never ended say so."""
        sealed = [self._sealed(start, size) for start, size in zip(self._starts, self._sizes, strict=True)]
        missing = len(frame) - sum(self._sizes)
        if missing:
            sealed.append(self._never(missing))
        made = {
            name: _pandas(pa.chunked_array([chunk[number] for chunk in sealed], type=kind)).array
            for number, (name, kind) in enumerate(zip(self._names.all, self._types, strict=True))
        }
        if len(frame.columns) + len(made) <= _MANY:
            return _with(frame, made)
        with warnings.catch_warnings(action="ignore", category=pd.errors.PerformanceWarning):
            return _with(frame, made)

    def _sealed(self, start: int, size: int) -> list[pa.Array]:
        chunk = self._chunks[start]
        if isinstance(chunk, list):
            return chunk
        errors = chunk.lists[len(self._names.results)]
        for place in range(size):
            if not chunk.ended[place]:
                errors[place] = str(_LOST)
        return [_array(values, kind) for values, kind in zip(chunk.lists, self._types, strict=True)]

    def _never(self, rows: int) -> list[pa.Array]:
        arrays = [pa.nulls(rows, kind) for kind in self._types]
        arrays[len(self._names.results)] = pa.array([str(_LOST)] * rows, pa.large_string())
        return arrays


def _with(frame: pd.DataFrame, made: Mapping[str, Any]) -> pd.DataFrame:
    whole = frame.assign()  # a copy, of the user's own kind of frame
    for name, column in made.items():
        whole[name] = column  # not as assign's arguments: a column may be called self
    return whole


def details_of(one: Settled) -> tuple[str | int | float | None, ...]:
    """Return what stands behind a row's outcome, in the order of `DETAILS`; cost in USD."""
    outcome = one.outcome
    said = (outcome.response if isinstance(outcome, Failure) else outcome) or Response("", finish="")
    return (
        None if one.key is None else text_of(one.key),
        said.model,
        one.source,
        said.tokens_in,
        said.tokens_out,
        None if one.cost is None else one.cost / 1e9,
        one.seconds,
        said.finish or None,
    )


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        # A lone surrogate is legal in JSON and in Python, but no text that Arrow or a file could hold.
        return pa.array([scrubbed_all(value) for value in values], kind)


def scrubbed(text: str | None) -> str | None:
    """Return the text with lone surrogates replaced by U+FFFD."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def scrubbed_all(value: Any) -> Any:
    """Return a cell, or a list of them, with texts scrubbed."""
    if isinstance(value, list):
        return [scrubbed_all(one) for one in value]
    return scrubbed(value) if isinstance(value, str) else value


def _pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    if pa.types.is_list(column.type):
        return pd.Series(column.to_pylist(), dtype=object)  # lists of Python's own values, whole numbers whole
    if pa.types.is_large_binary(column.type):
        return vectors_of(column)
    if not pa.types.is_large_string(column.type):
        return cast("pd.Series[Any]", column.to_pandas(types_mapper=_NULLABLE.get))
    # `str` is what each pandas calls text: its own string dtype from version 3 on, objects before.
    text = pd.Series([], dtype="str").dtype
    mapper = None if isinstance(text, np.dtype) else {column.type: text}.get
    return cast("pd.Series[Any]", column.to_pandas(types_mapper=mapper))
