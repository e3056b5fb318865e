"""A process in virtual time: the library in it is whole, but for its sockets, and it may be killed at any moment.

Its `Http` hands bodies to the simulator of its world. Its store has its real file and its real writing thread.
"""

import asyncio
import atexit
import contextvars
import socket
import sqlite3
import threading
import zlib
from concurrent.futures import Future
from contextlib import suppress

import httpx
from tests.chaos.clockwork import Given

from dfllm._run import runtime as runtime_module
from dfllm._run import store_fork
from dfllm._run.http import Answer
from dfllm._run.http_errors import BodyCut, Late
from dfllm._run.store import Store
from dfllm._run.store_work import Beat, Claim, Save, SetAside

#: Which run, and which process, the code at hand belongs to; its tasks and timers inherit it.
RUN = contextvars.ContextVar("run")
PROCESS = contextvars.ContextVar("process")


class Process:
    """One life of a process: its store, its sockets, and whether it still lives.

    Attributes:
        pid: its number, never used twice.
        dead: whether it was killed.
        doomed: whether its writing thread has been killed in a commit; the rest of it follows at the end of the moment.
        commits: how many transactions its writing thread has begun to commit.
        dies_at: the commit in which it is killed; None for none.
        dies_after: whether that commit still reaches the disk.
        died: set when it has been killed.
    """

    def __init__(self, world, pid):
        self.world = world
        self.pid = pid
        self.dead = False
        self.doomed = False
        self.commits = 0
        self.dies_at = None
        self.dies_after = False
        self.died = asyncio.Event()
        self.stores = []
        self._debts = []
        self._dying = threading.Lock()
        self.runtime = _Runtime(self)

    def kill(self):
        """End it at once: it sends, writes and hears nothing any more. What it has given to its thread is written."""
        if self.dead:
            return
        self.finish()
        self.dead = True
        self.world.note("", "", "killed", f"process {self.pid}")
        self.world.living.discard(self.pid)
        self.died.set()
        for store in self.stores:
            store.drop()

    def give(self, submit, work):
        """Give its writing thread something to do; return a future that is never done if the process dies first."""
        heard, debt = Future(), Future()
        heard.set_running_or_notify_cancel()
        with self._dying:
            if self.doomed:
                return heard
            self._debts = [one for one in self._debts if not one.done()] + [self.world.loop.owe(debt)]
        real = submit(work)
        self.world.loop.given.append(Given(self, real, heard))
        real.add_done_callback(lambda done: debt.set_result(None))
        return heard

    def finish(self):
        """Wait until the writing thread has done what it was given."""
        for debt in self._debts:
            debt.result()

    def connect(self, *place, **how):
        """Open a database as this process: nothing of it reaches the disk once it is dead."""
        process = self

        class Mortal(sqlite3.Connection):
            def execute(self, sql, *values):
                if threading.current_thread().name != "dfllm-store":
                    # What a dying process still reads in this very moment changes nothing.
                    return super().execute(sql, *values)
                if (process.dead or process.doomed) and sql != "ROLLBACK":
                    raise SystemExit  # which ends the writing thread, and is not told of
                if sql == "COMMIT":
                    return process.commit(super().execute)
                return super().execute(sql, *values)

        return sqlite3.connect(*place, factory=Mortal, **how)

    def commit(self, execute):
        """Commit, or die in it."""
        self.commits += 1
        if self.commits != self.dies_at:
            return execute("COMMIT")
        if self.dies_after:
            execute("COMMIT")
        with self._dying:
            self.doomed = True
        self.world.loop.doomed.append(self)
        for debt in self._debts:
            if not debt.done():
                debt.set_result(None)
        raise SystemExit

    def open_store(self, *place, **how):
        """Open a store as this process."""
        self.world.owner = self.pid
        store = _Store(self, *place, connect=self.connect, **how)
        self.stores.append(store)
        return store

    def close(self):
        """End it in good order, or clear away after it."""
        for store in self.stores:
            store.drop() if self.dead else store.close()


class _Store(Store):
    """A store whose writes the world waits for and knows of."""

    def __init__(self, process, *place, **how):
        self._process = process
        self._ticks = False
        super().__init__(*place, **how)

    def _tick(self):
        """Give the sign of life that the writing thread gives by the real clock."""
        self._ticks = not self._closed and self._claims.holding
        if self._ticks:
            self._submit(Beat())
            self._process.world.loop.call_later(self._claims.lease_seconds / 4, self._tick)

    def _submit(self, work):
        process = self._process
        if process.dead:
            return Future()
        for other in process.world.processes:
            if other is not process:
                other.finish()  # one writer at a time, or who is first would be a matter of luck
        if isinstance(work, SetAside):
            return super()._submit(work)  # which is waited for on the spot
        heard = process.give(super()._submit, work)
        if isinstance(work, Claim) and not self._ticks:
            self._ticks = True
            process.world.loop.call_later(self._claims.lease_seconds / 4, self._tick)
        if isinstance(work, Save):
            keys = [row[0] for row in work.rows]
            heard.add_done_callback(lambda done: process.world.saved(done, keys))
        return heard

    def drop(self):
        """Let go of the file without a farewell, as the system does for a process that is killed."""
        atexit.unregister(self.close)
        store_fork.forget(self)
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        with suppress(sqlite3.Error):
            if self._writer._connection is not None:
                self._writer._connection.close()
        self._close_reader()


class _Runtime(runtime_module.Runtime):
    def __init__(self, process):
        super().__init__()
        self._process = process

    def http(self):
        """Return sockets that know whose they are: each run asks for them once."""
        return _Http(self._process, RUN.get(""))


class _Http:
    """What a run sends through, and what it hears."""

    def __init__(self, process, run):
        self._process = process
        self._run = run

    async def post(self, route, body, timeout_seconds=None):
        """Send a body to the provider of this world."""
        process, world, run = self._process, self._process.world, self._run
        text = world.text_of(body)
        if process.dead:
            await asyncio.Future()
        world.note(run, text, "sent", f"{zlib.crc32(body):08x}")
        try:
            heard = await world.ask(body, dict(route.headers), timeout_seconds)
        except asyncio.CancelledError:
            if not process.dead:
                world.note(run, text, "dropped")
            raise
        if process.dead:
            await asyncio.Future()
        world.note(run, text, "heard", heard)
        if heard.trouble:
            raise _seen(heard, timeout_seconds)
        return Answer(heard.status, heard.headers, heard.body)


def _seen(heard, timeout_seconds):
    """Return what the real sockets would raise."""
    match heard.trouble:
        case "dns":
            error = httpx.ConnectError("no name")
            error.__cause__ = socket.gaierror(-2, "unknown")
            return error
        case "refuse":
            error = httpx.ConnectError("nobody there")
            error.__cause__ = ConnectionRefusedError(111, "refused")
            return error
        case "timeout":
            return Late(timeout_seconds, begun=bool(heard.body))
        case "cut":
            return BodyCut(len(heard.body))
        case "twice":
            return httpx.RemoteProtocolError("more answers than questions")
        case _:
            return httpx.ReadError("gone")
