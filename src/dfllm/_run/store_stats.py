"""What a look over the whole store tells: counts, and whether every answer is whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from dfllm._run.store_errors import BROKEN, explain
from dfllm._run.store_files import beside
from dfllm._run.store_schema import connected, journal_of, text_of
from dfllm._run.store_work import is_whole

_SOURCES = """
    SELECT provider, model, count(*), min(created), max(created), coalesce(sum(cost), 0)
    FROM entries GROUP BY provider, model ORDER BY provider, model
"""
_COUNTS = """
    SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM claims), (SELECT count(*) FROM quarantine)
"""
_PENDING = """
    SELECT count(*) FROM numbers n CROSS JOIN claims c ON c.key = substr(:keys, n.i * 20 + 1, 20) WHERE n.i < :count
"""
_EVERY = "SELECT key, provider, model, created, seconds, cost, checksum, body FROM entries"


_WINDOW = "SELECT id, key, provider, model, created, seconds, cost, checksum, body FROM entries WHERE id > ? \
ORDER BY id LIMIT ?"
WINDOW = 1_000


class Found(NamedTuple):
    """An answer as it was found.

    Attributes:
        row: its fields, as they are written; text is bytes.
        is_whole: whether its checksum holds.
    """

    row: tuple[Any, ...]
    is_whole: bool


class Source(NamedTuple):
    """What the store has of one provider and model.

    Attributes:
        provider: the provider's identity.
        model: the model asked.
        entries: how many answers.
        first: when the oldest came, in unix seconds.
        last: when the newest came.
        cost: what is known of their cost, in 1e-9 USD.
    """

    provider: str
    model: str
    entries: int
    first: float
    last: float
    cost: int


class Stats(NamedTuple):
    """What is in the store, and how it is kept.

    Attributes:
        path: the file.
        entries: how many answers.
        bytes: the size on disk, of the file and what lies beside it.
        sources: by provider and model.
        attempts: how many attempts without an answer were journalled.
        claims: how many requests runs have claimed.
        quarantine: how many damaged entries were set aside.
        sqlite: SQLite's version.
        journal: SQLite's journal mode.
    """

    path: Path
    entries: int
    bytes: int
    sources: tuple[Source, ...]
    attempts: int
    claims: int
    quarantine: int
    sqlite: str
    journal: str


class Verification(NamedTuple):
    """What reading the whole store found.

    Attributes:
        entries: how many answers were read.
        damaged: the keys of those whose checksum does not hold.
        integrity: what SQLite says about the file; "ok" where nothing is wrong.
        ok: whether all is well.
    """

    entries: int
    damaged: tuple[bytes, ...]
    integrity: str
    ok: bool


def stats_of(connection: sqlite3.Connection, path: Path) -> Stats:
    """Count what is in the store."""
    sources = tuple(
        Source(text_of(provider), text_of(model), *numbers)
        for provider, model, *numbers in connection.execute(_SOURCES)
    )
    attempts, claims, quarantine = connection.execute(_COUNTS).fetchone()
    files = [beside(path, suffix) for suffix in ("", "-wal", "-shm")]
    return Stats(
        path=path,
        entries=sum(source.entries for source in sources),
        bytes=sum(file.stat().st_size for file in files if file.exists()),
        sources=sources,
        attempts=attempts,
        claims=claims,
        quarantine=quarantine,
        sqlite=sqlite3.sqlite_version,
        journal=journal_of(connection),
    )


def windows_of(connection: sqlite3.Connection) -> Iterator[list[Found]]:
    """Give every answer, some at a time, in the order they came in."""
    last = -1
    while rows := connection.execute(_WINDOW, (last, WINDOW)).fetchall():
        yield [Found(row, is_whole(row, row[0])) for _, *fields in rows for row in [tuple(fields)]]
        last = rows[-1][0]


def verification_of(connection: sqlite3.Connection) -> Verification:
    """Read every answer and have SQLite check the file; what cannot be read is said, not raised."""
    entries = 0
    damaged: list[bytes] = []
    try:
        for row in connection.execute(_EVERY):
            entries += 1
            if not is_whole(row, row[0]):
                damaged.append(row[0] if isinstance(row[0], bytes) else b"")
        lines = connection.execute("PRAGMA integrity_check(20)").fetchall()
        integrity = "; ".join(text_of(line) for (line,) in lines)
    except BROKEN as error:
        integrity = str(error)
    return Verification(entries, tuple(damaged), integrity, integrity == "ok" and not damaged)


def pending_of(path: Path, keys: Sequence[bytes]) -> int:
    """Return how many of these questions some run has in hand right now; a run would wait for its answers.

    Raises:
        StoreError: the store cannot be read.
    """
    try:
        with closing(connected(path, sqlite3.connect, wait_seconds=1.0)) as connection:
            return sum(
                connection.execute(_PENDING, {"keys": b"".join(lot), "count": len(lot)}).fetchone()[0]
                for lot in (keys[first : first + WINDOW] for first in range(0, len(keys), WINDOW))
            )
    except BROKEN as error:
        raise explain(error, path) from error
