"""Ctrl-C, cancellation, kills and company: a run may end at any moment, and several may run at once.

Where a process matters it is a real one, watched from here: the provider is a simulator in this process, and its bill
says what was sent and what it cost.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import pandas as pd
import pytest

import dfllm
from dfllm._run import runtime as process
from dfllm._run.runtime import runtime
from dfllm._run.store import Store
from dfllm.simulator import Faults

PROMPT = "row {{ n }}."
KILLS = 5

PROGRAM = """
import json, signal, sys, time
from pathlib import Path
import pandas as pd
import dfllm
from dfllm._run import engine, runtime

# A test run in the background hands down an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
rows, concurrency, before, go = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
exec(before)
frame = pd.DataFrame({"n": range(rows)})
Path(f"{go}.ready-{__import__('os').getpid()}").touch()
while not go.exists():
    time.sleep(0.002)
said = None
try:
    done = frame.llm.complete("row {{ n }}.", model="simulator/echo", limits=dfllm.Limits(concurrency=concurrency))
except KeyboardInterrupt as error:
    said, done = str(error), dfllm.last_run().frame
found = {name: [None if pd.isna(one) else one for one in done[name]] for name in done}
print(json.dumps({"said": said, "facts": dfllm.last_run().to_dict(), **found}))
"""


class Child:
    """A process that makes the call and tells what came of it."""

    def __init__(self, go, rows, concurrency, before=""):
        command = [sys.executable, "-c", PROGRAM, str(rows), str(concurrency), before, str(go)]
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.running.pid
        self._ready = go.with_name(f"{go.name}.ready-{self.pid}")

    def until_ready(self):
        """Wait until it has imported what it needs and waits for its start."""
        until(lambda: self._ready.exists() or self.running.poll() is not None)

    def signal(self, number):
        """Send it a signal."""
        os.kill(self.pid, number)

    def ends(self, seconds=30.0):
        """Wait for its end and return what it told: by column, with `said` and `facts`."""
        told, complained = self.running.communicate(timeout=seconds)
        assert 0 == self.running.returncode, complained
        return json.loads(told.splitlines()[-1])

    def close(self):
        """End it, whatever it does."""
        if self.running.poll() is None:
            self.running.kill()
        self.running.communicate()


@pytest.fixture
def launch(tmp_path):
    """Return a function that starts processes which make the call, at once or when `go` is made."""
    with ExitStack() as started:

        def start(rows, concurrency, before="", *, at_once=True):
            go = tmp_path / "go"
            if at_once:
                go.touch()
            child = Child(go, rows, concurrency, before)
            started.callback(child.close)
            return child

        yield start


@pytest.fixture(autouse=True)
def new_lanes(own_home):
    """Forget what earlier tests learnt of their ports."""
    runtime()._lanes.clear()


def until(is_so, seconds=30.0):
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.002)


def frame(rows):
    """Return a frame of numbered rows."""
    return pd.DataFrame({"n": range(rows)})


def call(rows, concurrency=20):
    """Make the call in this process and return its answers."""
    limits = dfllm.Limits(concurrency=concurrency)
    return frame(rows).llm.complete(PROMPT, model="simulator/echo", limits=limits)["completion"].tolist()


def texts(rows):
    """Return what the simulator's echo answers."""
    return [f"row {number}." for number in range(rows)]


def look(sql):
    """Return what the store's file says, nothing where it is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{os.environ['DFLLM_STORE']}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def committed():
    """Return the answers on disk, and when each came."""
    return {key: (created, body) for key, created, body in look("SELECT key, created, body FROM entries")}


def journal():
    """Return what was journalled: billing, and the error's text."""
    return look("SELECT billing, error FROM attempts")


def count_of(told):
    """Return how many rows have an answer, having looked at each of them."""
    for number, (answer, error) in enumerate(zip(told["completion"], told["completion_error"], strict=True)):
        assert (answer, error) in [(f"row {number}.", None), (None, "Cancelled: interrupted; run again to go on")]
    return sum(answer is not None for answer in told["completion"])


# Ctrl-C.


def test_ctrl_c_waits_for_what_is_in_flight_and_saves_it(simulator, launch):
    """Nothing more is sent, every answer under way arrives; the next process sends only the rest."""
    provider = simulator(latency_seconds=0.2)
    first = launch(40, 5)
    until(lambda: provider.bill.requests >= 11)
    first.signal(signal.SIGINT)

    told = first.ends()
    sent, saved = provider.bill.requests, len(committed())
    rest = launch(40, 5).ends()

    done = count_of(told)
    assert f"{done} of 40 rows are done and saved; run again to go on." in told["said"]
    assert 11 <= done == sent == saved < 25
    assert ["interrupted", 40, done, 40 - done, 0] == [
        told["facts"][name] for name in ("state", "rows", "ok", "failed", "maybe_billed")
    ]
    assert texts(40) == rest["completion"]
    assert (done, 40 - done) == (rest["facts"]["known"], rest["facts"]["sent"])
    assert 40 == provider.bill.requests == provider.bill.billed
    assert [] == journal()


def test_ctrl_c_at_the_closed_gate_gives_up_who_has_sent_nothing(simulator, launch):
    """While the first request is alone in flight, the others have sent nothing: they are cancelled, not in doubt."""
    provider = simulator(latency_seconds=0.7)
    first = launch(40, 20)
    until(lambda: provider.bill.in_flight)
    first.signal(signal.SIGINT)

    told = first.ends()

    assert 1 == count_of(told) == provider.bill.requests == len(committed())
    assert 0 == told["facts"]["maybe_billed"]
    assert [] == journal()


def test_ctrl_c_does_not_wait_for_a_rate_limit(simulator, launch):
    """Who is held for ten minutes has sent nothing: the run ends at once, and nothing is in doubt."""
    limited = {f"row {number}.": "rate429" for number in range(3, 40)}
    provider = simulator(faults=Faults(by_text=limited, retry_after_seconds=600.0))
    first = launch(40, 4)
    until(lambda: provider.bill.requests >= 4 and not provider.bill.in_flight)
    time.sleep(0.1)
    sent = provider.bill.requests
    pressed = time.monotonic()
    first.signal(signal.SIGINT)

    told = first.ends()

    assert time.monotonic() - pressed < 5.0  # of which the interpreter's end takes some
    assert 3 == count_of(told)
    assert sent == provider.bill.requests
    assert 0 == told["facts"]["maybe_billed"]
    assert [] == journal()


def test_ctrl_c_twice_drops_what_is_in_flight(simulator, launch):
    """The second one ends the run at once; what was under way may have been billed, and is journalled so."""
    slow = {f"row {number}.": "stall" for number in range(10, 15)}
    provider = simulator(faults=Faults(by_text=slow, stall_seconds=60.0))
    first = launch(15, 15)
    until(lambda: provider.bill.in_flight == 5 and len(committed()) == 10)
    first.signal(signal.SIGINT)
    time.sleep(0.3)
    waiting = first.running.poll()
    pressed = time.monotonic()
    first.signal(signal.SIGINT)

    told = first.ends()
    took = time.monotonic() - pressed
    provider.faults = Faults()
    rest = call(15)

    assert None is waiting
    assert took < 5.0
    assert "10 of 15 rows are done and saved; run again to go on." in told["said"]
    assert texts(10) == told["completion"][:10]
    assert ["Cancelled: in flight when the run was interrupted (maybe)"] * 5 == told["completion_error"][10:]
    assert 5 == told["facts"]["maybe_billed"]
    assert [("maybe", "Cancelled: in flight when the run was interrupted (maybe)")] * 5 == journal()
    assert texts(15) == rest
    assert 15 + 5 == provider.bill.requests


def test_the_grace_ends_by_itself(simulator, launch):
    """One Ctrl-C is enough: what does not arrive within the grace is dropped."""
    provider = simulator(faults=Faults(by_text={"row 1.": "stall"}, stall_seconds=60.0))
    first = launch(3, 3, "engine._GRACE_SECONDS = 0.4")
    until(lambda: provider.bill.requests == 3 and len(committed()) == 2)
    first.signal(signal.SIGINT)

    told = first.ends()

    assert "2 of 3 rows are done and saved" in told["said"]
    assert [None, "Cancelled: in flight when the run was interrupted (maybe)", None] == told["completion_error"]


def test_ctrl_c_while_another_process_asks_ends_the_waiting(simulator, launch):
    """A run whose rows are all in another process's hands has sent nothing, and ends at once."""
    provider = simulator(faults=Faults(by_text={"row": "stall"}, stall_seconds=60.0))
    launch(3, 3)
    until(lambda: 3 == len(look("SELECT key FROM claims")))
    waiter = launch(3, 3)
    until(lambda: 2 == len(look("SELECT id FROM owners")))
    waiter.signal(signal.SIGINT)

    told = waiter.ends()

    assert 0 == count_of(told) == told["facts"]["requests"]
    assert 1 == provider.bill.requests  # the other process's first, alone at the gate


# Cancelled and closed.


def test_cancelling_the_async_twin_is_as_ctrl_c(simulator):
    """The answers under way arrive and are kept, CancelledError is raised, and a later run sends only the rest."""
    provider = simulator(latency_seconds=0.2)

    async def main():
        limits = dfllm.Limits(concurrency=5)
        task = asyncio.create_task(frame(60).llm.acomplete(PROMPT, model="simulator/echo", limits=limits))
        while provider.bill.requests < 11:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    run = dfllm.last_run()
    done = int(run.frame["completion"].notna().sum())

    assert 11 <= done == provider.bill.requests == len(committed()) < 30
    assert "interrupted" == run.to_dict()["state"]
    assert texts(60) == call(60)
    assert 60 == provider.bill.requests


def test_cancelling_twice_drops_what_is_in_flight(simulator):
    """Whoever cancels again wants no grace."""
    provider = simulator(faults=Faults(by_text={"row 1": "stall"}, stall_seconds=60.0))

    async def main():
        task = asyncio.create_task(frame(2).llm.acomplete(PROMPT, model="simulator/echo"))
        while provider.bill.requests < 2:
            await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.sleep(0.05)
        waiting = not task.done()
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return waiting, time.monotonic() - began

    waiting, took = asyncio.run(main())

    assert waiting
    assert took < 5.0
    assert 1 == len(journal())


@pytest.mark.parametrize("turns", range(6))
def test_cancelling_at_once_ends_at_once(simulator, turns):
    """A call that is cancelled while it begins ends without sending its rows."""
    provider = simulator(latency_seconds=0.05)

    async def main():
        limits = dfllm.Limits(concurrency=1)
        task = asyncio.create_task(frame(200).llm.acomplete(PROMPT, model="simulator/echo", limits=limits))
        for _ in range(turns):
            await asyncio.sleep(0.0 if turns < 4 else 0.003)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert provider.bill.requests <= 2


def test_closing_the_iterator_is_as_ctrl_c(simulator):
    """What is under way arrives and is kept; a later run sends only the rest."""
    provider = simulator(latency_seconds=0.1)
    rows = frame(60).llm.iter_completions(PROMPT, model="simulator/echo", limits=dfllm.Limits(concurrency=5))

    seen = [next(rows).value for _ in range(3)]
    rows.close()
    done = int(dfllm.last_run().frame["completion"].notna().sum())

    assert set(seen) <= set(texts(60))
    assert 3 <= done == provider.bill.requests == len(committed()) < 30
    assert texts(60) == call(60)
    assert 60 == provider.bill.requests


def test_ctrl_c_in_an_iterator_says_how_much_is_saved(simulator):
    """It is heard while the next row is waited for, and means what it means elsewhere."""
    provider = simulator(latency_seconds=0.3)
    rows = frame(60).llm.iter_completions(PROMPT, model="simulator/echo", limits=dfllm.Limits(concurrency=5))
    next(rows)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt, match="of 60 rows are done and saved; run again to go on") as caught:
        list(rows)
    done = int(dfllm.last_run().frame["completion"].notna().sum())

    assert str(caught.value).startswith(f"{done} of 60")
    assert 1 < done == provider.bill.requests == len(committed()) < 30
    assert [] == list(rows)


def test_closing_the_async_iterator_is_as_ctrl_c(simulator):
    """The same for the async one."""
    provider = simulator(latency_seconds=0.1)

    async def main():
        limits = dfllm.Limits(concurrency=5)
        rows = frame(60).llm.aiter_completions(PROMPT, model="simulator/echo", limits=limits)
        async for _ in rows:
            break
        await rows.aclose()

    asyncio.run(main())
    done = int(dfllm.last_run().frame["completion"].notna().sum())

    assert 1 <= done == provider.bill.requests == len(committed()) < 30
    assert texts(60) == call(60)
    assert 60 == provider.bill.requests


def test_cancelling_who_reads_the_async_iterator_is_as_ctrl_c(simulator):
    """The task that waits for the next row is cancelled: what is under way arrives and is kept."""
    provider = simulator(latency_seconds=0.1)

    async def read():
        limits = dfllm.Limits(concurrency=5)
        async for _ in frame(60).llm.aiter_completions(PROMPT, model="simulator/echo", limits=limits):
            pass

    async def main():
        task = asyncio.create_task(read())
        while provider.bill.requests < 11:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    done = int(dfllm.last_run().frame["completion"].notna().sum())

    assert 11 <= done == provider.bill.requests == len(committed()) < 30


def test_an_iterator_that_is_never_begun_sends_nothing(simulator):
    """The run begins with the first row that is asked for."""
    provider = simulator()
    rows = frame(5).llm.iter_completions(PROMPT, model="simulator/echo")

    rows.close()

    assert 0 == provider.bill.requests


# Killed.


def test_kills_at_any_moment_lose_no_committed_answer(simulator, launch):
    """A process killed again and again: what is on disk stays as it is, and only what was in flight is asked twice."""
    provider = simulator(latency_seconds=0.03, latency_spread=0.9)
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it where the test fails
    chance = random.Random(seed)
    rows, concurrency = 300, 8
    kept, lost = {}, 0
    for _ in range(KILLS):
        before = provider.bill.requests
        child = launch(rows, concurrency)
        moment = before + chance.randint(1, 45)
        until(lambda moment=moment: provider.bill.requests >= moment)
        time.sleep(chance.uniform(0.0, 0.02))
        child.signal(signal.SIGKILL)
        child.running.wait()
        now = committed()
        assert kept.items() <= now.items()
        in_doubt = provider.bill.requests - before - (len(now) - len(kept))
        assert 0 <= in_doubt <= concurrency
        kept, lost = now, lost + in_doubt

    last = launch(rows, concurrency).ends()

    assert texts(rows) == last["completion"]
    assert kept.items() <= committed().items()
    assert (len(kept), rows - len(kept)) == (last["facts"]["known"], last["facts"]["sent"])
    assert rows + lost == provider.bill.requests == provider.bill.billed
    assert max(entry.billed for entry in provider.bill.entries().values()) <= 1 + KILLS
    assert [("ok",)] == look("PRAGMA integrity_check")


def test_a_killed_process_is_taken_over_at_once(simulator, launch):
    """Whoever waits for rows that a process had in hand asks them as soon as it is dead, not when its lease ends."""
    slow = {f"row {number}.": "stall" for number in range(5, 12)}
    provider = simulator(faults=Faults(by_text=slow, stall_seconds=60.0))
    owner = launch(12, 12)
    until(lambda: provider.bill.requests == 12 and len(committed()) == 5)
    provider.faults = Faults()
    answers = []
    waiter = threading.Thread(target=lambda: answers.extend(call(12)))
    waiter.start()
    time.sleep(0.5)
    waited = waiter.is_alive(), provider.bill.requests
    owner.signal(signal.SIGKILL)
    killed = time.monotonic()
    waiter.join(30.0)

    assert (True, 12) == waited
    assert time.monotonic() - killed < 10.0
    assert texts(12) == answers
    assert 12 + 7 == provider.bill.requests


def test_a_paused_process_is_taken_over_when_its_lease_ends(simulator, launch, monkeypatch):
    """A process that shows no sign of life loses its rows, one that is only slow does not."""
    provider = simulator(faults=Faults(by_text={"row": "stall"}, stall_seconds=60.0))
    short = "import functools; runtime.Store = functools.partial(runtime.Store, lease_seconds=1.0)"
    monkeypatch.setattr(process, "Store", lambda *place, **how: Store(*place, lease_seconds=1.0, **how))
    owner = launch(3, 3, short)
    until(lambda: provider.bill.in_flight)
    provider.faults = Faults()
    answers = []
    waiter = threading.Thread(target=lambda: answers.extend(call(3)))
    waiter.start()
    time.sleep(1.8)
    waited = waiter.is_alive(), provider.bill.requests
    owner.signal(signal.SIGSTOP)
    waiter.join(30.0)

    assert (True, 1) == waited
    assert texts(3) == answers
    assert 1 + 3 == provider.bill.requests


# In company.


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_on_the_same_frame_share_it_out(simulator, launch, tmp_path, processes):
    """Each question is asked once by all of them together, and each of them gets every answer."""
    provider = simulator(latency_seconds=0.02)
    rows = 800
    children = [launch(rows, 10, at_once=False) for _ in range(processes)]
    for child in children:
        child.until_ready()
    (tmp_path / "go").touch()

    told = [child.ends() for child in children]

    assert [texts(rows)] * processes == [one["completion"] for one in told]
    assert rows == provider.bill.requests == provider.bill.billed == provider.bill.distinct
    assert rows == sum(one["facts"]["sent"] for one in told)
    assert [] == look("SELECT key FROM claims")


def test_threads_on_the_same_frame_share_it_out(simulator):
    """Two runs in one process ask each question once, too."""
    provider = simulator(latency_seconds=0.02)
    answers = {}
    threads = [threading.Thread(target=lambda name=name: answers.update({name: call(700)})) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)

    assert {0: texts(700), 1: texts(700)} == answers
    assert 700 == provider.bill.requests == provider.bill.billed


def test_equal_rows_are_asked_once(simulator):
    """Rows that ask the same share one answer, within a window and over many."""
    provider = simulator()
    df = pd.DataFrame({"n": [number % 300 for number in range(5_000)]})

    done = df.llm.complete(PROMPT, model="simulator/echo")

    assert [f"row {number % 300}." for number in range(5_000)] == done["completion"].tolist()
    assert 300 == provider.bill.requests
    assert 300 == dfllm.last_run().to_dict()["sent"]
