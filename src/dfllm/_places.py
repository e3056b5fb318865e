"""Where a table is written: a file that is whole or not there, and known to be possible before anything is spent."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def check_place(path: Path) -> None:
    """Find out whether a path could be written, leaving no trace.

    Raises:
        OSError: it could not.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not _is_special(path):
        descriptor, beside = _open_beside(path.resolve())
        os.close(descriptor)
        beside.unlink()


def _is_special(path: Path) -> bool:
    """Return whether this is a pipe or a device, which is written to and not replaced."""
    return path.exists() and not path.is_file()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that takes the path's place once it is whole and on disk; until then the old one stays.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    if _is_special(path):
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # a link stays a link
    descriptor, beside = _open_beside(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if path.exists():
                beside.chmod(stat.S_IMODE(path.stat().st_mode))  # which the umask may have narrowed
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _open_beside(path: Path) -> tuple[int, Path]:
    beside = path.with_name(f".dfllm-{uuid.uuid4().hex[:12]}.tmp")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
    return os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), beside


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
