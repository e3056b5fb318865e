"""What a process has one of: made once, found again, let go when it is of no use any more."""

import os
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from dfllm._core.errors import OptionError, StoreError
from dfllm._run import loop
from dfllm._run import runtime as module
from dfllm._run.runtime import Runtime, near_model, runtime
from dfllm._run.settings import Endpoint, configure, current
from dfllm._run.store import Store
from dfllm._work import Options, Work
from dfllm.simulator import Faults


@pytest.fixture
def process():
    """Return a Runtime that ends with the test."""
    process = Runtime()
    yield process
    process.close()


def work(model="simulator/echo"):
    """Return a call that is ready to be made."""
    return Work(pd.DataFrame({"n": [1]}), "row {{ n }}.", Options(model=model))


def on_loop(do):
    """Do something on the private loop."""

    async def done():
        return do()

    return loop.submit(done()).result(10)


def test_a_store_is_opened_once(process, tmp_path):
    """The same settings find the same store; another place or durability another one."""
    first = process.store(current())
    again = process.store(current())
    configure(durability="full")
    fuller = process.store(current())
    elsewhere = process.store(current(store=tmp_path / "other.db"))

    assert first is again
    assert 3 == len({id(store) for store in (first, fuller, elsewhere)})
    assert tmp_path / "other.db" == elsewhere.path


def test_a_store_that_failed_is_opened_anew(process):
    """Whoever has freed some space need not start another process."""
    first = process.store(current())
    first._writer.failed = StoreError("the disk is full")

    second = process.store(current())

    assert first is not second
    assert None is second.failed
    with pytest.raises(StoreError, match="is closed"):
        first.save([], "run", free=[b"k" * 20]).result(10)


@pytest.mark.skipif(os.name == "nt", reason="an open file is not moved there")
def test_a_store_whose_file_was_replaced_is_opened_anew(process):
    """Repair, run in another process, puts a new file in the old one's place."""
    first = process.store(current())
    for name in ("", "-wal", "-shm"):
        path = first.path.with_name(first.path.name + name)
        path.rename(path.with_name(f"{path.name}.old"))
    Store(first.path).close()

    second = process.store(current())

    assert first is not second
    assert 0 == second.stats().entries
    assert None is second.save([], "run", free=[b"k" * 20]).result(10)


def test_a_place_that_cannot_be_is_tried_again(process, monkeypatch, tmp_path):
    """A failure to open leaves nothing behind that a later, better moment would trip over."""
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path / "taken" / "answers.db"))
    with pytest.raises(StoreError):
        process.store(current())
    (tmp_path / "taken").unlink()

    assert tmp_path / "taken" / "answers.db" == process.store(current()).path


def test_closing_commits_and_forgets(process):
    """What was queued is on disk, and the next call opens the store again."""
    first = process.store(current())
    claimed = first.claim([b"k" * 20], "run")
    process.close()
    process.close()

    assert [b"k" * 20] == claimed.result(0).mine
    assert first is not process.store(current())


def test_threads_find_the_same_runtime(monkeypatch):
    """However slowly it is made: two would have two gates, and a dead key would cost two calls."""

    class Slow(Runtime):
        def __init__(self):
            time.sleep(0.05)
            super().__init__()

    monkeypatch.setattr(module, "_runtime", None)
    monkeypatch.setattr(module, "Runtime", Slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(runtime())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert 1 == len(set(map(id, found)))
    module.atexit.unregister(found[0].close)


def test_a_lane_belongs_to_provider_model_and_key(process):
    """Runs that share all three share gate and pace; another key is another lane."""
    here, there = Endpoint("http://127.0.0.1:1/v1", None), Endpoint("http://127.0.0.1:2/v1", None)

    lanes = on_loop(lambda: [process.lane(*what) for what in ((here, "p", "m"), (here, "p", "m"))])
    others = on_loop(lambda: [process.lane(*what) for what in ((there, "p", "m"), (here, "p", "n"), (here, "q", "m"))])

    assert lanes[0] is lanes[1]
    assert 4 == len({id(lane.gate) for lane in (*lanes, *others)}) == len({id(lane.pace) for lane in (*lanes, *others)})


def test_plain_http_to_a_strange_host_is_refused(monkeypatch):
    """The key would travel in clear; nothing is opened, least of all a connection."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://llm.example.org/v1")

    with pytest.raises(OptionError, match="https"):
        work("openai/any").ready()


def test_the_nearest_model_is_looked_up(simulator):
    """A hint for people, from the provider's own list."""
    simulator()
    near = [work(f"simulator/{model}") for model in ("ecko", "something-else")]

    hints = [near_model(one._endpoint, one.order) for one in near]

    assert [" Did you mean 'echo'?", ""] == hints


@pytest.mark.parametrize("trouble", ["gone", "locked"])
def test_looking_up_the_nearest_model_never_fails(simulator, trouble):
    """It is a courtesy: without a list there is no hint, and no other trouble than the one there is."""
    provider = simulator(key="sk-another-one-altogether" if trouble == "locked" else None, faults=Faults())
    one = work("simulator/ecko")
    if trouble == "gone":
        provider.stop()

    assert "" == near_model(one._endpoint, one.order)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_goes_on_with_things_of_its_own(simulator):
    """Sockets, loop and store of the parent are left alone, and both can call."""
    provider = simulator()
    program = """
import os, warnings
import pandas as pd
import dfllm

def call(start):
    frame = pd.DataFrame({"n": range(start, start + 20)})
    done = frame.llm.complete("row {{ n }}.", model="simulator/echo")["completion"].tolist()
    return done == [f"row {number}." for number in range(start, start + 20)]

warnings.simplefilter("ignore")
assert call(0)
child = os.fork()
if child == 0:
    os._exit(0 if call(0) and call(20) else 1)
assert call(40) and call(0)
ended = os.waitpid(child, 0)[1]
assert call(20)
print(ended)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert ("0\n", "") == (ended.stdout, ended.stderr)
    assert 60 == provider.bill.requests == provider.bill.billed
