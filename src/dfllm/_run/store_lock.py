"""The one lock around every commit and every checkpoint, held by the operating system for a process that may die.

SQLite before 3.51.3 can damage a WAL database when one connection checkpoints while another commits, and most Pythons
carry an older one.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dfllm._run.store_errors import locked

_SHORTEST_NAP_SECONDS = 0.0005
_LONGEST_NAP_SECONDS = 0.02

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def try_lock(file: int) -> bool:
        # Locked bytes cannot be read by others, so the lock lies behind the pid.
        os.lseek(file, 1024, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: int) -> None:
        os.lseek(file, 1024, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """One holder among all threads and processes.

    Args:
        path: the lock's own file; its content is the pid of who held it last.
        store: the file it guards, for messages.
        wait_seconds: how long to wait where no deadline is given.
    """

    def __init__(self, path: Path, store: Path, wait_seconds: float) -> None:
        self._path = path
        self._store = store
        self.wait_seconds = wait_seconds
        self._threads = threading.Lock()
        self._file: int | None = None

    def deadline(self) -> float:
        """Return when waiting that begins now ends, on the monotonic clock."""
        return time.monotonic() + self.wait_seconds

    @contextmanager
    def held(self, deadline: float | None = None) -> Iterator[None]:
        """Hold the lock for a block.

        Raises:
            Locked: somebody else held it until the deadline.
            OSError: the lock's file cannot be used.
        """
        deadline = self.deadline() if deadline is None else deadline
        if not self._threads.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            raise locked(self._store, self.wait_seconds, None)
        try:
            file = self._acquire(deadline)
            try:
                yield
            finally:
                unlock(file)
        finally:
            self._threads.release()

    def _acquire(self, deadline: float) -> int:
        nap = _SHORTEST_NAP_SECONDS
        while True:
            file = self._open()
            if try_lock(file):
                if self._is_current(file):
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, b"%-12d" % os.getpid())
                    return file
                # Deleted under us: whoever comes next would lock another file.
                self.close()
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise locked(self._store, self.wait_seconds, self._holder(file))
            time.sleep(min(nap * random.uniform(0.5, 1.0), left))  # noqa: S311  # only spreads the waiters
            nap = min(nap * 2, _LONGEST_NAP_SECONDS)

    def _open(self) -> int:
        if self._file is None:
            flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(self._path, flags, 0o600)
        return self._file

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False

    def _holder(self, file: int) -> int | None:
        with suppress(OSError, ValueError):
            os.lseek(file, 0, os.SEEK_SET)
            return int(os.read(file, 12))
        return None

    def close(self) -> None:
        """Close the lock's file; it opens again when needed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def restart(self) -> None:
        """Begin anew in a forked child. Closing leaves the parent's hold alone; unlocking would end it."""
        self._threads = threading.Lock()
        self.close()
