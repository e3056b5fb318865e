"""What SQLite and the disk say, put into words: what passes, what does not, and what to do about it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from dfllm._core.errors import StoreError

ELSEWHERE = "choose another place with DFLLM_STORE or store="

#: Primary result codes and their sentences: what was found, what to do.
_SENTENCES = {
    sqlite3.SQLITE_FULL: ("the disk is full", f"Free some space, or {ELSEWHERE}."),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", f"Look after the disk, or {ELSEWHERE}."),
    sqlite3.SQLITE_READONLY: ("it is read-only", f"Make the file and its directory writable, or {ELSEWHERE}."),
    sqlite3.SQLITE_PERM: ("permission is denied", f"Make the file and its directory writable, or {ELSEWHERE}."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", f"Make the file and its directory writable, or {ELSEWHERE}."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Run `dfllm store repair`: it keeps what can be read."),
    sqlite3.SQLITE_NOTADB: (
        "it is no SQLite database",
        f"If it was a store before, run `dfllm store repair`; otherwise {ELSEWHERE}.",
    ),
    sqlite3.SQLITE_BUSY: ("another program holds it", "Close that program and run again."),
    sqlite3.SQLITE_NOMEM: ("memory ran out", "Run again with more memory or smaller frames."),
}

_CODES = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EIO: sqlite3.SQLITE_IOERR,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
}


#: What SQLite raises about a file or a disk. The last one comes where its message quotes damaged bytes of the schema.
BROKEN = (sqlite3.Error, OSError, UnicodeDecodeError)


class Locked(StoreError):
    """Another process held the store for longer than we wait; this may pass."""


class Mistake(StoreError):
    """One piece of work cannot be done; the store is well."""


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code, 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_busy(error: Exception) -> bool:
    """Return whether waiting may help."""
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_mistake(error: Exception) -> bool:
    """Return whether what was asked cannot be done, rather than that the disk or the file cannot do it."""
    asked = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, sqlite3.DataError)
    return isinstance(error, asked) or not isinstance(error, (*BROKEN, MemoryError))


def explain(error: Exception, path: Path) -> StoreError:
    """Return the error for people, for whatever was raised while the store was in use."""
    if isinstance(error, StoreError):
        return error
    said = " ".join(str(error).split()) or type(error).__name__
    code = code_of(error)
    if isinstance(error, OSError):
        code = _CODES.get(error.errno or 0, 0)
    if isinstance(error, UnicodeDecodeError):
        code, said = sqlite3.SQLITE_CORRUPT, "its schema cannot be read"
    found, todo = _SENTENCES.get(code, (said, f"See what the message says, or {ELSEWHERE}."))
    aside = "" if found == said else f" ({said})"
    return StoreError(f"The store {path} cannot be used: {found}{aside}. {todo}")


def malformed(path: Path) -> StoreError:
    """Return the error of a file whose own structure is damaged, where we noticed before SQLite did."""
    found = sqlite3.DatabaseError("an index leads to the wrong row")
    found.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return explain(found, path)


def locked(path: Path, wait_seconds: float, pid: int | None) -> Locked:
    """Return the error of having waited in vain."""
    by = f" (pid {pid})" if pid else ""
    return Locked(
        f"The store {path} is locked by another process{by}; waited {wait_seconds:g} s. "
        f"Let it finish or end it, or {ELSEWHERE}."
    )
