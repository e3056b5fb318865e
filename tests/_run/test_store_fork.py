"""Fork: parent and child go on with the same store, each with connections, a thread and claims of its own."""

import functools
import gc
import os
import sqlite3
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest

import dfllm._run
from dfllm._run import store_fork
from dfllm._run.store import Claimed, Entry, Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

SOURCES = Path(dfllm._run.__file__).parents[1]

#: Children need no pandas; the package's own `__init__` would bring it.
HEAD = f"""
import os, signal, sys, threading, time, types, warnings
package = types.ModuleType("dfllm")
package.__path__ = [{str(SOURCES)!r}]
sys.modules["dfllm"] = package
from pathlib import Path
from dfllm._run.store import Entry, Store
warnings.simplefilter("ignore", DeprecationWarning)

def entry(number):
    return Entry(number.to_bytes(20, "big"), b"body %d" % number, "openai", "gpt-mini", 1.0, 0.5, 10)

def bodies(store, numbers):
    return [found and found.body for found in store.known([entry(number).key for number in numbers])]

path = Path(sys.argv[1])
"""


def run(program, path):
    """Run a program to its end."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def entry(number):
    """Return a paid answer by its number."""
    return Entry(number.to_bytes(20, "big"), b"body %d" % number, "openai", "gpt-mini", 1.0, 0.5, 10)


def test_parent_and_child_go_on(tmp_path):
    """Both read and write after the fork, and what either wrote is there for both; the file is whole."""
    ended = run(
        """
        store = Store(path, wait_seconds=10)
        store.save([entry(1)], "run").result()
        assert bodies(store, [1]) == [b"body 1"]
        child = os.fork()
        mine = 2 if child else 3
        assert bodies(store, [1]) == [b"body 1"]
        for number in range(mine * 100, mine * 100 + 20):
            store.save([entry(number)], "run").result(20)
        if not child:
            store.close()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert None not in bodies(store, [*range(200, 220), *range(300, 320)])
        assert store.verify().ok
        store.close()
        """,
        tmp_path / "store.db",
    )

    assert (0, "") == (ended.returncode, ended.stderr)


def test_claims_stay_with_the_parent(tmp_path):
    """A child is another owner: it waits for what its parent asks, and frees none of it at its end."""
    ended = run(
        """
        store = Store(path)
        keys = [entry(number).key for number in range(4)]
        assert len(store.claim(keys[:2], "run").result().mine) == 2
        child = os.fork()
        if not child:
            claimed = store.claim(keys, "run").result(20)
            store.close()
            os._exit(0 if (claimed.held, claimed.mine) == (keys[:2], keys[2:]) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.claim(keys, "other").result(20)[:3] == ([*keys[2:]], [], [*keys[:2]])
        store.close()
        """,
        tmp_path / "store.db",
    )

    assert (0, "") == (ended.returncode, ended.stderr)


def test_a_fork_amid_work_harms_neither(tmp_path):
    """Threads read and write while others fork; every child works, and no answer is lost or wrong."""
    ended = run(
        """
        store = Store(path, wait_seconds=20)
        stop = threading.Event()
        saved = []
        def write():
            number = 1000
            while not stop.is_set():
                store.save([entry(number)], "run").result(20)
                saved.append(number)
                number += 1
        def read():
            while not stop.is_set():
                store.known([entry(1).key])
        threads = [threading.Thread(target=work) for work in (write, read)]
        for thread in threads:
            thread.start()
        children = []
        for number in range(1, 9):
            child = os.fork()
            if not child:
                store.save([entry(number)], "run").result(20)
                found = bodies(store, [number])
                # As an exit in earnest would: with everything freed, the parent's connections excepted.
                sys.exit(0 if found == [b"body %d" % number] else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        stop.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * 8, codes
        assert None not in bodies(store, [*range(1, 9), *saved])
        assert store.verify().ok
        store.close()
        """,
        tmp_path / "store.db",
    )

    assert (0, "") == (ended.returncode, ended.stderr)


def test_what_waits_is_the_parents_to_write(tmp_path):
    """A write that was queued at the fork is done once, by the parent."""
    ended = run(
        """
        store = Store(path)
        with store._lock.held():
            waiting = store.journal([(entry(1).key, "run", 1.0, "maybe", "Timeout", None, None)])
            child = os.fork()
            if not child:
                store.close()
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        waiting.result(20)
        assert store.stats().attempts == 1
        store.close()
        """,
        tmp_path / "store.db",
    )

    assert (0, "") == (ended.returncode, ended.stderr)


def test_a_paused_store_waits_and_goes_on(tmp_path):
    """Between the two calls around a fork no thread of ours is inside SQLite."""
    store = Store(tmp_path / "store.db")
    store_fork._before()
    waiting = store.save([entry(1)], "run")
    paused = [store._reading.locked(), store._writer.working.locked(), waiting.done()]
    store_fork._after_in_parent()

    waiting.result(10)
    known = store.known([entry(1).key])
    store.close()

    assert [True, True, False] == paused
    assert [b"body 1"] == [stored.body for stored in known]


def test_a_restarted_store_is_somebody_new(tmp_path):
    """What a child does first: it leaves the parent's connections alone and begins anew."""
    store = Store(tmp_path / "store.db")
    store.save([entry(1)], "run").result()
    theirs = store._reader, store._writer._connection
    store._writer.close()

    store_fork._before()
    store_fork._after_in_child()
    store.save([entry(2)], "run").result(10)
    known = store.known([entry(1).key, entry(2).key])
    claimed = store.claim([bytes(20)], "run").result(10)
    store.close()
    theirs[0].close()

    assert [b"body 1", b"body 2"] == [stored.body for stored in known]
    assert Claimed([bytes(20)], [], []) == claimed


def test_a_child_that_does_nothing_closes_nothing(tmp_path):
    """An idle child has neither connection nor thread to end."""

    class Theirs(sqlite3.Connection):
        """A connection one can keep an eye on."""

    store = Store(tmp_path / "store.db", connect=functools.partial(sqlite3.connect, factory=Theirs))
    theirs = weakref.ref(store._reader)

    store_fork._before()
    store_fork._after_in_child()
    store.close()
    del store
    gc.collect()
    works = theirs().execute("SELECT 1").fetchall()
    theirs().close()

    assert [(1,)] == works


def test_a_closed_store_hears_of_no_fork(tmp_path):
    """Only what is open is watched."""
    store = Store(tmp_path / "store.db")
    watched = store in store_fork._open
    store.close()

    assert [True, False] == [watched, store in store_fork._open]
