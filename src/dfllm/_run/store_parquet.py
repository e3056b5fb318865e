"""Answers as Parquet, in windows: what an export holds, and how it is read back without being believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from dfllm._core.errors import StoreError
from dfllm._core.keys import key_from, text_of
from dfllm._run.store_rows import Entry, Row, row_of
from dfllm._run.store_stats import Found

_FORMAT = {b"dfllm": b"answers 1"}
_NAMES = ("key", "provider", "model", "created", "seconds", "cost", "checksum", "body")
_ROWS = 1_000


class Exported(NamedTuple):
    """What an export came to.

    Attributes:
        answers: how many answers are in the file.
        damaged: how many were left out, since their checksum does not hold.
    """

    answers: int
    damaged: int


class Loaded(NamedTuple):
    """What was read from an export.

    Attributes:
        answers: how many answers the file has.
        taken: how many of them are in the store now that were not before.
        known: how many the store had already, as new or newer.
        damaged: how many were left out, since their checksum does not hold.
    """

    answers: int
    taken: int
    known: int
    damaged: int


def write(stream: IO[bytes], windows: Iterable[list[Found]]) -> Exported:
    """Write answers as they come; a damaged one is left out and counted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64(), pa.int64(), pa.int64(), pa.binary())
    schema = pa.schema(list(zip(_NAMES, kinds, strict=True)), metadata=_FORMAT)
    answers = damaged = 0
    with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=["provider", "model"]) as writer:
        for window in windows:
            whole = [_plain(found.row) for found in window if found.is_whole]
            columns = list(zip(*whole, strict=True)) if whole else [()] * len(_NAMES)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            answers += len(whole)
            damaged += len(window) - len(whole)
    return Exported(answers, damaged)


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    key, provider, model, *rest = row
    return text_of(key), provider.decode("utf-8", "replace"), model.decode("utf-8", "replace"), *rest


def read(path: Path) -> Iterator[list[Row | None]]:
    """Give the rows of an export as the store writes them, some at a time; None for one that is damaged.

    Raises:
        StoreError: it is no export, or is damaged as a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    begun = False
    try:
        with pq.ParquetFile(path) as file:
            found = (file.schema_arrow.metadata or {}).get(b"dfllm")
            if found != _FORMAT[b"dfllm"] or not set(_NAMES) <= set(file.schema_arrow.names):
                raise StoreError(
                    f"{path} is no export of a store, or one of a newer dfllm: it has "
                    f"{'no mark of ours' if found is None else found.decode('utf-8', 'replace')}. "
                    f"`dfllm store export` writes what can be loaded."
                )
            for batch in _batches(file):
                columns = [batch.column(name).to_pylist() for name in _NAMES]
                yield [_row(fields) for fields in zip(*columns, strict=True)]
                begun = True
    except (pa.ArrowException, OSError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        kept = " What was read before that is in the store." if begun else ""
        raise StoreError(f"{path} cannot be loaded: {said[:300]}.{kept}") from error


def _batches(file: Any) -> Iterator[Any]:
    # Group by group: a damaged one must not spoil the one before it.
    for group in range(file.num_row_groups):
        yield from file.iter_batches(_ROWS, row_groups=[group], columns=list(_NAMES))


def _row(fields: tuple[Any, ...]) -> Row | None:
    key, provider, model, created, seconds, cost, total, body = fields
    try:
        row = row_of(Entry(key_from(key), bytes(body), str(provider), str(model), created, seconds, cost))
    except (ValueError, TypeError, OverflowError):
        return None
    return row if row[6] == total else None
