"""The private loop: one a process, waited for from any thread or loop, with Ctrl-C alive and cancelling as Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dfllm._run import loop


class Work:
    """A coroutine that ends when it is told to, and notes who told it."""

    def __init__(self, *, heeds_interrupt=True):
        self.told = []
        self.heeds_interrupt = heeds_interrupt
        self.ended = False
        self._end = asyncio.Event()

    async def run(self, press=0):
        """Run until told to end, pressing Ctrl-C that many times on the way."""
        for _ in range(press):
            await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        await self._end.wait()
        self.ended = True
        return "the end"

    def _tell(self, word, end):
        self.told.append(word)
        if end:
            loop.loop().call_soon_threadsafe(self._end.set)

    def interrupt(self):
        """Hear the first Ctrl-C."""
        self._tell("interrupt", self.heeds_interrupt)

    def abandon(self):
        """Hear the second."""
        self._tell("abandon", end=True)


async def value(given):
    """Return what was given, a little later."""
    await asyncio.sleep(0)
    return given


async def fails():
    """Fail, a little later."""
    await asyncio.sleep(0)
    raise LookupError("nothing there")


def never():
    """Fail where nobody may call."""
    raise AssertionError("nobody pressed Ctrl-C")


def test_there_is_one_loop_in_a_thread_of_its_own():
    """Threads that ask for it at once get the same one, and it runs in none of them."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(loop.loop())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    async def where():
        return threading.current_thread()

    thread = loop.submit(where()).result(10)

    assert 1 == len(set(map(id, found)))
    assert "dfllm-loop" == thread.name
    assert thread.daemon


def test_complete_returns_what_comes_of_it():
    """The caller's thread waits and gets the value."""
    assert 7 == loop.complete(value(7), never, never)


def test_complete_raises_what_is_raised():
    """An exception comes through as it is."""
    with pytest.raises(LookupError, match="nothing there"):
        loop.complete(fails(), never, never)


def test_complete_works_inside_a_running_loop():
    """As in a notebook: a loop runs in this very thread and is not disturbed."""

    async def cell():
        return loop.complete(value(8), never, never)

    assert 8 == asyncio.run(cell())


def test_ctrl_c_once_waits_for_the_end():
    """The first one is passed on, and only then is KeyboardInterrupt raised."""
    work = Work()

    with pytest.raises(KeyboardInterrupt):
        loop.complete(work.run(press=1), work.interrupt, work.abandon)

    assert ["interrupt"] == work.told
    assert work.ended


def test_ctrl_c_twice_abandons():
    """The second one drops the grace."""
    work = Work(heeds_interrupt=False)

    with pytest.raises(KeyboardInterrupt):
        loop.complete(work.run(press=2), work.interrupt, work.abandon)

    assert ["interrupt", "abandon"] == work.told
    assert work.ended


def test_ctrl_c_is_the_news_also_where_the_work_failed():
    """Who pressed Ctrl-C hears of that, not of what it led to."""

    async def failing():
        await work.run(press=1)
        raise LookupError("nothing there")

    work = Work()

    with pytest.raises(KeyboardInterrupt):
        loop.complete(failing(), work.interrupt, work.abandon)


def test_awaited_returns_and_raises():
    """From another loop it is awaited like anything else."""

    async def main():
        with pytest.raises(LookupError, match="nothing there"):
            await loop.awaited(fails(), never, never)
        return await loop.awaited(value(9), never, never)

    assert 9 == asyncio.run(main())


@pytest.mark.parametrize(("times", "told"), [(1, ["interrupt"]), (2, ["interrupt", "abandon"])])
def test_cancelling_is_as_ctrl_c(times, told):
    """Once waits for the end, twice drops the grace; CancelledError is raised when all has ended."""
    work = Work(heeds_interrupt=times == 1)

    async def main():
        task = asyncio.create_task(loop.awaited(work.run(), work.interrupt, work.abandon))
        for _ in range(times):
            await asyncio.sleep(0.02)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return work.ended

    assert asyncio.run(main())
    assert told == work.told


def test_a_deadline_of_the_callers_is_a_cancellation():
    """`asyncio.timeout` around the call works as it does around any other."""
    work = Work()

    async def main():
        async with asyncio.timeout(0.05):
            await loop.awaited(work.run(), work.interrupt, work.abandon)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert ["interrupt"] == work.told
    assert work.ended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_has_a_loop_of_its_own():
    """The parent's thread is not in the child; the child starts another, and the parent's goes on."""
    program = """
import os, warnings
from dfllm._run import loop

async def value(given):
    return given

def never():
    raise SystemExit(1)

warnings.simplefilter("ignore")
before = loop.loop()
assert 1 == loop.complete(value(1), never, never)
child = os.fork()
if child == 0:
    os._exit(0 if 2 == loop.complete(value(2), never, never) and loop.loop() is not before else 1)
assert 3 == loop.complete(value(3), never, never) and loop.loop() is before
print(os.waitpid(child, 0)[1])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert ("0\n", "") == (ended.stdout, ended.stderr)


def test_waiting_costs_next_to_nothing():
    """A long wait looks up a few times a second, no more."""
    began = time.process_time()

    loop.complete(asyncio.sleep(0.3), never, never)

    assert time.process_time() - began < 0.1
