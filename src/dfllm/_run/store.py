"""The store of paid answers: one SQLite file, used by several threads and processes at once."""

from __future__ import annotations

import atexit
import sqlite3
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from dfllm._core.budget import Cap
from dfllm._core.errors import StoreError, StoreWarning
from dfllm._run import store_fork
from dfllm._run.store_care import Care
from dfllm._run.store_claims import Claims
from dfllm._run.store_errors import BROKEN, explain, is_busy, locked, malformed
from dfllm._run.store_files import beside, is_network, make_file, make_room, refuse_foreign
from dfllm._run.store_ledger import Began, Ended, Past, Room, Spent, past
from dfllm._run.store_lock import FileLock
from dfllm._run.store_refresh import Refresh, Refreshed, since
from dfllm._run.store_rescue import rescue
from dfllm._run.store_rows import KEY_BYTES, Attempt, Claimed, Entry, Spend, Stored, note_of, pack, row_of
from dfllm._run.store_schema import (
    WINDOW,
    Connect,
    Durability,
    connected,
    make_writable,
    prepare,
    transaction,
)
from dfllm._run.store_spill import Spill, put_away, spills_of
from dfllm._run.store_stats import Source, Stats, Verification, stats_of, verification_of
from dfllm._run.store_work import Beat, Claim, Desk, Journal, Reserve, Save, SetAside, Work, take_in
from dfllm._run.store_writer import BUSY_SECONDS, Hands, Writer

__all__ = ["Attempt", "Claimed", "Entry", "Source", "Stats", "Store", "Stored", "Verification"]

# The keys come as one piece of bytes that the statement cuts: half the price of a temp table filled for each window.
_KNOWN = """
    SELECT e.body, e.seconds, e.created, e.cost, e.checksum
    FROM numbers n LEFT JOIN entries e
        ON e.key = substr(:keys, n.i * 20 + 1, 20) AND e.created >= :since
    WHERE n.i < :count ORDER BY n.i
"""


class Store:
    """Paid answers on disk; opens the file, or makes it.

    Args:
        path: the file. Others lie beside it: WAL, shared memory, lock, spill files.
        wait_seconds: how long to wait for another process before giving up.
        lease_seconds: how long a process that cannot be looked at keeps its claims without a sign of life.
        clock: unix seconds.
        durability: "normal" survives the end of the process, "full" that of the power too.
        connect: opens a SQLite database.

    Attributes:
        damaged: how many damaged entries were met and set aside.

    Raises:
        StoreError: the store cannot be opened; it says why and what to do.
    """

    def __init__(
        self,
        path: Path,
        *,
        wait_seconds: float = 30.0,
        lease_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
        durability: Durability = "normal",
        connect: Connect = sqlite3.connect,
    ) -> None:
        self.path = path.absolute()
        self.damaged = 0
        self._connect = connect
        self._durability = durability
        self._lock = FileLock(beside(self.path, ".lock"), self.path, wait_seconds)
        self._claims = Claims(clock, lease_seconds)
        self._desk = Desk(self._claims, clock, partial(malformed, self.path))
        self._reading = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._closed = False
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._lock.close()
            raise
        hands = Hands(self._writing, self._desk.do, self._rescue, self._recover, lambda: self._claims.holding)
        self._writer = Writer(self.path, self._lock, hands, beat_seconds=lease_seconds / 4)
        atexit.register(self.close)
        store_fork.watch(self)

    @property
    def failed(self) -> StoreError | None:
        """The first write that failed for a reason that will not pass; every later write fails with it too."""
        return self._writer.failed

    def known(self, keys: Sequence[bytes], *, since: float = 0.0) -> list[Stored | None]:
        """Look answers up.

        Args:
            keys: any number, in any order, the same one as often as you like.
            since: answers older than this, in unix seconds, do not count.

        Returns:
            One answer or None for each key, in the order of the keys. A damaged
            entry gives None; it is set aside, and one warning is given.

        Raises:
            StoreError: the store cannot be read.
        """
        if not {len(key) for key in keys} <= {KEY_BYTES}:
            raise ValueError(f"A key has {KEY_BYTES} bytes.")
        answers: list[Stored | None] = []
        bad: set[bytes] = set()
        for first in range(0, len(keys), WINDOW):
            with self._explained(), self._reading:
                answers += self._look_up(keys[first : first + WINDOW], since, bad)
        if bad:
            self._set_aside(bad)
        return answers

    def _look_up(self, keys: Sequence[bytes], since: float, bad: set[bytes]) -> list[Stored | None]:
        found = self._connected().execute(_KNOWN, {"keys": b"".join(keys), "count": len(keys), "since": since})
        answers: list[Stored | None] = []
        add = answers.append  # this loop is what a re-run costs
        for key, (body, seconds, created, cost, total) in zip(keys, found, strict=True):
            if total is None:
                add(None)
                continue
            try:
                # `checksum`, written out: a call for each row would be a tenth of all this.
                fixed = pack(key, created, seconds, -1 if cost is None else cost)
                if crc32(body, crc32(fixed)) == total:
                    add(Stored(body, seconds, created, cost))
                    continue
            except (TypeError, struct.error):
                pass
            bad.add(key)
            add(None)
        return answers

    def _set_aside(self, bad: set[bytes]) -> None:
        first = self.damaged == 0
        self.damaged += len(bad)
        if self.failed is None:
            self._submit(SetAside(sorted(bad))).result()
        if first:
            self._warn("has damaged entries; they are set aside and asked again. `dfllm store verify` shows how many.")

    def claim(
        self,
        keys: Sequence[bytes],
        run: str,
        *,
        since: float = 0.0,
        reserves: Sequence[int] = (),
        cap: Cap | None = None,
    ) -> Future[Claimed]:
        """Ask which keys this run may send; equal keys count once.

        Args:
            keys: what the run wants to know.
            run: the run's id.
            since: answers older than this, in unix seconds, do not count.
            reserves: the most that each key can cost, in 1e-9 USD, where there is a cap.
            cap: what must not be passed; keys that do not fit are not claimed.

        Returns:
            A future of what is the run's own, what is answered, what others ask, and what does not fit.
        """
        if not {len(key) for key in keys} <= {KEY_BYTES}:
            raise ValueError(f"A key has {KEY_BYTES} bytes.")
        return self._submit(Claim(tuple(keys), run, since, reserves, cap))

    def reserve(self, key: bytes, run: str, amount: int, cap: Cap) -> Future[Room | None]:
        """Reserve for one more attempt; the future is None where it fits, else what is left."""
        return self._submit(Reserve(key, run, amount, cap))

    def begin(self, began: Began) -> Future[None]:
        """Enter a run into the ledger."""
        return self._submit(began)

    def refresh(self, refresh: Refresh) -> Future[float]:
        """Go on with a refresh that was broken off, or begin one; the future is when it began, once that is on disk."""
        return self._submit(refresh)

    def refreshing(self, refresh: Refresh) -> float | None:
        """Return when the refresh began that would go on; None where one would begin."""
        with self._explained(), self._apart() as connection:
            return since(connection, refresh)

    def conclude(self, ended: Ended | Refreshed) -> Future[None]:
        """Enter how a run ended into the ledger, or that a refresh did."""
        return self._submit(ended)

    def end(self, run: str) -> None:
        """Hear that a run has ended that could not release its claims, as when the store was locked.

        This process gives them to whoever asks, and takes them out of the file when it can write again.
        """
        self._claims.end(run)

    @property
    def ended(self) -> frozenset[str]:
        """Runs that have ended without releasing their claims; whoever opens the store anew passes them on."""
        return frozenset(self._claims.ended)

    def save(
        self, entries: Sequence[Entry], run: str, *, free: Sequence[bytes] = (), spends: Sequence[Spend] = ()
    ) -> Future[None]:
        """Put answers in and the run's claims on them out; the future is set when they are on disk.

        An answer that cannot be stored goes to a spill file, and the future says so.

        Args:
            entries: the answers.
            run: the run's id.
            free: keys that got no answer, whose claims are given back too.
            spends: what was paid for them.

        Raises:
            ValueError, TypeError: an entry could not be read back as it is.
        """
        return self._submit(Save([row_of(entry) for entry in entries], run, free, spends))

    def journal(self, attempts: Sequence[Attempt], spends: Sequence[Spend] = ()) -> Future[None]:
        """Note attempts that gave no answer but may have been billed, and what they may have cost."""
        return self._submit(Journal([note_of(attempt) for attempt in attempts], spends))

    def past(self) -> tuple[list[Past], list[Spent]]:
        """Return every run, newest first, and what was spent by run and day.

        Raises:
            StoreError: the store cannot be read.
        """
        with suppress(StoreError):
            self._submit(Beat()).result()  # runs of processes that are gone are known as such from here on
        with self._explained(), self._apart() as connection:
            return past(connection)

    @contextmanager
    def care(self) -> Iterator[Care]:
        """Give what tends the whole store: makes room, purges, gives answers out and takes them in."""
        with self._explained(), self._apart() as connection:
            make_writable(connection, self._durability)
            yield Care(connection, self.path, self._turn, self._lock.wait_seconds, self._recover)

    def stats(self) -> Stats:
        """Count what is in the store.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._explained(), self._apart() as connection:
            return stats_of(connection, self.path)

    def verify(self) -> Verification:
        """Read the whole store and compare every checksum; nothing is changed."""
        with self._explained(), self._apart() as connection:
            return verification_of(connection)

    def close(self) -> None:
        """Write what is queued, give claims back and close the file. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        store_fork.forget(self)
        self._writer.close()
        self._close_reader()

    def _submit(self, work: Work) -> Future[Any]:
        return self._writer.submit(work)

    def _open(self) -> None:
        refuse_foreign(self.path)
        make_room(self.path)
        network = is_network(self.path)
        with self._lock.held():
            make_file(self.path)
            connection = self._connection(self._lock.wait_seconds)
            try:
                prepare(connection, self.path, journal="delete" if network else "wal")
                with transaction(connection):
                    spills = self._take_in(connection)
                    self._claims.sweep(connection)
            except BaseException:
                connection.close()
                raise
            put_away(spills)
        self._reader = connection
        if network:
            self._warn(
                "lies on a network file system: it is slower there and one process writes at a time. "
                "A local disk is better; choose one with DFLLM_STORE or store=."
            )
        damaged = sum(each.damaged for each in spills)
        if damaged:
            self._warn(f"had {damaged} damaged lines in its spill files; they are kept in *.damaged, the rest is in.")

    def _warn(self, what: str) -> None:
        warnings.warn(f"The store {self.path} {what}", StoreWarning, stacklevel=4)

    def _connection(self, wait_seconds: float) -> sqlite3.Connection:
        return connected(self.path, self._connect, wait_seconds=wait_seconds)

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"The store {self.path} is closed.")
        if self._reader is None:
            self._reader = self._connection(self._lock.wait_seconds)
        return self._reader

    def _writing(self) -> sqlite3.Connection:
        connection = self._connection(BUSY_SECONDS)
        make_writable(connection, self._durability)
        return connection

    @contextmanager
    def _apart(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for a long look, so that look-ups need not wait for it."""
        connection = self._connection(self._lock.wait_seconds)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BROKEN as error:
            if isinstance(error, StoreError):
                raise
            if is_busy(error):
                raise locked(self.path, self._lock.wait_seconds, None) from error
            raise explain(error, self.path) from error

    @contextmanager
    def _turn(self, deadline: float | None) -> Iterator[None]:
        with self._lock.held(deadline), self._writer.working:
            yield

    def _rescue(self, works: Sequence[Work]) -> str:
        return rescue(self.path, works)

    def _recover(self, connection: sqlite3.Connection) -> Callable[[], None]:
        spills = self._take_in(connection)
        return lambda: put_away(spills)

    def _take_in(self, connection: sqlite3.Connection) -> list[Spill]:
        spills = spills_of(self.path)
        for each in spills:
            take_in(connection, each.rows, each.notes, each.spends)
        return spills

    def pause(self) -> None:
        """Keep other threads out of SQLite while this one forks."""
        self._reading.acquire()
        self._writer.working.acquire()

    def resume(self) -> None:
        """Go on in the parent after a fork."""
        self._writer.working.release()
        self._reading.release()

    def restart(self) -> None:
        """Go on in the child after a fork: with connections, a thread and claims of its own."""
        store_fork.keep_for_ever((self._reader, self._writer.restart()))
        self._reader = None
        self._reading = threading.Lock()
        self._lock.restart()
        self._claims.restart()

    def _close_reader(self) -> None:
        with ExitStack() as stack:
            # Whoever closes last checkpoints. SQLite makes sure that it is the last, so our lock is a courtesy.
            with suppress(OSError):
                stack.enter_context(self._lock.held(time.monotonic() + 1.0))
            with self._reading:
                if self._reader is not None:
                    self._reader.close()
                    self._reader = None
        self._lock.close()
