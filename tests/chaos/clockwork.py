"""Virtual time for the whole library: modules that read another clock, and a loop that hears of deaths."""

import random
import sys
import time
import types
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest
from tests.virtual import VirtualLoop

#: A wall clock that starts here; what is added to it is virtual.
EPOCH = 1_700_000_000.0
#: These wait for real threads and real locks, in real time.
_REAL = {"dfllm._run.store_lock", "dfllm._run.store_writer", "dfllm._run.loop"}


class _Inline(ThreadPoolExecutor):
    """Does at once what it is given: reading beside a thread that writes would be a matter of luck."""

    def submit(self, function, /, *values, **named):
        future = Future()
        try:
            future.set_result(function(*values, **named))
        except BaseException as error:  # noqa: BLE001  # it is whoever waits for it who hears of it
            future.set_exception(error)
        return future


class Given(NamedTuple):
    """What a process's thread has been given to do.

    Attributes:
        process: whose thread it is.
        real: ends in that thread, whenever that is.
        heard: ends in the loop's thread, in its turn.
    """

    process: object
    real: Future
    heard: Future

    def settle(self):
        """Pass on what came of it."""
        if (error := self.real.exception()) is not None:
            self.heard.set_exception(error)
        else:
            self.heard.set_result(self.real.result())


class Clockwork(VirtualLoop):
    """The virtual loop, for processes whose writing thread may be killed.

    What a thread has done is heard when the loop has nothing else to do, even if it was done at once: whether it was
    would be a matter of luck.

    Attributes:
        doomed: processes whose thread is gone; the rest of them goes before any other news is heard.
        given: what threads have been given, in order.
    """

    def __init__(self):
        super().__init__()
        self.doomed = []
        self.given = []
        self.set_default_executor(_Inline(1))

    def hear(self):
        """Take the news in, deaths first."""
        while self.doomed:
            dead = self.doomed.pop()
            dead.kill()
            self.given = [each for each in self.given if each.process is not dead]
        done, self.given = self.given, []
        for each in done:
            each.settle()
        return super().hear() or bool(done)


class _Time(types.SimpleNamespace):
    """Stands for the module `time` in a module of the library."""

    def __getattr__(self, name):
        return getattr(time, name)


def bend(monkeypatch: pytest.MonkeyPatch, now, uniform):
    """Have the library read another clock and other dice, wherever it reads them by itself.

    Args:
        monkeypatch: takes it back.
        now: gives virtual seconds.
        uniform: gives random numbers in [0, 1).
    """

    def wall():
        return EPOCH + now()

    bent = {time.monotonic: now, time.time: wall, time.perf_counter: now, random.random: uniform}
    shim = _Time(monotonic=now, time=wall, perf_counter=now)
    for name, module in list(sys.modules.items()):
        if not name.startswith("dfllm._") or name in _REAL:
            continue
        if getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", shim)
        for owner in [module, *(one for one in vars(module).values() if isinstance(one, type))]:
            for function in vars(owner).values():
                if isinstance(function, types.FunctionType) and function.__module__ == name:
                    _bend_defaults(monkeypatch, function, bent)


def _bend_defaults(monkeypatch, function, bent):
    def other(value):
        return bent.get(value, value) if isinstance(value, types.BuiltinFunctionType) else value

    if function.__defaults__:
        monkeypatch.setattr(function, "__defaults__", tuple(map(other, function.__defaults__)))
    if function.__kwdefaults__:
        named = {name: other(value) for name, value in function.__kwdefaults__.items()}
        monkeypatch.setattr(function, "__kwdefaults__", named)
