"""The stage: the library with another clock, other dice, and processes that are none, while a world is played."""

import asyncio
import sys
import threading

from tests.chaos.clockwork import Clockwork, bend
from tests.chaos.process import PROCESS
from tests.chaos.world import World

from dfllm import _work
from dfllm._run import engine, pace_file, store_claims, store_schema, store_writer
from dfllm._run import loop as loop_module
from dfllm._run import runtime as runtime_module

#: How long a run sleeps at most before it looks again at what another one has in hand; half a second in real life.
LONGEST_POLL_SECONDS = 20.0
_MOST_ROWS = store_writer.MOST_ROWS


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
        monkeypatch.setattr(store_claims, "_is_stopped", lambda pid: False, raising=False)
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
