"""Tables on disk: CSV, TSV, JSONL and Parquet to frames, and frames back, so that what no run touched stays as it was.

CSV has no types, so cells are text as written; a column becomes numbers or truth only where writing it again gives the
same text. JSONL and Parquet keep what they held beside the frame, and only a run's own columns are put into it: nested
values, left-out fields, Arrow's types and an index in the file are as they were.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import operator
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat
from pathlib import PurePath
from typing import IO, Any, Literal, TypeAlias, cast

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfllm._core.errors import DfllmError

Kind: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet"]

KINDS: tuple[Kind, ...] = ("csv", "tsv", "jsonl", "parquet")
_SUFFIXES: dict[str, Kind] = {f".{kind}": kind for kind in KINDS} | {".ndjson": "jsonl"}
_DELIMITERS: dict[str, str] = {"csv": ",", "tsv": "\t"}
_WINDOW = 10_000
#: The csv module refuses cells above 128 KiB unless told otherwise; documents are longer.
_LONGEST_CELL = 2**31 - 1

_NULLABLE = {
    getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")()
    for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
}
_TEXT = pd.Series([], dtype="str").dtype
_DTYPES: dict[Any, Any] = {**_NULLABLE, pa.bool_(): pd.BooleanDtype()}
if isinstance(_TEXT, pd.api.extensions.ExtensionDtype):  # up to pandas 2 text is objects, which Arrow gives by itself
    _DTYPES |= {pa.string(): _TEXT, pa.large_string(): _TEXT}
#: Whole numbers and decimals that Python writes as they stand here; 18 digits always fit in 64 bits.
_WHOLE = "^(?:0|-?[1-9][0-9]{0,17})$"
_DECIMAL = r"^-?[0-9]+\.[0-9]+$"
#: What a spreadsheet takes for a formula's beginning: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile("[=+\\-@\t\r\n\0\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_encoder = msgspec.json.Encoder(enc_hook=str)


class TableError(DfllmError, ValueError):
    """A table cannot be read, or could not be written. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a table is written down.

    Attributes:
        kind: csv, tsv, jsonl or parquet.
        packed: whether it is gzipped.
    """

    kind: Kind
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read.

    Attributes:
        frame: its rows, with an index of positions.
        rows: JSONL's rows as they were read.
        arrow: Parquet's table as it was read.
    """

    frame: pd.DataFrame
    rows: Sequence[dict[str, Any]] | None = field(default=None, repr=False)
    arrow: pa.Table | None = field(default=None, repr=False)


def format_of(place: str, kind: Kind | None = None) -> Format:
    """Return the format that a path's suffix names, or the kind given; ``-`` is CSV.

    Raises:
        TableError: the suffix names none.
    """
    if place == "-":
        return Format(kind or "csv")
    name = PurePath(place).name.lower()
    packed = name.endswith(".gz")
    found = kind or _SUFFIXES.get(PurePath(name.removesuffix(".gz")).suffix)
    if found is None or (packed and found == "parquet"):
        ends = ", ".join(_SUFFIXES)
        raise TableError(f"{place!r} names no format; it ends in none of {ends} (all but Parquet also with .gz).")
    return Format(found, packed)


def read(stream: IO[bytes], form: Format) -> Table:
    """Read a whole table.

    Raises:
        TableError: it is not what its format says, and why.
        OSError: the stream cannot be read.
    """
    try:
        if form.kind == "parquet":
            return _read_parquet(stream)
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if form.packed else stream
        if form.kind == "jsonl":
            return _read_jsonl(plain)
        text = io.TextIOWrapper(plain, "utf-8-sig", newline="")  # line ends within cells stay as they are
        try:
            return Table(_read_csv(text, _DELIMITERS[form.kind]))
        finally:
            text.detach()  # the stream is the caller's to close
    except UnicodeDecodeError as error:
        raise TableError(f"it is no UTF-8 text (byte {error.object[error.start]:#04x}); save it as UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"it is not whole or no gzip: {error}") from error
    except pa.ArrowException as error:
        raise TableError(f"it is no Parquet that can be read: {_line(error)}") from error


def _read_csv(text: IO[str], delimiter: str) -> pd.DataFrame:
    before = csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next((row for row in lines if row), None)
        if header is None:
            raise TableError("it is empty; its first line should name the columns")
        _check_header(header)
        chunks: list[list[pa.Array]] = [[] for _ in header]
        rows = _whole_rows(lines, len(header))
        while window := list(islice(rows, _WINDOW)):
            for column, cells in zip(chunks, zip(*window, strict=True), strict=True):
                # An empty cell is missing; any word, NA and null too, is a word.
                column.append(pa.array([cell or None for cell in cells], pa.large_string()))
    except csv.Error as error:
        raise TableError(f"line {lines.line_num}: {error}") from error
    finally:
        csv.field_size_limit(before)
    columns = [_typed(pa.chunked_array(column, pa.large_string())) for column in chunks]
    return _frame(dict(zip(header, columns, strict=True)))


def _whole_rows(lines: Any, width: int) -> Iterator[list[str]]:
    for row in lines:
        if len(row) == width:
            yield row
        elif row:  # a blank line is no row
            raise TableError(f"the row that ends on line {lines.line_num} has {len(row)} cells, the header {width}")


def _check_header(header: Sequence[str]) -> None:
    twice = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if twice is not None:
        raise TableError(f"two columns are called {twice!r}; rename one")


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text as numbers or truth where that changes no cell."""
    if column.null_count == len(column):
        return column
    if pc.all(pc.match_substring_regex(column, _WHOLE)).as_py():
        return column.cast(pa.int64())
    if pc.all(pc.match_substring_regex(column, "^(?:True|False)$")).as_py():
        return column.cast(pa.bool_())
    if pc.all(pc.match_substring_regex(column, _DECIMAL)).as_py():
        numbers = column.cast(pa.float64())
        written = (None if number is None else repr(number) for number in numbers.to_pylist())
        return numbers if all(map(operator.eq, written, column.to_pylist())) else column
    return column


def _read_jsonl(stream: IO[bytes]) -> Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            # NaN and Infinity are no JSON, but Python writes them; they are missing here.
            row = json.loads(text, parse_constant=lambda word: None) if text.strip() else None
        except json.JSONDecodeError as error:
            raise TableError(f"line {number} is no JSON: {error.msg} at character {error.pos + 1}") from error
        except RecursionError as error:
            raise TableError(f"line {number} is nested too deeply") from error
        if row is None and not text.strip():
            continue
        if not isinstance(row, dict):
            raise TableError(f"line {number} is no object; each line should be one, such as {{'a': 1}}")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    cells = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return Table(pd.DataFrame(cells, index=pd.RangeIndex(len(rows))), rows=rows)


def _read_parquet(stream: IO[bytes]) -> Table:
    table = pq.read_table(stream if stream.seekable() else io.BytesIO(stream.read()))
    _check_header(table.column_names)
    # A nameless index of pandas stays in the file and is no column of the user's.
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    return Table(_frame({name: table[name] for name in names}, rows=table.num_rows), arrow=table)


def _frame(columns: dict[str, pa.ChunkedArray], rows: int | None = None) -> pd.DataFrame:
    length = rows if rows is not None else len(next(iter(columns.values())))
    return pd.DataFrame({name: _series(column) for name, column in columns.items()}, index=pd.RangeIndex(length))


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    if pa.types.is_nested(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    made: pd.Series[Any] = column.to_pandas(types_mapper=_DTYPES.get)
    return made


def check_fits(table: Table, form: Format) -> None:
    """Refuse what the output's format cannot hold, before anything is spent on it.

    Raises:
        TableError: a column does not fit.
    """
    if form.kind == "parquet":
        try:
            pq.write_table(_arrow(table, table.frame, []).slice(0, 0), io.BytesIO())
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError) as error:
            said = next((str(part) for part in reversed(error.args) if "column" in str(part)), _line(error))
            raise TableError(f"Parquet cannot hold this table: {said}. Write JSONL.") from error
    for name, column in table.frame.items() if table.arrow is not None and form.kind != "parquet" else ():
        if pd.api.types.infer_dtype(column, skipna=True) == "bytes":
            raise TableError(f"Column {name!r} holds bytes, which {form.kind} cannot; write Parquet.")


def write(
    stream: IO[bytes], form: Format, table: Table, frame: pd.DataFrame, made: Sequence[str], *, raw: bool = False
) -> None:
    """Write the table with the columns that a run made.

    In CSV and TSV, text that a spreadsheet would take for a formula gets a ``'`` in front. Cells of a table that was
    CSV or TSV itself stay as they are: they are no more dangerous than they were.

    Args:
        stream: where to.
        form: how.
        table: what was read.
        frame: its frame, with the columns made.
        made: their names.
        raw: whether text stays as it is also in CSV and TSV.
    """
    if form.kind == "parquet":
        pq.write_table(_arrow(table, frame, made), stream)
        return
    if form.kind == "jsonl":
        lines = _jsonl(table, frame, made)
    else:
        was_csv = table.rows is None and table.arrow is None
        lines = _csv(frame, _DELIMITERS[form.kind], () if raw else made if was_csv else [*map(str, frame.columns)])
    if form.packed:
        # No time and no name in it: the same table is the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            packed.writelines(lines)
    else:
        stream.writelines(lines)


def _arrow(table: Table, frame: pd.DataFrame, made: Sequence[str]) -> pa.Table:
    if table.arrow is None:
        return pa.Table.from_pandas(frame, preserve_index=False)
    new = pa.Table.from_pandas(frame[list(made)], preserve_index=False)
    whole = table.arrow
    for place, name in enumerate(new.column_names):
        at = whole.column_names.index(name) if name in whole.column_names else len(whole.column_names)
        whole = whole.remove_column(at) if at < len(whole.column_names) else whole
        whole = whole.add_column(at, new.schema.field(place), new[name])
    # What pandas noted of the file's own columns and index is kept, and what it notes of the new ones added.
    noted = json.loads(new.schema.metadata[b"pandas"])
    kept = dict(table.arrow.schema.metadata or {})
    if b"pandas" in kept:
        before = json.loads(kept[b"pandas"])
        others = [column for column in before["columns"] if column["name"] not in made]
        noted = {**before, "columns": [*others, *noted["columns"]]}
    return whole.replace_schema_metadata({**kept, b"pandas": json.dumps(noted).encode()})


def _jsonl(table: Table, frame: pd.DataFrame, made: Sequence[str]) -> Iterator[bytes]:
    names = list(made) if table.rows is not None else [str(name) for name in frame.columns]
    for place, cells in enumerate(_rows(frame[names])):
        row = dict(zip(names, cells, strict=True))
        yield _json(row if table.rows is None else {**table.rows[place], **row}) + b"\n"


def _csv(frame: pd.DataFrame, delimiter: str, guarded: Collection[str]) -> Iterator[bytes]:
    names = [str(name) for name in frame.columns]
    texts = [_unformed if name in guarded else _text for name in names]
    cell = partial(_cell, delimiter=delimiter)
    yield _row([cell(text(name)) for text, name in zip(texts, names, strict=True)], delimiter)
    for row in _rows(frame):
        yield _row([cell(text(value)) for text, value in zip(texts, row, strict=True)], delimiter)


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield rows of Python values, None where one is missing."""
    for start in range(0, len(frame), _WINDOW):
        window = frame.iloc[start : start + _WINDOW]
        columns = [column.astype(object) for _, column in window.items()]
        cells = [column.where(column.notna(), None).tolist() for column in columns]
        yield from zip(*cells, strict=True) if cells else repeat((), len(window))


def _row(cells: Sequence[str], delimiter: str) -> bytes:
    # One empty cell would be a blank line, which is no row.
    line = (delimiter.join(cells) or '""') + "\n"
    try:
        return line.encode()
    except UnicodeEncodeError:
        # Half a character, which JSON may escape and UTF-8 cannot hold, becomes U+FFFD.
        return line.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _cell(text: str, delimiter: str) -> str:
    """Return a CSV cell.

    Quoted by our own rule: up to Python 3.12 the csv module, and pandas with it, leaves a lone carriage return bare,
    which breaks the row in two for whoever reads it.
    """
    if delimiter in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def _text(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    if isinstance(value, (list, dict)):
        return _json(value).decode()
    return str(value)


def _unformed(value: Any) -> str:
    """Return the cell's text so that no spreadsheet takes it for a formula; numbers stay numbers, as text too."""
    text = _text(value)
    if not isinstance(value, str) or not _FORMULA.match(text) or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def _json(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, OverflowError, TypeError, msgspec.MsgspecError):
        # Lone surrogates, legal in JSON only as escapes; rare, and slower this way.
        return json.dumps(value, default=str).encode()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
