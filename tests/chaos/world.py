"""A world in virtual time: one provider, processes that are born and killed, one store, and a record of all of it.

The library in it is whole, from the engine down to the store's file and its writing thread. Only the sockets are not
there: a process's `Http` hands bodies to a simulator in the same process.
"""

import asyncio
import atexit
import contextvars
import json
import socket
import sqlite3
import sys
import threading
import zlib
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

import httpx
from tests.chaos.clockwork import Clockwork, Given, bend

from dfllm import _work
from dfllm._run import engine, pace_file, store_claims, store_fork, store_schema, store_writer
from dfllm._run import loop as loop_module
from dfllm._run import runtime as runtime_module
from dfllm._run.http import Answer
from dfllm._run.http_errors import BodyCut, Late
from dfllm._run.store import Store
from dfllm._run.store_work import Beat, Claim, Save, SetAside
from dfllm.simulator import Bill, Unanswered

#: How long a run sleeps at most before it looks again at what another one has in hand; half a second in real life.
LONGEST_POLL_SECONDS = 20.0
_MOST_ROWS = store_writer.MOST_ROWS
#: Which run, and which process, the code at hand belongs to; its tasks and timers inherit it.
RUN = contextvars.ContextVar("run")
PROCESS = contextvars.ContextVar("process")


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        at: virtual seconds.
        run: the run it happened to; empty for the world's own.
        text: the question it is about; empty for none.
        what: what it was.
        more: what came of it.
    """

    at: float
    run: str
    text: str
    what: str
    more: object = None

    def __str__(self) -> str:
        return f"{self.at:.6f} {self.run} {self.text!r} {self.what} {'' if self.more is None else self.more}"


class Heard(NamedTuple):
    """What a process got to hear of one request.

    Attributes:
        status: the HTTP status; 0 where there was no whole answer.
        headers: the answer's.
        body: the answer's, as far as it came.
        trouble: why there was no whole answer; empty where there was one.
        sent: whether the request reached the provider.
    """

    status: int
    headers: object
    body: bytes
    trouble: str = ""
    sent: bool = True

    def __str__(self) -> str:
        return f"{self.trouble or self.status} {zlib.crc32(self.body):08x}"


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
                if (process.dead or process.doomed) and sql != "ROLLBACK":
                    raise SystemExit  # which ends the writing thread, and is not told of
                if sql == "COMMIT" and threading.current_thread().name == "dfllm-store":
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


class World:
    """Everything there is.

    Args:
        loop: its time.
        path: the store's file.

    Attributes:
        events: all that happened, in order.
        pace_folder: where the processes keep their tempo together.
        provider: who is asked; set anew at will.
        echoes: whether its errors repeat what it was sent.
        living: the processes that live.
        keys: the questions by their keys.
        bodies: what was sent first for each question.
    """

    def __init__(self, loop, path):
        self.loop = loop
        self.path = path
        self.events = []
        self.pace_folder = path.parent / "pace"
        self.pace_folder.mkdir()
        self.bill = Bill()
        self.provider = None
        self.echoes = False
        self.living = set()
        self.processes = []
        self.owner = 0
        self.keys = {}
        self.bodies = {}
        self.broken = []

    def note(self, run, text, what, more=None):
        """Record an event."""
        self.events.append(Event(self.loop.now, run, text, what, more))

    def text_of(self, body):
        """Return the question in a body: the row's own words, whatever was added to them later."""
        text = next(turn["content"] for turn in json.loads(body)["messages"] if turn["role"] == "user")
        self.bodies.setdefault(text, body)
        return text

    async def ask(self, body, headers, timeout_seconds):
        """Ask the provider; return what is heard of it."""
        try:
            received = await self.provider.post(body, headers, timeout_seconds)
        except Unanswered as trouble:
            return Heard(0, {}, trouble.received or b"", trouble.trouble, trouble.sent)
        answer = received.body
        if self.echoes and received.status >= 400:
            sent = headers.get("Authorization", "")
            answer = answer.replace(b'"message":"', f'"message":"Authorization: {sent} '.encode(), 1)
        return Heard(received.status, received.headers, answer)

    def saved(self, done, keys):
        """Hear that a group of answers is on disk, or is not."""
        if done.exception() is None:
            for key in keys:
                self.note("", self.keys[key], "saved")

    def new_process(self):
        """Return a process that has just begun."""
        process = Process(self, len(self.processes) + 1)
        self.processes.append(process)
        self.living.add(process.pid)
        return process


class Stage:
    """Where worlds are played: the library in virtual time, one loop and one world at a time.

    Args:
        monkeypatch: takes everything back.
    """

    def __init__(self, monkeypatch):
        self.loop = None
        self.world = None
        self.uniform = None
        monkeypatch.setattr(store_writer, "MOST_ROWS", _MOST_ROWS)
        for name in ("_SLICE", "_CLAIMS"):
            monkeypatch.setattr(engine, name, getattr(engine, name))
        # In virtual time a run waits for hours for what another has in hand, and looks as often.
        monkeypatch.setattr(engine, "_POLL_SECONDS", (0.05, LONGEST_POLL_SECONDS))
        bend(monkeypatch, lambda: self.loop.now if self.loop else 1.0, lambda: self.uniform())
        # The table of many numbers is half the time a store takes to open.
        monkeypatch.setattr(store_schema, "WINDOW", 600)
        monkeypatch.setattr(runtime_module, "Store", lambda *place, **how: PROCESS.get().open_store(*place, **how))
        monkeypatch.setattr(pace_file, "folder", lambda: self.world.pace_folder)
        usual = runtime_module.runtime
        for module in [module for name, module in sys.modules.items() if name.startswith("dfllm.")]:
            if getattr(module, "runtime", None) is usual:
                monkeypatch.setattr(module, "runtime", lambda: PROCESS.get().runtime)
        monkeypatch.setattr(store_claims, "this_owner", self._owner)
        monkeypatch.setattr(store_claims, "_start_of", self._start_of)
        # It asks for a list of models, over real sockets.
        monkeypatch.setattr(_work, "near_model", lambda *asked: "")
        monkeypatch.setattr(threading, "excepthook", _unless_killed(threading.excepthook))
        monkeypatch.setattr(loop_module, "loop", lambda: self.loop)

    def _owner(self):
        return store_claims.Owner("world", "its only boot", self.world.owner, f"born {self.world.owner}")

    def _start_of(self, pid):
        return f"born {pid}" if pid in self.world.living else None

    def play(self, path, uniform, story, *, window, singly=False):
        """Play a story on a new loop; return the world.

        Args:
            path: the store's file.
            uniform: gives random numbers in [0, 1).
            story: from the world to a coroutine.
            window: how many rows are prepared and claimed at once.
            singly: whether every piece of work is a commit of its own, so that it is certain what each holds.
        """
        self.uniform = uniform
        store_writer.MOST_ROWS = 1 if singly else _MOST_ROWS
        engine._SLICE = engine._CLAIMS = window
        loop = self.loop = Clockwork()
        self.world = world = World(loop, path)
        loop.set_exception_handler(lambda _, context: world.broken.append(context))
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(story(world))
            return world
        finally:
            self._clear(loop, world)

    def _clear(self, loop, world):
        """Leave nothing behind: no task, no thread, no open file."""
        for process in world.processes:
            process.close()
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:  # of processes that were killed
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=60.0))
        loop.close()
        asyncio.set_event_loop(None)
        self.loop = None


def _unless_killed(usual):
    def hook(what):
        if what.exc_type is not SystemExit:
            usual(what)

    return hook
