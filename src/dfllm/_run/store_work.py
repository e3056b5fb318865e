"""The kinds of write, and how a batch of them is done inside one transaction."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple, TypeAlias

from dfllm._core.budget import Cap
from dfllm._core.errors import StoreError
from dfllm._run import store_ledger, store_refresh
from dfllm._run.store_claims import Claims
from dfllm._run.store_ledger import Began, Ended, in_lots
from dfllm._run.store_refresh import Refresh, Refreshed
from dfllm._run.store_rows import Note, Row, Spend, checksum

_INSERT = """
    INSERT INTO entries(key, provider, model, created, seconds, cost, checksum, body) VALUES {rows}
    ON CONFLICT(key) DO UPDATE SET
        provider = excluded.provider, model = excluded.model, created = excluded.created, seconds = excluded.seconds,
        cost = excluded.cost, checksum = excluded.checksum, body = excluded.body
"""
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_NEWER = _INSERT.format(rows=_ROW) + " WHERE excluded.created > entries.created"
_ONE = "SELECT key, provider, model, created, seconds, cost, checksum, body FROM entries WHERE id = ?"
_COPY = """
    INSERT INTO quarantine(found, key, provider, model, created, seconds, cost, checksum, body)
    SELECT ?, key, provider, model, created, seconds, cost, checksum, body FROM entries WHERE id = ?
"""
_INSERT_NOTE = "INSERT INTO attempts(key, run, at, billing, error, status, body) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Save(NamedTuple):
    """Answers in, the run's claims on them out, and those on keys that got none."""

    rows: Sequence[Row]
    run: str
    free: Sequence[bytes] = ()
    spends: Sequence[Spend] = ()


class Journal(NamedTuple):
    """Attempts that gave no answer, and what of them was or may have been billed."""

    notes: Sequence[Note]
    spends: Sequence[Spend] = ()


class Claim(NamedTuple):
    """A run asks what it may send.

    With a cap it reserves, for each key, the most that can cost.
    """

    keys: Sequence[bytes]
    run: str
    since: float
    reserves: Sequence[int] = ()
    cap: Cap | None = None


class Reserve(NamedTuple):
    """A run asks whether it may send a request once more that was or may have been billed."""

    key: bytes
    run: str
    amount: int
    cap: Cap


class SetAside(NamedTuple):
    """Entries whose checksum did not hold, by the keys they were found under."""

    keys: Sequence[bytes]


class Beat(NamedTuple):
    """A sign of life for the claims of this process."""


class Leave(NamedTuple):
    """The store is being closed."""


Work: TypeAlias = Save | Journal | Claim | Reserve | SetAside | Beat | Leave | Began | Ended | Refresh | Refreshed


def size_of(work: Work) -> int:
    """Return about how many rows a piece of work touches."""
    if isinstance(work, Save):
        return len(work.rows) + len(work.free)
    return len(work[0]) if isinstance(work, (Journal, Claim, SetAside)) else 1


class Desk:
    """Does work in a transaction that somebody else begins and commits.

    Args:
        claims: the claims of this process.
        clock: unix seconds.
        damaged: makes the error to raise where the file's own structure is found damaged.
    """

    def __init__(self, claims: Claims, clock: Callable[[], float], damaged: Callable[[], StoreError]) -> None:
        self._claims = claims
        self._clock = clock
        self._damaged = damaged
        self._ways: dict[type, Callable[[sqlite3.Connection, list[Any]], Sequence[object]]] = {
            Save: self._save,
            Journal: self._journal,
            Claim: self._claim,
            Reserve: self._reserve,
            Began: self._begin,
            Ended: self._end,
            Refresh: self._refresh,
            Refreshed: self._refreshed,
            SetAside: self._set_aside,
            Beat: self._beat,
            Leave: self._leave,
        }

    def do(self, connection: sqlite3.Connection, works: Sequence[Work]) -> list[object]:
        """Do the works in their order; returns what each of them gives."""
        given: list[object] = []
        # Neighbours of one kind share their statements: answers come singly, and each statement has its price.
        for kind, alike in groupby(works, type):
            given += self._ways[kind](connection, list(alike))
        return given

    def _save(self, connection: sqlite3.Connection, works: list[Save]) -> Sequence[object]:
        for rows in in_lots([row for work in works for row in work.rows]):
            connection.execute(_INSERT.format(rows=", ".join([_ROW] * len(rows))), list(chain.from_iterable(rows)))
        freed = [(key, work.run) for work in works for key in (*(row[0] for row in work.rows), *work.free)]
        self._claims.free(connection, freed)
        store_ledger.pay(connection, [spend for work in works for spend in work.spends])
        return [None] * len(works)

    def _journal(self, connection: sqlite3.Connection, works: list[Journal]) -> Sequence[object]:
        connection.executemany(_INSERT_NOTE, [note for work in works for note in work.notes])
        spends = [spend for work in works for spend in work.spends]
        # What was reserved for the attempt is spent now. Another attempt reserves anew.
        self._claims.spend(connection, [(spend.key, spend.run) for spend in spends])
        store_ledger.pay(connection, spends)
        return [None] * len(works)

    def _claim(self, connection: sqlite3.Connection, works: list[Claim]) -> Sequence[object]:
        return [self._claims.take(connection, *work) for work in works]

    def _reserve(self, connection: sqlite3.Connection, works: list[Reserve]) -> Sequence[object]:
        return [self._claims.reserve(connection, *work) for work in works]

    def _begin(self, connection: sqlite3.Connection, works: list[Began]) -> Sequence[object]:
        owner = self._claims.show_up(connection)
        for work in works:
            store_ledger.begin(connection, work, owner)
        return [None] * len(works)

    def _end(self, connection: sqlite3.Connection, works: list[Ended]) -> Sequence[object]:
        for work in works:
            store_ledger.end(connection, work)
        return [None] * len(works)

    def _refresh(self, connection: sqlite3.Connection, works: list[Refresh]) -> Sequence[object]:
        return [store_refresh.begin(connection, work) for work in works]

    def _refreshed(self, connection: sqlite3.Connection, works: list[Refreshed]) -> Sequence[object]:
        for work in works:
            store_refresh.conclude(connection, work)
        return [None] * len(works)

    def _set_aside(self, connection: sqlite3.Connection, works: list[SetAside]) -> Sequence[object]:
        for work in works:
            for key in work.keys:
                self._quarantine(connection, key)
        return [None] * len(works)

    def _quarantine(self, connection: sqlite3.Connection, key: bytes) -> None:
        found = connection.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchone()
        # By its number, so that the key is the row's own and not the index's.
        row = None if found is None else connection.execute(_ONE, found).fetchone()
        if row is None or is_whole(row, key):
            return  # somebody else was faster
        if row[0] != key:
            # The index leads to another row. To remove it would harm an answer that may be good.
            raise self._damaged()
        connection.execute(_COPY, (self._clock(), *found))
        connection.execute("DELETE FROM entries WHERE id = ?", found)

    def _beat(self, connection: sqlite3.Connection, works: list[Beat]) -> Sequence[object]:
        self._claims.beat(connection)
        return [None] * len(works)

    def _leave(self, connection: sqlite3.Connection, works: list[Leave]) -> Sequence[object]:
        self._claims.leave(connection)
        return [None] * len(works)


def is_whole(row: tuple[Any, ...], key: bytes) -> bool:
    """Return whether a row as it was read, in the order it is written, is the answer to this key."""
    _, _, _, created, seconds, cost, total, body = row
    try:
        return checksum(key, created, seconds, cost, body) == int(total)
    except (TypeError, ValueError, struct.error):
        return False


def take_in(
    connection: sqlite3.Connection, rows: Sequence[Row], notes: Sequence[Note], spends: Sequence[Spend] = ()
) -> None:
    """Write what was kept elsewhere; of two answers to one key the newer one stands.

    After a crash between this and the end of the file it came from, notes and amounts are taken in twice: an amount too
    many is safer than one too few.
    """
    connection.executemany(_INSERT_NEWER, rows)
    connection.executemany(_INSERT_NOTE, notes)
    store_ledger.pay(connection, spends)
