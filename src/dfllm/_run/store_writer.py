"""The one thread that writes: what waits is committed together, then everyone is told."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dfllm._core.errors import StoreError
from dfllm._run.store_errors import BROKEN, ELSEWHERE, Locked, Mistake, explain, is_busy, is_mistake, locked
from dfllm._run.store_files import beside, identity_of
from dfllm._run.store_lock import FileLock
from dfllm._run.store_schema import transaction
from dfllm._run.store_work import Beat, Leave, Work, size_of

#: How long a busy writer lets more rows gather, and from how many rows on it does not.
LINGER_SECONDS = 0.002
ENOUGH_ROWS = 100
#: The most rows in one commit, so that other processes get their turn.
MOST_ROWS = 5_000
#: The WAL's length at which it is copied into the database, and at which readers are waited for. Keys are random, so
#: each row writes an index page of its own; copied rarely, a page is copied once for many rows. At 200,000 answers a
#: row costs a third less than with 16 MiB.
CHECKPOINT_BYTES = 64 << 20
TRUNCATE_BYTES = 4 * CHECKPOINT_BYTES
#: How long SQLite itself waits for a lock before we look at our own deadline again.
BUSY_SECONDS = 0.1


class Job(NamedTuple):
    """A piece of work and who waits for it."""

    work: Work
    future: Future[Any]


class Hands(NamedTuple):
    """What the writer is handed, as it knows neither tables nor files.

    Attributes:
        connect: gives the writer's own connection.
        do: does works in a transaction.
        rescue: keeps what a batch cannot commit; returns a sentence saying where, or nothing.
        recover: brings back what `rescue` kept, in a transaction; returns what to do after the commit.
        is_holding: whether signs of life are due.
    """

    connect: Callable[[], sqlite3.Connection]
    do: Callable[[sqlite3.Connection, Sequence[Work]], list[object]]
    rescue: Callable[[Sequence[Work]], str]
    recover: Callable[[sqlite3.Connection], Callable[[], None]]
    is_holding: Callable[[], bool]


class Writer:
    """Commits works in the order they come, many at a time.

    Args:
        path: the store's file.
        lock: held around each commit and checkpoint.
        hands: how things are done.
        beat_seconds: the time between two signs of life.
    """

    def __init__(self, path: Path, lock: FileLock, hands: Hands, *, beat_seconds: float) -> None:
        self._path = path
        self._lock = lock
        self._hands = hands
        self._beat_seconds = beat_seconds
        self._identity = identity_of(path)
        self.failed: StoreError | None = None
        self.restart()

    def restart(self) -> sqlite3.Connection | None:
        """Begin anew, as in a forked child: what the parent has queued, the parent writes.

        Returns:
            The parent's connection, which the child must neither use nor close.
        """
        parents: sqlite3.Connection | None = getattr(self, "_connection", None)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        #: Held while SQLite is at work, so that no fork falls into it.
        self.working = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._checkpoint_at = CHECKPOINT_BYTES
        self._owed = False
        self._beat_at: float | None = None
        return parents

    def submit(self, work: Work) -> Future[Any]:
        """Queue a piece of work; the future is set after its commit and cannot be cancelled."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._gate:
            if self._closed:
                future.set_exception(StoreError(f"The store {self._path} is closed."))
                return future
            if self._thread is None:
                # A daemon: a run that hangs must not keep the interpreter; `close` flushes at exit.
                self._thread = threading.Thread(target=self._run, name="dfllm-store", daemon=True)
                self._thread.start()
            self._queue.put(Job(work, future))
        return future

    def close(self) -> None:
        """Write what is queued, give claims back, checkpoint, and end the thread."""
        with self._gate:
            self._closed = True
            thread = self._thread
            if thread is not None:
                self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            batch, open_for_more = self._gather()
            if batch:
                self._settle(batch)
        self._finish()

    def _gather(self) -> tuple[list[Job], bool]:
        """Return what waits, and whether more may come."""
        wait_seconds = self._seconds_to_beat()
        busy = not self._queue.empty()
        try:
            # A sign of life comes first even where there is no pause between two batches.
            if wait_seconds == 0:
                raise queue.Empty
            job = self._queue.get(timeout=wait_seconds)
        except queue.Empty:
            self._beat_at = None
            return [Job(Beat(), Future())], True
        if job is None:
            return [], False
        batch = [job]
        more = self._drain(batch)
        # A lone job is of somebody who waits for it before the next one.
        if busy and more and len(batch) > 1 and sum(size_of(each.work) for each in batch) < ENOUGH_ROWS:
            time.sleep(LINGER_SECONDS)
            more = self._drain(batch)
        return batch, more

    def _drain(self, batch: list[Job]) -> bool:
        """Add what waits to a batch, up to a commit's worth; returns whether more may come."""
        rows = sum(size_of(job.work) for job in batch)
        while rows < MOST_ROWS and not self._queue.empty():
            # Nobody else takes from the queue, so this does not wait.
            job = self._queue.get()
            if job is None:
                return False
            batch.append(job)
            rows += size_of(job.work)
        return True

    def _seconds_to_beat(self) -> float | None:
        """Return how long until a sign of life is due, None where nothing is claimed."""
        if not self._hands.is_holding():
            self._beat_at = None
            return None
        now = time.monotonic()
        self._beat_at = self._beat_at or now + self._beat_seconds
        return max(self._beat_at - now, 0.0)

    def _settle(self, batch: Sequence[Job]) -> None:
        """Commit a batch and tell each who waits what became of it."""
        if self.failed is not None:
            self._turn_away(batch, self.failed)
            return
        try:
            given = self._commit([job.work for job in batch])
        except Exception as error:  # noqa: BLE001  # whoever waits must hear of anything
            if not is_mistake(error):
                self._turn_away(batch, error)
            elif len(batch) > 1:
                # Singly, so that work that cannot be done harms no other.
                for job in batch:
                    self._settle([job])
            else:
                self._turn_away(batch, Mistake(f"The store {self._path} cannot do this: {error!r}."))
            return
        for job, result in zip(batch, given, strict=True):
            job.future.set_result(result)
        self._checkpoint_if_long()  # now that nobody of this batch waits any more

    def _turn_away(self, batch: Sequence[Job], error: Exception) -> None:
        """Keep what was paid for, and tell each who waits what is wrong."""
        failure = explain(error, self._path)
        where = self._hands.rescue([job.work for job in batch])
        told = type(failure)(f"{failure} {where}") if where else failure
        if told is not error:
            told.__cause__ = error
        if isinstance(failure, Locked):
            self._owed = self._owed or bool(where)
        elif self.failed is None and not isinstance(failure, Mistake):
            self.failed = told
        for job in batch:
            job.future.set_exception(told)

    def _commit(self, works: Sequence[Work]) -> list[object]:
        deadline = self._lock.deadline()
        while True:
            with self._lock.held(deadline), self.working:
                try:
                    given = self._write(works)
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise
                    if time.monotonic() >= deadline:
                        raise locked(self._path, self._lock.wait_seconds, None) from error
                else:
                    return given

    def _write(self, works: Sequence[Work]) -> list[object]:
        connection = self._connected()
        done: Callable[[], None] | None = None
        with transaction(connection):
            if self._owed:
                done = self._hands.recover(connection)
            given = self._hands.do(connection, works)
        if done is not None:
            self._owed = False
            done()
        return given

    def _connected(self) -> sqlite3.Connection:
        """Return the connection, once it is certain that it leads to the file that others open."""
        if identity_of(self._path) != self._identity:
            raise StoreError(f"The store {self._path} was moved or deleted while it was in use; {ELSEWHERE}.")
        if self._connection is None:
            self._connection = self._hands.connect()
        return self._connection

    def _checkpoint_if_long(self) -> None:
        """Copy a long WAL into the database. The batch is committed already, whatever happens here."""
        try:
            length = beside(self._path, "-wal").stat().st_size
            if length < self._checkpoint_at:
                return
            mode = "PASSIVE" if length < TRUNCATE_BYTES else "TRUNCATE"
            with self._lock.held(), self.working:
                _, pages, copied = self._connected().execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except FileNotFoundError:
            return  # a rollback journal
        except Locked:
            return  # somebody else is at work for long; the next commit tries again
        except BROKEN as error:
            if not is_busy(error):
                self.failed = explain(error, self._path)
            return
        # With readers in the way the WAL grows on; trying again at each commit would cost two syncs each.
        self._checkpoint_at = CHECKPOINT_BYTES + (0 if pages == copied else length)

    def _finish(self) -> None:
        """Leave the file tidy. What fails here costs nothing: the WAL is read at the next open."""
        connection = self._connection
        if connection is None:
            return
        with suppress(*BROKEN), self._lock.held(), self.working:
            if self.failed is None:
                with transaction(self._connected()):
                    self._hands.do(connection, [Leave()])
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self.working:
            connection.close()
            self._connection = None
