"""Claims: who may send a request, so that it is sent once by all threads and processes together.

A claim belongs to a run of an owner, and an owner is a process. An owner known dead on this host loses its claims at
once, one known to run keeps them, and one that is paused, or that we cannot see, loses them when it has not been heard
of for a lease.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from dfllm._core.budget import Cap
from dfllm._run import store_ledger
from dfllm._run.store_ledger import Room, in_lots
from dfllm._run.store_rows import Claimed
from dfllm._run.store_schema import WINDOW, text_of

_PROC = Path("/proc")

_ANSWERED = """
    SELECT n.i FROM numbers n CROSS JOIN entries e ON e.key = substr(:keys, n.i * 20 + 1, 20)
    WHERE n.i < :count AND e.created >= :since AND e.checksum NOT NULL
"""
_CLAIMED = """
    SELECT n.i, c.owner, c.owner = :owner AND c.run = :run, c.run
    FROM numbers n CROSS JOIN claims c ON c.key = substr(:keys, n.i * 20 + 1, 20)
    WHERE n.i < :count
"""


class Owner(NamedTuple):
    """A process, told from any other that ever ran.

    Attributes:
        host: the host's name.
        boot: the boot and, as containers number their processes alike, the space of process ids; empty if unknown.
        pid: the process id.
        start: when it started, as the kernel counts; empty if unknown.
    """

    host: str
    boot: str
    pid: int
    start: str


def this_owner() -> Owner:
    """Return the process that asks."""
    boot = ""
    with suppress(OSError):
        booted = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        boot = f"{booted}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    pid = os.getpid()
    return Owner(socket.gethostname(), boot, pid, _start_of(pid) or "")


def _start_of(pid: int) -> str | None:
    """Return when a process started, None where it does not run any more."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name is in brackets and may hold anything, brackets too.
    fields = stat.rpartition(b")")[2].split()
    # A zombie will not send anything any more.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode("ascii")


def _is_stopped(pid: int) -> bool:
    """Return whether a process was paused, and nobody knows for how long."""
    with suppress(OSError):
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    return False


class Claims:
    """The claims of one process in one store; every method is called inside a transaction but `restart`.

    Args:
        clock: unix seconds.
        lease_seconds: how long an owner that cannot be looked at keeps its claims without a sign of life.
    """

    def __init__(self, clock: Callable[[], float], lease_seconds: float) -> None:
        self._clock = clock
        self.lease_seconds = lease_seconds
        self.restart()

    def restart(self) -> None:
        """Forget all claims, as in a forked child: they are its parent's."""
        self._me = this_owner()
        self._runs: set[str] = set()
        self.ended: set[str] = set()
        self.holding = False

    def end(self, run: str) -> None:
        """Hear that a run has ended that could not give its claims back: anyone may take them from now on."""
        self.ended.add(run)

    def take(
        self,
        connection: sqlite3.Connection,
        keys: Sequence[bytes],
        run: str,
        since: float,
        reserves: Sequence[int] = (),
        cap: Cap | None = None,
    ) -> Claimed:
        """Claim what is neither answered since then nor asked by another live run, and what the cap has room for."""
        prices = dict(zip(keys, reserves, strict=True)) if cap is not None else {}
        keys = list(dict.fromkeys(keys))
        me = self.show_up(connection)
        claimed = Claimed([], [], [])
        dear: list[bytes] = []
        for first in range(0, len(keys), WINDOW):
            self._take(connection, keys[first : first + WINDOW], (me, run), since, claimed, dear, prices, cap)
        if claimed.mine:
            self._runs.add(run)
            self.holding = True
        if cap is None:
            return claimed
        return claimed._replace(dear=dear, **store_ledger.room(connection, cap)._asdict())

    def reserve(self, connection: sqlite3.Connection, key: bytes, run: str, amount: int, cap: Cap) -> Room | None:
        """Reserve for one more attempt at a key; return what is left where that does not fit, else None."""
        me = self.show_up(connection)
        found = store_ledger.room(connection, cap)
        if amount > found.left:
            return found
        sql = (
            "INSERT INTO claims(key, owner, run, at, reserved) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT(key) DO UPDATE SET reserved = reserved + excluded.reserved"
        )
        connection.execute(sql, (key, me, run, self._clock(), amount))
        self._runs.add(run)
        self.holding = True
        return None

    def spend(self, connection: sqlite3.Connection, pairs: Sequence[tuple[bytes | None, str]]) -> None:
        """Hear that what claims reserved is spent, by key and run."""
        sql = "UPDATE claims SET reserved = 0 WHERE key = ? AND run = ? AND reserved > 0"
        connection.executemany(sql, pairs)

    def _take(
        self,
        connection: sqlite3.Connection,
        keys: list[bytes],
        us: tuple[int, str],
        since: float,
        claimed: Claimed,
        dear: list[bytes],
        prices: Mapping[bytes, int],
        cap: Cap | None,
    ) -> None:
        window = {"keys": b"".join(keys), "count": len(keys), "since": since, "owner": us[0], "run": us[1]}
        answered = {place for (place,) in connection.execute(_ANSWERED, window)}
        now = self._clock()
        ours, held, left_behind = self._claimed(connection, window)
        for place in left_behind:
            store_ledger.forfeit(connection, "key = ?", (keys[place],), now)
        left = 0 if cap is None else store_ledger.room(connection, cap).left
        fresh = []
        for place, key in enumerate(keys):
            if place in answered:
                claimed.answered.append(key)
            elif place in held:
                claimed.held.append(key)
            elif place in ours:
                claimed.mine.append(key)
            elif cap is not None and prices[key] > left:
                dear.append(key)
            else:
                claimed.mine.append(key)
                price = prices.get(key, 0)
                left -= price
                fresh.append((key, *us, now, price))
        for lot in in_lots(fresh):
            places = ", ".join(["(?, ?, ?, ?, ?)"] * len(lot))
            sql = f"INSERT OR REPLACE INTO claims(key, owner, run, at, reserved) VALUES {places}"  # noqa: S608  # marks only
            connection.execute(sql, list(chain.from_iterable(lot)))

    def _claimed(
        self, connection: sqlite3.Connection, window: Mapping[str, Any]
    ) -> tuple[set[int], set[int], list[int]]:
        """Return which keys of a window are claimed: by us, by other live runs, and by some that have ended."""
        ours, held, left_behind = set(), set(), []
        alive: dict[int, bool] = {window["owner"]: True}
        for place, owner, is_ours, run in connection.execute(_CLAIMED, window):
            if is_ours:
                ours.add(place)
                continue
            if owner not in alive:
                alive.update(self._living(connection))
            has_ended = owner == window["owner"] and text_of(run) in self.ended
            if has_ended or not alive.setdefault(owner, False):
                left_behind.append(place)
            else:
                held.add(place)
        return ours, held, left_behind

    def free(self, connection: sqlite3.Connection, pairs: Sequence[tuple[bytes, str]]) -> None:
        """Give claims back, by key and run; those of others stay."""
        if self._runs:
            me = self._number(connection)
            for run, alike in groupby(pairs, key=itemgetter(1)):
                for lot in in_lots([key for key, _ in alike]):
                    places = ", ".join("?" * len(lot))
                    sql = f"DELETE FROM claims WHERE key IN ({places}) AND owner = ? AND run = ?"  # noqa: S608  # marks only
                    connection.execute(sql, [*lot, me, run])

    def beat(self, connection: sqlite3.Connection) -> None:
        """Show that this process lives and clear away after those that do not; rest when nothing is claimed."""
        me = self.show_up(connection)
        for run in self.ended:
            store_ledger.forfeit(connection, "owner = ? AND run = ?", (me, run), self._clock())
        connection.executemany("DELETE FROM claims WHERE owner = ? AND run = ?", [(me, run) for run in self.ended])
        self.sweep(connection)
        if connection.execute("SELECT 1 FROM claims WHERE owner = ? LIMIT 1", (me,)).fetchone() is None:
            self.holding = False

    def sweep(self, connection: sqlite3.Connection) -> None:
        """Remove the claims of owners that are gone."""
        gone = [(owner,) for owner, lives in self._living(connection).items() if not lives]
        for (owner,) in gone:
            store_ledger.forfeit(connection, "owner = ?", (owner,), self._clock())
            store_ledger.lose_runs(connection, owner, self._clock())
        connection.executemany("DELETE FROM claims WHERE owner = ?", gone)
        connection.executemany("DELETE FROM owners WHERE id = ?", gone)

    def leave(self, connection: sqlite3.Connection) -> None:
        """Give back every claim made here, as the store is closed."""
        me = self._number(connection)
        for run in self._runs:
            store_ledger.forfeit(connection, "owner = ? AND run = ?", (me, run), self._clock())
        connection.executemany("DELETE FROM claims WHERE owner = ? AND run = ?", [(me, run) for run in self._runs])
        # Another open store of this process may still hold some.
        connection.execute(
            "DELETE FROM owners WHERE id = ? AND NOT EXISTS (SELECT 1 FROM claims WHERE owner = owners.id)", (me,)
        )

    def show_up(self, connection: sqlite3.Connection) -> int:
        """Enter this process among the owners, or say that it lives; returns its number.

        The number is looked up each time: others sweep an owner that is quiet, and a failed transaction takes it back.
        """
        now = self._clock()
        connection.execute(
            "UPDATE owners SET seen = ? WHERE host = ? AND boot = ? AND pid = ? AND start = ?", (now, *self._me)
        )
        number = self._number(connection)
        if number is None:
            sql = "INSERT INTO owners(seen, host, boot, pid, start) VALUES (?, ?, ?, ?, ?)"
            number = connection.execute(sql, (now, *self._me)).lastrowid
        assert number is not None  # an INSERT that did not raise has a row
        return number

    def _number(self, connection: sqlite3.Connection) -> int | None:
        found = connection.execute(
            "SELECT id FROM owners WHERE host = ? AND boot = ? AND pid = ? AND start = ?", self._me
        ).fetchone()
        return None if found is None else found[0]

    def _living(self, connection: sqlite3.Connection) -> dict[int, bool]:
        """Return for each owner whether it keeps its claims."""
        now = self._clock()
        return {
            number: self._lives(Owner(text_of(host), text_of(boot), pid, text_of(start)), now - seen)
            for number, host, boot, pid, start, seen in connection.execute(
                "SELECT id, host, boot, pid, start, seen FROM owners"
            )
        }

    def _lives(self, owner: Owner, unheard_seconds: float) -> bool:
        if owner == self._me:
            return True
        if owner.boot and owner[:2] == self._me[:2]:
            if _start_of(owner.pid) != owner.start:
                return False
            # Here we can look, and need trust no clock: one that was set would make the living dead.
            if not _is_stopped(owner.pid):
                return True
        return unheard_seconds <= self.lease_seconds
