"""Answers found in the raw pages of a damaged file, whatever became of the tree they hung in.

A page may be unreachable, stale or torn, so nothing here is believed before its checksum holds. The format is
https://www.sqlite.org/fileformat2.html; the store's own tables need only a small part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

from dfllm._run.store_rows import KEY_BYTES
from dfllm._run.store_schema import PAGE_BYTES

_TABLE_LEAF, _INDEX_LEAF, _INDEX_NODE = 13, 10, 2
#: A record cannot be larger; what says so is damaged.
_MOST_BYTES = 256 << 20
_WAL_HEADER, _FRAME_HEADER = 32, 24
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value: TypeAlias = int | float | bytes | None


class Found(NamedTuple):
    """A record that looks like an entry or like a line of the keys' index.

    Attributes:
        key: the key it speaks of.
        row: the entry's fields in the order they are written, checksum unproven; None in the index.
    """

    key: bytes
    row: tuple[Value, ...] | None


class Pages:
    """A database file and its WAL, page by page; both stay as they are."""

    def __init__(self, path: Path, wal: Path) -> None:
        self._file = path.open("rb")
        self._wal = wal.open("rb") if wal.exists() else None
        self._size = path.stat().st_size
        self._newest: dict[int, int] = dict(self._frames())

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        if self._wal is not None:
            self._wal.close()

    def found(self) -> Iterator[Found]:
        """Give what looks like ours: first the newest state of each page, then what the file had before its WAL."""
        in_file = range(1, self._size // PAGE_BYTES + 1)
        # One by one: a damaged number may be anything.
        only_in_wal = (number for number in self._newest if number not in in_file)
        for number in chain(in_file, only_in_wal):
            yield from self._records(number, newest=True)
        for number in self._newest:
            yield from self._records(number, newest=False)

    def _frames(self) -> Iterator[tuple[int, int]]:
        """Give page numbers and offsets in the WAL, oldest first; frames of an earlier round have other salts."""
        if self._wal is None:
            return
        salts = self._wal.read(_WAL_HEADER)[16:24]
        offset = _WAL_HEADER
        while len(head := self._wal.read(_FRAME_HEADER)) == _FRAME_HEADER:
            if head[8:16] == salts:
                yield int.from_bytes(head[:4], "big"), offset + _FRAME_HEADER
            offset += _FRAME_HEADER + PAGE_BYTES
            self._wal.seek(offset)

    def _page(self, number: int, *, newest: bool) -> bytes:
        if number < 1:
            return b""  # where a damaged chain leads
        offset = self._newest.get(number) if newest else None
        if offset is not None and self._wal is not None:
            self._wal.seek(offset)
            return self._wal.read(PAGE_BYTES)
        self._file.seek((number - 1) * PAGE_BYTES)
        return self._file.read(PAGE_BYTES)

    def _records(self, number: int, *, newest: bool) -> Iterator[Found]:
        page = self._page(number, newest=newest)
        # The first page is the schema's.
        if number == 1 or len(page) < PAGE_BYTES or page[0] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_NODE):
            return
        # A node's cells begin with the page below; in an index they hold keys too.
        below = 4 if page[0] == _INDEX_NODE else 0
        cells = int.from_bytes(page[3:5], "big")
        for place in range(8 + below, min(8 + below + 2 * cells, PAGE_BYTES - 1), 2):
            cell = int.from_bytes(page[place : place + 2], "big")
            try:
                values = _values(self._payload(page, cell + below, table=page[0] == _TABLE_LEAF, newest=newest))
            except (IndexError, struct.error, ValueError):
                continue
            key = values[1] if len(values) == 9 else values[0] if len(values) == 2 else None
            if isinstance(key, bytes) and len(key) == KEY_BYTES:
                yield Found(key, tuple(values[1:]) if len(values) == 9 else None)

    def _payload(self, page: bytes, at: int, *, table: bool, newest: bool) -> bytes:
        """Return a cell's record, its overflow pages included."""
        size, at = _varint(page, at)
        if table:
            _, at = _varint(page, at)
        if size > _MOST_BYTES:
            raise ValueError("no record is that large")
        most = PAGE_BYTES - 35 if table else (PAGE_BYTES - 12) * 64 // 255 - 23
        if size <= most:
            return page[at : at + size]
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE_BYTES - 4)
        local = local if local <= most else least
        parts = [page[at : at + local]]
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        left = size - local
        while left > 0:
            more = self._page(following, newest=newest)
            if len(more) < PAGE_BYTES:
                raise ValueError("the chain of overflow pages is cut")
            parts.append(more[4 : 4 + left])
            following = int.from_bytes(more[:4], "big")
            left -= PAGE_BYTES - 4
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place and the place behind it."""
    number = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at
    return number << 8 | data[at], at + 1


def _values(record: bytes) -> list[Value]:
    head, at = _varint(record, 0)
    kinds = []
    while at < head:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        value, at = _value(record, at, kind)
        values.append(value)
    return values


def _value(record: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(record[at:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", record, at)[0], at + 8
    if kind < 12:
        return {8: 0, 9: 1}.get(kind), at
    end = at + (kind - 12) // 2
    return record[at:end], end
