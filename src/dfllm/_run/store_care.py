"""Care of the whole store: what makes room, what leaves no byte behind, and answers taken in from elsewhere.

Others go on using the store meanwhile: what is long is done in pieces, and between two of them everyone gets a turn.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dfllm._core.errors import StoreError, StoreWarning
from dfllm._run.store_errors import locked
from dfllm._run.store_files import beside, make_file, size_of_all
from dfllm._run.store_rows import Row
from dfllm._run.store_schema import transaction
from dfllm._run.store_spill import leftovers
from dfllm._run.store_stats import Found, windows_of
from dfllm._run.store_work import take_in
from dfllm._run.store_writer import CHECKPOINT_BYTES

#: Rows a transaction takes out.
_LOT = 1_000
#: Longer than anyone naps who waits for the lock, so that each has tried before we hold it again.
_TURN_SECONDS = 0.025
#: About what a row weighs beside its body, its place in the index included.
_ROW_BYTES = 200
#: How long SQLite waits for readers before others get a turn.
_BUSY_MS = 100

#: Tables with a body, and when it came; the place in this list is what the statement below calls them.
_TABLES = (("entries", "created"), ("attempts", "at"), ("quarantine", "found"))
#: What a run has in hand is left: the old answer stays until the new one is there.
_VICTIMS = """
    SELECT 0, id, created AS came, length(body) FROM entries
        WHERE created <= :before AND key NOT IN (SELECT key FROM claims) AND (
            :model IS NULL OR model = :model OR provider || '/' || model = :model
            OR substr(provider, 1, instr(provider, ' ') - 1) || '/' || model = :model)
    UNION ALL SELECT 1, id, at, length(body) FROM attempts WHERE at <= :before AND :model IS NULL
    UNION ALL SELECT 2, id, found, length(body) FROM quarantine WHERE found <= :before
        AND (:model IS NULL OR model = :model OR provider || '/' || model = :model)
    ORDER BY came, id
"""
_DOOMED = "CREATE TEMP TABLE doomed(key BLOB PRIMARY KEY) WITHOUT ROWID"
_DOOM = {
    "keys": "INSERT OR IGNORE INTO doomed VALUES (?)",
    "tag": """
        INSERT OR IGNORE INTO doomed SELECT s.key FROM spend s JOIN runs r ON r.id = s.run
        WHERE r.tag = ? AND s.key NOT NULL
    """,
    "before": "INSERT OR IGNORE INTO doomed SELECT key FROM entries WHERE created <= ?",
}
Turn: TypeAlias = Callable[[float | None], AbstractContextManager[None]]


class Removed(NamedTuple):
    """What was taken out of the store.

    Attributes:
        answers: how many answers.
        others: how many attempts without an answer, damaged entries and files of damaged ones.
        bytes: by how much the store's files shrank.
    """

    answers: int
    others: int
    bytes: int


class Care:
    """Tends a store on a connection of its own.

    Args:
        connection: it may wait, and write.
        path: the store's file.
        turn: holds the file lock, until a deadline on the monotonic clock or as long as usual.
        wait_seconds: how long readers are waited for.
        recover: takes in what lies beside the store, in a transaction; returns what to do after the commit.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        turn: Turn,
        wait_seconds: float,
        recover: Callable[[sqlite3.Connection], Callable[[], None]],
    ) -> None:
        self._connection = connection
        self._path = path
        self._turn = turn
        self._wait_seconds = wait_seconds
        self._recover = recover

    def prune(self, *, before: float | None, model: str | None, max_bytes: int | None) -> Removed:
        """Take out what is old, oldest first, and make the file smaller; what a run has in hand stays.

        Args:
            before: what came later stays, in unix seconds; None takes any.
            model: only what this model said; attempts without an answer know no model.
            max_bytes: no more than is needed for a file of this size; None takes all.

        Raises:
            StoreError: the store cannot be written.
        """
        had = size_of_all(self._path)
        wanted = {"before": math.inf if before is None else before, "model": model}
        # Numbers only, and read at once: a look that stays open would keep the WAL from beginning anew.
        victims = self._connection.execute(_VICTIMS, wanted).fetchall()
        gone = [0] * len(_TABLES)
        at = 0
        while at < len(victims):
            excess = math.inf if max_bytes is None else self._used() - max_bytes
            if excess <= 0:
                break
            # By halves: where a page has room for one and a half of them, a row takes more than it weighs.
            lot = _up_to(victims, at, excess / 2)
            at += len(lot)
            with self._turn(None), transaction(self._connection):
                for table, count in self._delete(lot):
                    gone[table] += count
            time.sleep(_TURN_SECONDS)
        self._compact()
        if not self._truncate():
            warnings.warn(
                f"The store {self._path} has room now, but its files do not shrink before another program has ended "
                f"that is reading it.",
                StoreWarning,
                stacklevel=3,
            )
        return Removed(gone[0], gone[1] + gone[2], had - size_of_all(self._path))

    def _used(self) -> int:
        """Return how large the file is without its free pages."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _delete(self, lot: Sequence[tuple[int, int, Any, int | None]]) -> Iterator[tuple[int, int]]:
        for number, (table, came) in enumerate(_TABLES):
            # An answer that came anew since we looked is not the one that was meant.
            unclaimed = " AND key NOT IN (SELECT key FROM claims)" if table == "entries" else ""
            sql = f"DELETE FROM {table} WHERE id = ? AND {came} IS ?{unclaimed}"  # noqa: S608  # names of ours
            rows = [(row, when) for kind, row, when, _ in lot if kind == number]
            yield number, self._connection.executemany(sql, rows).rowcount if rows else 0

    def purge(self, *, keys: Sequence[bytes] = (), tag: str | None = None, before: float | None = None) -> Removed:
        """Take answers out so that no byte of them is left: not in free pages, the WAL, or files beside the store.

        Damaged entries and what was moved aside go as a whole, since nobody can tell whose answers they hold. Amounts
        stay, without the keys they were for. What a run under way answers after this is a new answer, and kept.

        Args:
            keys: of the questions.
            tag: of the runs that paid for the answers.
            before: all that came until then, in unix seconds.

        Raises:
            StoreError: the store cannot be written, or another program is reading it and would not end.
        """
        had = size_of_all(self._path)
        connection = self._connection
        connection.execute("PRAGMA secure_delete = ON")
        with self._turn(None):
            with transaction(connection):
                put_away = self._recover(connection)
            put_away()
        doomed = self._doomed(keys, tag, before)
        answers, others = 0, 0
        until = math.inf if before is None else before
        for start in range(0, len(doomed), _LOT):
            rows = [(key, until) for key in doomed[start : start + _LOT]]
            with self._turn(None), transaction(connection):
                answers += connection.executemany("DELETE FROM entries WHERE key = ? AND created <= ?", rows).rowcount
            time.sleep(_TURN_SECONDS)
        with self._turn(None):
            with transaction(connection):
                others += self._clear_notes(before)
            for file in leftovers(self._path):
                file.unlink(missing_ok=True)
                others += 1
        self._compact()
        if not self._truncate():
            raise StoreError(
                f"{answers:,} answers are out of the store {self._path}, but what they were is still in its files: "
                f"another program has been reading it for {self._wait_seconds:g} s. End that program and purge again."
            )
        return Removed(answers, others, had - size_of_all(self._path))

    def _doomed(self, keys: Sequence[bytes], tag: str | None, before: float | None) -> list[bytes]:
        self._connection.execute(_DOOMED)
        self._connection.executemany(_DOOM["keys"], [(key,) for key in keys])
        for what, value in (("tag", tag), ("before", before)):
            if value is not None:
                self._connection.execute(_DOOM[what], (value,))
        return [key for (key,) in self._connection.execute("SELECT key FROM doomed")]

    def _clear_notes(self, before: float | None) -> int:
        """Take out what belongs to the doomed keys beside their answers; the ledger keeps its amounts."""
        theirs = "key IN (SELECT key FROM doomed)" if before is None else "at <= :before"
        given = {} if before is None else {"before": before}
        self._connection.execute(f"UPDATE spend SET key = NULL WHERE {theirs}", given)  # noqa: S608  # text of ours
        attempts = self._connection.execute(f"DELETE FROM attempts WHERE {theirs}", given).rowcount  # noqa: S608  # text of ours
        return attempts + self._connection.execute("DELETE FROM quarantine").rowcount

    def windows(self) -> Iterator[list[Found]]:
        """Give every answer, some at a time; a look that stays open would keep the WAL from beginning anew."""
        return windows_of(self._connection)

    def take(self, rows: Sequence[Row]) -> int:
        """Take answers in, the newer one of two; return how many were."""
        connection = self._connection
        with self._turn(None), transaction(connection):
            before = connection.total_changes
            take_in(connection, rows, ())
            taken = connection.total_changes - before
        wal = beside(self._path, "-wal")
        if wal.exists() and wal.stat().st_size >= CHECKPOINT_BYTES:
            self._truncate(time.monotonic())
        time.sleep(_TURN_SECONDS)
        return taken

    def _compact(self) -> None:
        """Write the database anew, without free pages and with nothing in its pages but what it holds.

        As VACUUM does it, but by way of a file beside the store: SQLite's own would lie in memory, or on a disk that
        nobody chose for answers.
        """
        made = beside(self._path, f".compact-{secrets.token_hex(8)}")
        deadline = time.monotonic() + self._wait_seconds

        def is_late(status: int, left: int, pages: int) -> None:
            # Busy: a program that knows nothing of our lock. Python would try for ever.
            if status & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() >= deadline:
                raise locked(self._path, self._wait_seconds, None)

        try:
            with self._turn(None):
                make_file(made)
                self._connection.execute("VACUUM INTO ?", (str(made),))
                with closing(sqlite3.connect(made, isolation_level=None)) as compact:
                    compact.backup(self._connection, progress=is_late)
        finally:
            for suffix in ("", "-journal"):
                beside(made, suffix).unlink(missing_ok=True)

    def _truncate(self, deadline: float | None = None) -> bool:
        """Copy the WAL into the database and empty it; return whether readers let us."""
        deadline = time.monotonic() + self._wait_seconds if deadline is None else deadline
        while True:
            with self._turn(None):
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                self._connection.execute(f"PRAGMA busy_timeout = {int(self._wait_seconds * 1000)}")
            if not busy or time.monotonic() >= deadline:
                return not busy
            time.sleep(_TURN_SECONDS)


def _up_to(
    victims: Sequence[tuple[int, int, Any, int | None]], start: int, excess: float
) -> Sequence[tuple[int, int, Any, int | None]]:
    """Return the next victims, as many as make so much room, a lot at most."""
    stop = start
    while stop < min(start + _LOT, len(victims)) and excess > 0:
        excess -= _ROW_BYTES + (victims[stop][3] or 0)
        stop += 1
    return victims[start:stop]
