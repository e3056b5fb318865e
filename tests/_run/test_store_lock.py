"""The lock: one holder at a time, waited for, named, and gone with its process."""

import os
import subprocess
import sys
import threading
import time

import pytest

from dfllm._run.store_errors import Locked
from dfllm._run.store_lock import FileLock

HOLDER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(file, fcntl.LOCK_EX)
os.write(file, b"%d" % os.getpid())
print("held", flush=True)
sys.stdin.read()
"""

posix = pytest.mark.skipif(os.name != "posix", reason="holds the lock with flock")


def lock_at(tmp_path, wait_seconds=5.0):
    """Return a lock on the test's store."""
    return FileLock(tmp_path / "store.db.lock", tmp_path / "store.db", wait_seconds)


def held_elsewhere(tmp_path):
    """Start a process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "store.db.lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert b"held\n" == holder.stdout.readline()
    return holder


def test_holders_take_turns(tmp_path):
    """Of many threads with locks of their own one is inside at a time."""
    inside, most = [0], [0]

    def go():
        lock = lock_at(tmp_path)
        for _ in range(20):
            with lock.held():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1
        lock.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1] == most


def test_one_lock_serves_several_threads(tmp_path):
    """The system's lock is the process's; between its threads we see to it."""
    lock = lock_at(tmp_path, wait_seconds=0.01)
    waited = []

    def wait():
        try:
            with lock.held():
                waited.append("held")
        except Locked as error:
            waited.append(str(error))

    with lock.held():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    lock.close()

    assert 1 == len(waited)
    assert "is locked by another process; waited 0.01 s" in waited[0]


@posix
def test_waiting_in_vain_names_the_holder(tmp_path):
    """After the wait the message has the pid of who holds the lock."""
    holder = held_elsewhere(tmp_path)
    lock = lock_at(tmp_path, wait_seconds=0.02)

    with holder, pytest.raises(Locked, match=rf"\(pid {holder.pid}\)"), lock.held():
        raise AssertionError("two hold it")
    lock.close()


@posix
def test_waiting_pays(tmp_path):
    """Whoever waits gets the lock when its holder lets go."""
    lock = lock_at(tmp_path)
    with held_elsewhere(tmp_path) as holder:
        timer = threading.Timer(0.02, holder.stdin.close)
        timer.start()
        with lock.held():
            held = (tmp_path / "store.db.lock").read_text().strip()
        timer.join()
    lock.close()

    assert str(os.getpid()) == held


@posix
def test_the_lock_ends_with_its_process(tmp_path):
    """A killed holder holds nothing."""
    lock = lock_at(tmp_path)
    with held_elsewhere(tmp_path) as holder:
        holder.kill()
        with lock.held():
            held = (tmp_path / "store.db.lock").read_text().strip()
    lock.close()

    assert str(os.getpid()) == held


@posix
@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_a_lock_file_that_was_swapped_is_opened_again(tmp_path, fate):
    """Two processes never lock two files: the one that is there counts."""
    lock, file = lock_at(tmp_path), tmp_path / "store.db.lock"
    with lock.held():
        pass
    if fate == "deleted":
        file.unlink()
    else:
        (tmp_path / "other").touch()
        (tmp_path / "other").replace(file)

    with lock.held():
        held = file.read_text().strip()
    lock.close()

    assert str(os.getpid()) == held


@posix
def test_an_unreadable_pid_is_left_out(tmp_path):
    """A holder that wrote no pid is just another process."""
    with held_elsewhere(tmp_path):
        (tmp_path / "store.db.lock").write_text("who knows")
        lock = lock_at(tmp_path, wait_seconds=0.0)
        with pytest.raises(Locked, match="another process; waited"), lock.held():
            raise AssertionError("two hold it")
        lock.close()


def test_a_restart_begins_anew(tmp_path):
    """What a forked child inherits does not keep it from holding the lock itself."""
    lock = lock_at(tmp_path)
    with lock.held():
        pass
    lock._threads.acquire()

    lock.restart()
    with lock.held():
        held = (tmp_path / "store.db.lock").read_text().strip()
    lock.close()

    assert str(os.getpid()) == held
