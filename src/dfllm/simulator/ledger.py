"""The bill's file: one small SQLite table to which several processes may add at once."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

_TABLE = """
CREATE TABLE IF NOT EXISTS bill (
    hash TEXT NOT NULL,
    status INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    billed INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (hash, status)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO bill VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash, status) DO UPDATE SET
    calls = calls + excluded.calls,
    billed = billed + excluded.billed,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""


class Line(NamedTuple):
    """What one request hash has come to under one HTTP status."""

    hash: str
    status: int
    calls: int
    billed: int
    prompt_tokens: int
    completion_tokens: int


class Ledger:
    """A file of lines that only grow.

    Args:
        path: made readable by its owner alone if it is not there.

    Raises:
        OSError: the file cannot be made or opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(opened, 0o600)
        os.close(opened)
        with self._open() as db:
            db.execute(_TABLE)

    def lines(self) -> list[Line]:
        """Return all lines, those of other processes too."""
        with self._open() as db:
            return [Line(*row) for row in db.execute("SELECT * FROM bill")]

    def add(self, lines: Iterable[Line]) -> None:
        """Add to the file, all lines or none."""
        with self._open() as db:
            db.executemany(_ADD, lines)

    def clear(self) -> None:
        """Empty the file."""
        with self._open() as db:
            db.execute("DELETE FROM bill")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30, isolation_level="IMMEDIATE")) as db, db:
                # A killed process loses nothing by this; only a power cut could, and then the bill is no longer needed.
                db.execute("PRAGMA synchronous = OFF")
                yield db
        except sqlite3.Error as error:
            raise OSError(f"{self.path} cannot be read or written as a bill ({error}). Choose another file.") from error
