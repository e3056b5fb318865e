"""Repair: a damaged store moved aside, and a new one made of every answer that can still be read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dfllm._core.errors import StoreError
from dfllm._run.store_errors import BROKEN, explain
from dfllm._run.store_files import beside, make_file, make_room
from dfllm._run.store_lock import FileLock
from dfllm._run.store_pages import Found, Pages
from dfllm._run.store_schema import connected, prepare, transaction
from dfllm._run.store_work import is_whole

_CHUNK = 1_000
_KEEP = """
    INSERT OR IGNORE INTO entries(key, provider, model, created, seconds, cost, checksum, body)
    VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?)
"""
_LOST = "SELECT count(*) FROM seen WHERE key NOT IN (SELECT key FROM entries)"


class Repaired(NamedTuple):
    """What became of a damaged store.

    Attributes:
        moved_to: the damaged file; its WAL lies beside it.
        kept: answers that are in the store again.
        lost: keys whose answers were seen but could not be read whole.
    """

    moved_to: Path
    kept: int
    lost: int


def repair(path: Path, *, wait_seconds: float = 30.0) -> Repaired:
    """Make a new store of every answer in a damaged one whose checksum holds; the damaged file is kept.

    Processes that have the store open notice, and keep what they cannot write in spill files. Only answers are
    carried over: attempts and claims have no checksum, and stay in the damaged file.

    Raises:
        StoreError: there is no such file, or another process holds it, or the disk will not do.
    """
    path = path.absolute()
    make_room(path)
    if not path.exists():
        raise StoreError(f"There is no store at {path}; nothing was repaired.")
    lock = FileLock(beside(path, ".lock"), path, wait_seconds)
    try:
        with lock.held():
            return _repair(path)
    except BROKEN as error:
        raise explain(error, path) from error
    finally:
        lock.close()


def _repair(path: Path) -> Repaired:
    stamp = _free_stamp(path)
    made = beside(path, f".repaired-{stamp}")
    try:
        kept, lost = _salvage(path, made)
        moved = beside(path, f".damaged-{stamp}")
        # The database last: a WAL beside a database it does not belong to would be played into it.
        for suffix in ("-shm", "-wal", "-journal", ""):
            if beside(path, suffix).exists():
                beside(path, suffix).rename(beside(moved, suffix))
        made.rename(path)
    finally:
        for suffix in ("-shm", "-wal", ""):
            beside(made, suffix).unlink(missing_ok=True)
    return Repaired(moved, kept, lost)


def _free_stamp(path: Path) -> str:
    """Return the time as a name, with a number where that name is taken."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stamp, number = now, 1
    while beside(path, f".damaged-{stamp}").exists():
        number += 1
        stamp = f"{now}-{number}"
    return stamp


def _salvage(path: Path, made: Path) -> tuple[int, int]:
    """Fill a new store; returns how many answers it has, and how many more keys were seen."""
    make_file(made)
    connection = connected(made, sqlite3.connect, wait_seconds=0.0)
    pages = Pages(path, beside(path, "-wal"))
    try:
        prepare(connection, made, journal="delete")
        connection.execute("CREATE TEMP TABLE seen(key BLOB PRIMARY KEY) WITHOUT ROWID")
        found = pages.found()
        while chunk := list(islice(found, _CHUNK)):
            _keep(connection, chunk)
        kept: int = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
        lost: int = connection.execute(_LOST).fetchone()[0]
    finally:
        pages.close()
        connection.close()
    return kept, lost


def _keep(connection: sqlite3.Connection, chunk: Iterable[Found]) -> None:
    whole: list[tuple[Any, ...]] = []
    seen: list[tuple[bytes]] = []
    for key, row in chunk:
        if row is not None and is_whole(row, key):
            whole.append(row)
        else:
            seen.append((key,))
    with transaction(connection):
        connection.executemany(_KEEP, whole)
        connection.executemany("INSERT OR IGNORE INTO seen(key) VALUES (?)", seen)
