"""Errors: each says what was found and what to do, and only what passes is called passing."""

import errno
import sqlite3
from pathlib import Path

import pytest

from dfllm._core.errors import StoreError
from dfllm._run.store_errors import Locked, explain, is_busy, is_mistake, locked

PATH = Path("/data/store.db")


def sqlite_error(code, text="so it says", kind=sqlite3.OperationalError):
    """Return an error as SQLite raises it."""
    error = kind(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "found", "todo"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), "the disk is full", "Free some space"),
        (sqlite_error(sqlite3.SQLITE_IOERR | 3 << 8), "the disk reports an error", "Look after the disk"),
        (sqlite_error(sqlite3.SQLITE_READONLY), "it is read-only", "writable"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "it is damaged", "`dfllm store repair`"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), "no SQLite database", "`dfllm store repair`"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full", "Free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "it is read-only", "writable"),
        (OSError(errno.ELOOP, "Too many links"), "Too many links", "DFLLM_STORE"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no letter"), "it is damaged (its schema", "`dfllm store repair`"),
        (MemoryError(), "MemoryError", "DFLLM_STORE"),
    ],
    ids=str,
)
def test_message_says_what_was_found_and_what_to_do(error, found, todo):
    """Every message names the file, the finding and the remedy."""
    text = str(explain(error, PATH))

    assert [True] * 3 == [part in text for part in (str(PATH), found, todo)]


def test_what_is_explained_already_stays():
    """A StoreError is handed on as it is."""
    error = StoreError("as it was")

    assert explain(error, PATH) is error


def test_only_waiting_helps_against_a_lock():
    """Busy and locked pass; a full disk does not."""
    codes = (sqlite3.SQLITE_BUSY | 2 << 8, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)

    assert [True, True, False] == [is_busy(sqlite_error(code)) for code in codes]


def test_a_mistake_is_ours_and_not_the_disks():
    """What cannot be asked is told from what cannot be done."""
    errors = (
        sqlite3.ProgrammingError("type not supported"),
        sqlite3.IntegrityError("NOT NULL"),
        TypeError("no"),
        sqlite3.OperationalError("disk"),
        sqlite3.DatabaseError("malformed"),
        OSError("disk"),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no letter"),
    )

    assert [True, True, True, False, False, False, False, False] == [is_mistake(error) for error in errors]


@pytest.mark.parametrize(("pid", "by"), [(4711, "another process (pid 4711);"), (None, "another process;")])
def test_locked_names_the_holder_where_it_is_known(pid, by):
    """Whoever waits in vain hears of whom, where that is known."""
    error = locked(PATH, 30.0, pid)

    assert isinstance(error, Locked)
    assert f"The store {PATH} is locked by {by} waited 30 s." in str(error)
