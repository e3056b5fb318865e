"""The store's tables, their versions, and how a connection to them is set up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from dfllm._core.errors import StoreError
from dfllm._run.store_errors import ELSEWHERE

Connect: TypeAlias = Callable[..., sqlite3.Connection]
Durability: TypeAlias = Literal["normal", "full"]

#: "dflm", so that `file` and we know whose file it is.
APPLICATION_ID = 0x64666C6D
VERSION = 3
PAGE_BYTES = 4096
#: Keys looked up in one statement; the temp table of numbers has as many rows.
WINDOW = 10_000

# Plain rowid tables for what has a body: WITHOUT ROWID costs 3.4 times the disk there. The body comes last, so that
# the other columns are read without walking its overflow pages. Claims are small, so one B-tree serves them best.
# What is in quarantine may be anything. A checksum is never NULL, but SQLite must not rely on it: where damage made
# it so, the entry counts as missing.
_ENTRIES = """CREATE TABLE entries(
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, provider TEXT NOT NULL, model TEXT NOT NULL,
    created REAL NOT NULL, seconds REAL NOT NULL, cost INTEGER, checksum INTEGER, body BLOB NOT NULL
)"""
_QUARANTINE = "CREATE TABLE quarantine(id INTEGER PRIMARY KEY, found REAL, key, provider, model, created, seconds,\
 cost, checksum, body)"
_ATTEMPTS = "CREATE TABLE attempts(id INTEGER PRIMARY KEY, key BLOB, run TEXT, at REAL, billing TEXT, error TEXT,\
 status INTEGER, body BLOB)"
_OWNERS = """CREATE TABLE owners(
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
    start TEXT NOT NULL, seen REAL NOT NULL, UNIQUE(host, boot, pid, start)
)"""
_CLAIMS = """CREATE TABLE claims(
    key BLOB PRIMARY KEY, owner INTEGER NOT NULL, run TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID"""
# Amounts, never content. An attempt's key may be taken out, as when what it asked is purged.
_SPEND = """CREATE TABLE spend(
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, key BLOB, at REAL NOT NULL, billing TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, tokens_cached INTEGER, cost INTEGER
)"""
_RUNS = """CREATE TABLE runs(
    id TEXT PRIMARY KEY, started REAL NOT NULL, ended REAL, tag TEXT, provider TEXT NOT NULL, model TEXT NOT NULL,
    owner INTEGER, status TEXT NOT NULL, facts TEXT
)"""
_TOTALS = "CREATE TABLE totals(scope TEXT PRIMARY KEY, cost INTEGER NOT NULL) WITHOUT ROWID"

_REFRESHES = "CREATE TABLE refreshes(id BLOB PRIMARY KEY, since REAL NOT NULL, ended REAL) WITHOUT ROWID"

#: What leads from each version to the next.
STEPS: dict[int, tuple[str, ...]] = {
    0: (
        f"PRAGMA application_id = {APPLICATION_ID}",
        *(_ENTRIES, _QUARANTINE, _ATTEMPTS, _OWNERS, _CLAIMS),
    ),
    1: (
        "ALTER TABLE claims ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0",
        *(_SPEND, _RUNS, _TOTALS),
    ),
    2: (_REFRESHES,),
}

_NUMBERS = """
    WITH RECURSIVE counted(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM counted WHERE i < ?)
    INSERT INTO numbers SELECT i FROM counted
"""


def text_of(raw: bytes) -> str:
    """Read text as it is stored; a damaged letter is no reason to fail."""
    return raw.decode("utf-8", "replace")


def connected(path: Path, connect: Connect, *, wait_seconds: float) -> sqlite3.Connection:
    """Return a connection that commits, waits and checkpoints only when told."""
    # "rw": a file that is gone must not come back empty.
    place = f"{path.as_uri()}?mode=rw"
    connection = connect(place, uri=True, timeout=wait_seconds, isolation_level=None, check_same_thread=False)
    # Damaged text must not stop a look-up, and bytes are what the checksum is made of.
    connection.text_factory = bytes
    try:
        for sql in (
            "PRAGMA wal_autocheckpoint = 0",
            "PRAGMA trusted_schema = OFF",
            "PRAGMA temp_store = MEMORY",
            "PRAGMA cache_size = -16384",
            "CREATE TEMP TABLE numbers(i INTEGER PRIMARY KEY)",
        ):
            connection.execute(sql)
        connection.execute(_NUMBERS, (WINDOW - 1,))
    except BaseException:
        connection.close()
        raise
    return connection


def make_writable(connection: sqlite3.Connection, durability: Durability) -> None:
    """Set a connection up for commits. A rollback journal, as on a network, is always synced in full."""
    full = durability == "full" or journal_of(connection) != "wal"
    connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
    connection.execute(f"PRAGMA fullfsync = {'ON' if full else 'OFF'}")
    # Keys are random, so a write touches any page of their index: it should fit.
    connection.execute("PRAGMA cache_size = -65536")
    # The WAL's length on disk is how we know that it is time for a checkpoint; without this it would never shrink.
    connection.execute("PRAGMA journal_size_limit = 4194304")


def journal_of(connection: sqlite3.Connection) -> str:
    """Return the journal mode in use."""
    return text_of(connection.execute("PRAGMA journal_mode").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it. Always IMMEDIATE: a read that turns into a write cannot wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def prepare(connection: sqlite3.Connection, path: Path, *, journal: Literal["wal", "delete"]) -> None:
    """Make the tables of a new file, bring an older one up to date, refuse any other. The file lock is held.

    Raises:
        StoreError: the file is another program's, or a newer version's.
    """
    version = _check(connection, path)
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    if journal_of(connection) != journal:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    for step in range(version, VERSION):
        with transaction(connection):
            for sql in STEPS[step]:
                connection.execute(sql)
            connection.execute(f"PRAGMA user_version = {step + 1}")


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version found, 0 for an empty file."""
    version: int
    application = connection.execute("PRAGMA application_id").fetchone()[0] & 0xFFFFFFFF
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and application == version == 0):
        raise StoreError(
            f"The file {path} is no store of dfllm: a SQLite database with application id {application:#x}. "
            f"It was left as it is; {ELSEWHERE}."
        )
    if not 0 <= version <= VERSION:
        raise StoreError(
            f"The store {path} was written by a newer dfllm: version {version}, this one reads up to {VERSION}. "
            f"Upgrade dfllm, or {ELSEWHERE}."
        )
    return version
