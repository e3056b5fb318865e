"""The store: a paid answer is kept, found again as it was, and paid once by all threads and processes together."""

import atexit
import functools
import itertools
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfllm._run
from dfllm._core.errors import StoreError, StoreWarning
from dfllm._run import store as store_module
from dfllm._run import store_rescue, store_schema, store_writer
from dfllm._run.store import Attempt, Claimed, Entry, Store, Stored
from dfllm._run.store_files import beside
from dfllm._run.store_lock import FileLock, try_lock
from dfllm._run.store_rows import row_of
from dfllm._run.store_schema import WINDOW

SOURCES = Path(dfllm._run.__file__).parents[1]

#: Children need no pandas; the package's own `__init__` would bring it.
HEAD = f"""
import os, random, resource, sys, threading, time, types
package = types.ModuleType("dfllm")
package.__path__ = [{str(SOURCES)!r}]
sys.modules["dfllm"] = package
from pathlib import Path
from dfllm._core.errors import StoreError
from dfllm._run.store import Entry, Store

def entry(number, size=100):
    return Entry(number.to_bytes(20, "big"), b"%d" % number * size, "openai", "gpt-mini", 1.0, 0.5, 10)

path = Path(sys.argv[1])
"""

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and modes as POSIX has them")


def child(program, path, *given):
    """Start a program in a process of its own."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program), str(path), *map(str, given)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def entry(number, size=100):
    """Return a paid answer by its number."""
    return Entry(number.to_bytes(20, "big"), b"%d" % number * size, "openai", "gpt-mini", 1.0, 0.5, 10)


def stored(one):
    """Return an entry as it is read back."""
    return Stored(one.body, one.seconds, one.created, one.cost)


def keys_of(entries):
    """Return the keys of entries."""
    return [one.key for one in entries]


@pytest.fixture
def path(tmp_path):
    """Return where a store is, or will be."""
    return tmp_path / "room" / "store.db"


@pytest.fixture
def store(path):
    """Return an open store."""
    store = Store(path, wait_seconds=5)
    yield store
    store.close()


def test_an_answer_is_found_as_it_was(store):
    """Every field that is read back is the one that was saved, byte for byte."""
    entries = [
        Entry(b"a" * 20, b"", "openai", "gpt-mini", 1.5, 0.0, None),
        Entry(b"b" * 20, b"\x00\xff{" * 5_000, "a\0b", "ü", 1e9 + 0.1, 0.125, 0),
        Entry(b"c" * 20, b"not json", "", "", 0.0, 3.0, 2**63 - 1),
    ]

    store.save(entries, "run").result()

    assert [stored(one) for one in entries] == store.known(keys_of(entries))


def test_an_answer_outlives_its_store(path):
    """What was saved is there for whoever opens the file next."""
    first = Store(path)
    first.save([entry(1)], "run").result()
    first.close()

    second = Store(path)
    known = second.known([entry(1).key])
    second.close()

    assert [stored(entry(1))] == known


def test_a_new_answer_takes_the_place_of_the_old(store):
    """A refreshed answer is the one that counts."""
    store.save([entry(1)], "run").result()
    newer = entry(1)._replace(body=b"newer", created=2.0)
    store.save([newer], "run").result()

    assert [stored(newer)] == store.known([newer.key])
    assert 1 == store.stats().entries


def test_older_answers_may_not_count(store):
    """With `since`, only what came at or after that moment is known."""
    store.save([entry(number)._replace(created=float(number)) for number in range(5)], "run").result()

    known = store.known([entry(number).key for number in range(5)], since=2.0)

    assert [False, False, True, True, True] == [one is not None for one in known]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a store that knows the even numbers."""
    store = Store(tmp_path_factory.mktemp("filled") / "store.db")
    store.save([entry(number) for number in range(0, 50, 2)], "run").result()
    yield store
    store.close()


@given(st.lists(st.integers(0, 60), max_size=80))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_come_in_the_order_of_the_keys(filled, numbers):
    """Known, unknown and repeated keys may be mixed as they like."""
    expected = [stored(entry(number)) if number < 50 and number % 2 == 0 else None for number in numbers]

    assert expected == filled.known([entry(number).key for number in numbers])


def test_many_keys_are_looked_up_in_windows(filled):
    """More keys than fit one statement come back in one list, still in order."""
    numbers = [number % 60 for number in range(2 * WINDOW + 7)]

    known = filled.known([entry(number).key for number in numbers])

    assert [number < 50 and number % 2 == 0 for number in numbers] == [one is not None for one in known]


@pytest.mark.parametrize("ask", ["known", "claim"])
def test_keys_have_one_length(filled, ask):
    """A key of another length would shift all that follow."""
    ways = {"known": filled.known, "claim": lambda keys: filled.claim(keys, "run")}

    with pytest.raises(ValueError, match="20 bytes"):
        ways[ask]([b"a" * 19, b"b" * 21])


def test_nothing_is_nothing(store):
    """Empty lists are answered, not refused."""
    assert [] == store.known([])
    assert Claimed([], [], []) == store.claim([], "run").result()
    assert [None] * 3 == [
        future.result() for future in (store.save([], "run"), store.save([], "run", free=[]), store.journal([]))
    ]


def test_saving_ends_the_claim(store):
    """Answered rows are nobody's any more; released ones are free to be asked."""
    keys = [entry(number).key for number in range(3)]
    store.claim(keys, "first").result()

    store.save([entry(0)], "first").result()
    store.save([], "first", free=keys[1:2]).result()

    assert Claimed([keys[1]], [keys[0]], [keys[2]]) == store.claim(keys, "second").result()


def test_closing_ends_all_claims(path):
    """A store that is closed waits for nothing."""
    first, second = Store(path), Store(path)
    first.claim([entry(1).key], "run").result()
    held = second.claim([entry(1).key], "other").result()
    first.close()
    mine = second.claim([entry(1).key], "other").result()
    second.close()

    assert [Claimed([], [], [entry(1).key]), Claimed([entry(1).key], [], [])] == [held, mine]


def test_a_claim_is_kept_alive(path):
    """While a run waits for its answers its process shows that it lives, without being asked."""
    store = Store(path, lease_seconds=0.1)
    store.claim([entry(1).key], "run").result()
    with closing(sqlite3.connect(path)) as connection:
        first = connection.execute("SELECT seen FROM owners").fetchone()[0]
        deadline = time.monotonic() + 10
        seen = first
        while seen < first + 0.1 and time.monotonic() < deadline:
            time.sleep(0.005)
            seen = connection.execute("SELECT seen FROM owners").fetchone()[0]
    store.close()

    assert seen >= first + 0.1


def test_attempts_are_journalled(store):
    """Each attempt is a line of its own, body and all."""
    attempts = [
        Attempt(b"a" * 20, "run", 1.0, "maybe", "Timeout: 600 s", None, None),
        Attempt(b"a" * 20, "run", 2.0, "paid", "BadResponse: not JSON \ud800", 200, b"<html>"),
    ]

    store.journal(attempts).result()
    with closing(sqlite3.connect(store.path)) as connection:
        lines = connection.execute("SELECT key, run, at, billing, error, status, body FROM attempts").fetchall()

    assert [attempts[0], attempts[1]._replace(error="BadResponse: not JSON \\ud800")] == lines


@posix
def test_files_are_for_their_owner_alone(path):
    """The directory is 0700 and each file 0600, whatever the umask, while the store is in use."""
    before = os.umask(0)
    try:
        store = Store(path)
        store.save([entry(1)], "run").result()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        room = stat.S_IMODE(path.parent.stat().st_mode)
        store.close()
    finally:
        os.umask(before)

    assert 0o700 == room
    assert dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), 0o600) == modes


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    """A later change of directory does not move the store."""
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store.db"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    store.save([entry(1)], "run").result()
    store.close()

    assert tmp_path / "store.db" == store.path
    assert [] == list((tmp_path / "elsewhere").iterdir())


def test_a_closed_store_says_so(path):
    """After closing every call fails with words; closing twice does nothing."""
    store = Store(path)
    store.close()
    store.close()

    with pytest.raises(StoreError, match="is closed"):
        store.known([entry(1).key])
    assert "is closed" in str(store.save([entry(1)], "run").exception())


def test_an_exit_flushes(path):
    """What was handed over is on disk when the interpreter is gone, though nobody closed or waited."""
    process = child("store = Store(path)\nfor number in range(500): store.save([entry(number)], 'run')", path)
    process.communicate()
    store = Store(path)
    known = store.known([entry(number).key for number in range(500)])
    store.close()

    assert 0 == process.returncode
    assert [stored(entry(number)) for number in range(500)] == known


def test_a_closed_store_is_not_closed_again_at_the_exit(path, monkeypatch):
    """Closing takes the store off the list of things to do at the end."""
    undone = []
    monkeypatch.setattr(atexit, "unregister", undone.append)
    store = Store(path)
    store.close()

    assert [store.close] == undone


# What is damaged.


def damage(store, number, sql="body = x'00'"):
    """Change a field of an entry behind the store's back."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(f"UPDATE entries SET {sql} WHERE key = ?", (entry(number).key,))


@pytest.mark.parametrize(
    "sql",
    ["body = x'00'", "cost = 11", "cost = 'text'", "created = x'ff'", "seconds = 9"],
)
def test_a_damaged_entry_is_set_aside(store, sql):
    """It counts as missing, is kept for a look, is warned of once, and makes room for a new answer."""
    store.save([entry(number) for number in range(5)], "run").result()
    damage(store, 1, sql)
    damage(store, 3, sql)
    keys = [entry(number).key for number in range(5)]

    with pytest.warns(StoreWarning, match="damaged entries") as warned:
        known = [store.known([keys[1], keys[1]]), store.known(keys)]
    claimed = store.claim(keys, "run").result()
    store.save([entry(1)], "run").result()

    assert [[None] * 2, [stored(entry(0)), None, stored(entry(2)), None, stored(entry(4))]] == known
    assert (1, 2) == (len(warned), store.damaged)
    assert [keys[1], keys[3]] == claimed.mine
    assert stored(entry(1)) == store.known(keys)[1]
    assert (4, 2) == (store.stats().entries, store.stats().quarantine)


def test_an_entry_without_its_checksum_is_missing(store):
    """It is asked again, not waited for."""
    store.save([entry(1)], "run").result()
    damage(store, 1, "checksum = NULL")

    known = store.known([entry(1).key])
    claimed = store.claim([entry(1).key], "run").result()
    store.save([entry(1)], "run").result()

    assert ([None], [entry(1).key]) == (known, claimed.mine)
    assert [stored(entry(1))] == store.known([entry(1).key])


def test_an_answer_that_came_meanwhile_is_not_set_aside(store, path):
    """Between the look and the removal another process may have asked again."""
    store.save([entry(1)], "run").result()
    damage(store, 1)
    other = Store(path)
    plain = store._submit

    def first_the_other(work):
        other.save([entry(1)], "run").result()
        return plain(work)

    store._submit = first_the_other
    with pytest.warns(StoreWarning, match="damaged"):
        store.known([entry(1).key])
    other.close()

    assert [stored(entry(1))] == store.known([entry(1).key])
    assert 0 == store.stats().quarantine


def test_an_index_that_leads_astray_is_no_reason_to_delete(store):
    """Where the key's index names another row, that row stays, and the file wants a repair."""
    store.save([entry(1), entry(3)], "run").result()
    store.close()
    line = b"\x03\x34\x09"  # of the index: a header, a key, and that the row's number is 1
    torn = store.path.read_bytes().replace(line + entry(1).key, line + entry(0).key)
    store.path.write_bytes(torn)

    store = Store(store.path)
    with pytest.raises(StoreError, match=r"it is damaged \(an index leads to the wrong row\).*dfllm store repair"):
        store.known([entry(0).key])
    known = store.known([entry(3).key])
    entries = store.stats().entries
    store.close()

    assert ([stored(entry(3))], 2) == (known, entries)
    assert "it is damaged" in str(store.failed)


def test_damage_in_a_failed_store_is_left_where_it_is(path):
    """A store that takes no more writes still tells right from wrong."""
    store = Store(path)
    store.save([entry(1), entry(2)], "run").result()
    damage(store, 1)
    store._writer.failed = StoreError("failed before")

    with pytest.warns(StoreWarning, match="damaged"):
        known = store.known([entry(1).key, entry(2).key])
    store.close()

    assert [None, stored(entry(2))] == known


def test_random_damage_gives_no_wrong_answer(tmp_path, monkeypatch):
    """1,000 flipped bytes: each look-up gives the right answer, none, or an error of ours."""
    monkeypatch.setattr(store_schema, "WINDOW", 120)  # each open prepares a window; a small one is quicker
    path = tmp_path / "store.db"
    entries = [entry(number, size=1 + number * 7 % 400) for number in range(120)]
    store = Store(path)
    store.save(entries, "run").result()
    store.claim([bytes(19) + b"\xff"], "run").result()
    store.close()
    whole = path.read_bytes()
    chance = random.Random(3)
    ends = {"right": 0, "missing": 0, "error": 0}

    for _ in range(1_000):
        torn = bytearray(whole)
        torn[chance.randrange(len(torn))] ^= chance.randrange(1, 256)
        for file in tmp_path.glob("store.db*"):
            file.unlink()
        path.write_bytes(torn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            end = look(path, entries)
        ends[end] += 1

    assert {"right": True, "missing": True, "error": True} == {end: count > 0 for end, count in ends.items()}


def look(path, entries):
    """Say how looking everything up ended; a wrong answer is an error of the test."""
    try:
        store = Store(path)
    except StoreError:
        return "error"
    try:
        known = store.known(keys_of(entries))
    except StoreError:
        return "error"
    finally:
        store.close()
    for found, one in zip(known, entries, strict=True):
        assert found is None or found == stored(one)
    return "missing" if None in known else "right"


# What fails.


def faulty(code, fails):
    """Return a way to connect whose changes fail with this code whenever `fails()` says so."""

    class Faulty(sqlite3.Connection):
        def execute(self, sql, *given):
            self.check(sql)
            return super().execute(sql, *given)

        def executemany(self, sql, *given):
            self.check(sql)
            return super().executemany(sql, *given)

        def check(self, sql):
            if sql.split()[0] in ("BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT") and fails():
                error = sqlite3.OperationalError("as the test asked")
                error.sqlite_errorcode = code
                raise error

    return functools.partial(sqlite3.connect, factory=Faulty)


def work_through(store):
    """Do a run's worth of writes; returns the futures of what was paid for."""
    entries = [entry(number) for number in range(6)]
    store.claim(keys_of(entries), "run").exception(10)
    paid = [store.save([one], "run") for one in entries[:3]]
    paid += [store.save(entries[3:], "run")]
    store.journal([Attempt(b"a" * 20, "run", 1.0, "maybe", "Timeout", None, b"half")]).exception(10)
    store.save([], "run", free=keys_of(entries)).exception(10)
    return [future.exception(10) for future in paid]


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR, False),
        (sqlite3.SQLITE_READONLY, True),
    ],
    ids=["full for good", "full once", "an error once", "read-only for good"],
)
def test_whichever_write_fails_nothing_paid_is_lost(tmp_path, code, again):
    """The n-th write fails, for every n there is: all are told, and the next open has every answer."""
    failures = 0
    for number in itertools.count():
        path = tmp_path / str(number) / "store.db"
        Store(path).close()
        store = Store(path, wait_seconds=5)
        left = itertools.count(number, -1)
        store._connect = faulty(code, lambda left=left: next(left) <= 0 if again else next(left) == 0)
        errors = work_through(store)
        failed = store.failed
        later = store.save([entry(99)], "run").exception(10)
        store.close()
        if failed is None:
            break
        failures += 1
        healthy = Store(path)
        known = healthy.known([*(entry(number).key for number in range(6)), entry(99).key])
        attempts = healthy.stats().attempts
        spilled = list(path.parent.glob("*spill*"))
        healthy.close()

        assert [stored(entry(number)) for number in (*range(6), 99)] == known
        assert (1, []) == (attempts, spilled)
        assert str(later).startswith(str(failed))
        assert all(error is None or isinstance(error, StoreError) for error in errors)

    assert failures >= 8
    assert [None] * 4 == errors


def test_the_error_says_where_the_answers_are(path):
    """The message names the spill file and what to do; nothing of the answers is in it."""
    store = Store(path)
    store._connect = faulty(sqlite3.SQLITE_FULL, lambda: True)
    store.save([entry(1), entry(2)], "run").exception(10)
    spilled = list(path.parent.glob("*.spill-*.jsonl"))
    store.close()

    assert 1 == len(spilled)
    for part in ("the disk is full", "Free some space", f"2 answers are kept in {spilled[0]}"):
        assert part in str(store.failed)
    assert "1111" not in str(store.failed)


def test_without_any_room_the_frame_has_the_answers(path, monkeypatch):
    """Where not even a spill file can be written the message says that too."""

    def nowhere(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_rescue, "spill", nowhere)
    store = Store(path)
    store._connect = faulty(sqlite3.SQLITE_FULL, lambda: True)
    store.save([entry(1)], "run").exception(10)
    store.close()

    assert "1 answers could be kept nowhere else" in str(store.failed)


def test_a_newer_answer_is_not_overwritten_by_a_spilled_one(path):
    """Of two answers to one key the newer one stands, whichever was spilled."""
    store = Store(path)
    store._connect = faulty(sqlite3.SQLITE_FULL, lambda: True)
    store.save([entry(1), entry(2)._replace(created=5.0)], "run").exception(10)
    store.close()
    aside = next(path.parent.glob("*.spill-*.jsonl"))
    aside.rename(path.parent / "later")
    store = Store(path)
    store.save([entry(1)._replace(created=2.0), entry(2)], "run").result()
    store.close()
    (path.parent / "later").rename(aside)

    store = Store(path)
    known = store.known([entry(1).key, entry(2).key])
    store.close()

    assert [2.0, 5.0] == [one.created for one in known]


def test_damaged_lines_of_a_spill_are_told(path):
    """What can be read is taken in, the file is kept, and there is one warning."""
    store = Store(path)
    store._connect = faulty(sqlite3.SQLITE_FULL, lambda: True)
    store.save([entry(1)], "run").exception(10)
    store.close()
    spilled = next(path.parent.glob("*.spill-*.jsonl"))
    spilled.write_bytes(spilled.read_bytes() + b"broken\n")

    with pytest.warns(StoreWarning, match="had 1 damaged lines in its spill files"):
        store = Store(path)
    known = store.known([entry(1).key])
    store.close()

    assert [stored(entry(1))] == known
    assert beside(spilled, ".damaged").exists()


@posix
def test_a_disk_that_is_full_in_earnest_loses_nothing(path):
    """The system itself refuses to let the file grow; the next process finds every answer."""
    program = """
        store = Store(path)
        store.save([entry(0)], "run").result()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        for number in range(1, 40):
            store.save([entry(number, size=10_000)], "run").exception(20)
        print(store.failed)
        store.close()
    """
    process = child(program, path)
    told, _ = process.communicate()
    store = Store(path)
    known = store.known([entry(number).key for number in range(40)])
    verified = store.verify()
    store.close()

    assert "kept in" in told
    assert [stored(entry(0)), *(stored(entry(number, size=10_000)) for number in range(1, 40))] == known
    assert verified.ok


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is read-only to root")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_place_that_is_read_only_is_refused(path, what):
    """Without the right to write nothing could be kept, so nothing is begun."""
    Store(path).close()
    place, mode = (path.parent, 0o500) if what == "folder" else (path, 0o400)
    if what == "folder":
        for file in path.parent.iterdir():
            file.unlink()
    place.chmod(mode)
    try:
        with pytest.raises(StoreError, match="writable"):
            Store(path)
    finally:
        place.chmod(0o700)


def test_a_file_that_is_read_only_is_refused_when_opened(path):
    """Where SQLite may not write the constructor says so, and what to do; nothing stays open."""
    Store(path).close()

    with pytest.raises(StoreError, match=r"it is read-only.*Make the file and its directory writable"):
        Store(path, connect=faulty(sqlite3.SQLITE_READONLY, lambda: True))
    lock = FileLock(beside(path, ".lock"), path, 0.0)
    with lock.held():
        free = True
    lock.close()

    assert free


def test_a_lock_held_elsewhere_is_told_at_the_open(path):
    """Who cannot get the lock hears so after its wait."""
    Store(path).close()
    lock = FileLock(beside(path, ".lock"), path, 0.0)

    with lock.held(), pytest.raises(StoreError, match=rf"locked by another process \(pid {os.getpid()}\)"):
        Store(path, wait_seconds=0.01)
    lock.close()


def test_a_database_held_elsewhere_is_told_at_the_open(path):
    """Another program that holds SQLite's own lock is waited for as long."""
    Store(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"locked by another process; waited 0\.05 s"):
            Store(path, wait_seconds=0.05)


@posix
def test_a_lock_held_for_too_long_costs_nothing(path):
    """The answers wait in a spill file; once the lock is free the next write brings them in."""
    store = Store(path, wait_seconds=0.05)
    holder = child(
        """
        import fcntl
        lock = os.open(f"{path}.lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b"%-12d" % os.getpid())
        print("held", flush=True)
        sys.stdin.read()
        """,
        path,
    )
    with holder:
        holder.stdout.readline()
        error = store.save([entry(1)], "run").exception(10)
        claim = store.claim([entry(2).key], "run").exception(10)
        meanwhile = store.known([entry(1).key])
    store.save([entry(2)], "run").result(10)
    known = store.known([entry(1).key, entry(2).key])
    failed = store.failed
    store.close()

    assert f"locked by another process (pid {holder.pid}); waited 0.05 s" in str(error)
    assert "1 answers are kept in" in str(error)
    assert isinstance(claim, StoreError)
    assert ([None], None) == (meanwhile, failed)
    assert [stored(entry(1)), stored(entry(2))] == known
    assert [] == list(path.parent.glob("*spill*"))


def test_a_network_has_no_wal(path, monkeypatch):
    """Without shared memory there is a rollback journal, and one warning; everything else is as ever."""
    monkeypatch.setattr(store_module, "is_network", lambda path: True)
    with pytest.warns(StoreWarning, match="network file system"):
        store = Store(path)

    store.claim([entry(1).key], "run").result()
    store.save([entry(1)], "run").result()
    known = store.known([entry(1).key])
    journal = store.stats().journal
    store.close()

    assert ([stored(entry(1))], "delete") == (known, journal)
    assert ["store.db", "store.db.lock"] == sorted(file.name for file in path.parent.iterdir())


def test_a_store_that_moves_onto_a_network_loses_its_wal(path, monkeypatch):
    """Whatever journal it had, a store has the one that fits where it lies now, and all its answers."""
    Store(path).close()
    journals = []
    for on_network in (True, False):
        monkeypatch.setattr(store_module, "is_network", lambda path, on_network=on_network: on_network)
        with pytest.warns(StoreWarning, match="network") if on_network else nullcontext():
            store = Store(path)
        store.save([entry(int(on_network))], "run").result()
        journals.append(store.stats().journal)
        known = store.known(keys_of([entry(1)]))
        store.close()

    assert (["delete", "wal"], [stored(entry(1))]) == (journals, known)


def test_processes_share_a_store_on_a_network(path, monkeypatch):
    """With a rollback journal, too, two stores ask each key once and see each other's answers."""
    monkeypatch.setattr(store_module, "is_network", lambda path: True)
    with pytest.warns(StoreWarning, match="network"):
        stores = [Store(path), Store(path)]

    for number in range(40):
        mine, theirs = (stores[number % 2], stores[1 - number % 2])
        assert [entry(number).key] == mine.claim([entry(number).key], f"run{number % 2}").result().mine
        assert [entry(number).key] == theirs.claim([entry(number).key], f"other{number % 2}").result().held
        mine.save([entry(number)], f"run{number % 2}").result()
        assert [stored(entry(number))] == theirs.known([entry(number).key])

    for store in stores:
        store.close()


@posix
@pytest.mark.parametrize("network", [False, True])
def test_the_lock_is_held_around_every_commit_and_checkpoint(path, monkeypatch, network):
    """SQLite before 3.51.3 may damage a WAL that is copied while another commits, so nobody ever does either alone."""
    seen, free = set(), []

    def told(sql):
        if not sql.startswith(("COMMIT", "PRAGMA wal_checkpoint", "VACUUM", "PRAGMA journal_mode =")):
            return
        what = " ".join(sql.split()[:2])
        seen.add(what)
        file = os.open(beside(path, ".lock"), os.O_RDWR)
        try:
            if try_lock(file):
                free.append(what)
        finally:
            os.close(file)

    def connect(*given, **more):
        connection = sqlite3.connect(*given, **more)
        connection.set_trace_callback(told)
        return connection

    monkeypatch.setattr(store_module, "is_network", lambda path: network)
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 1)
    with pytest.warns(StoreWarning, match="network") if network else nullcontext():
        store = Store(path, connect=connect)
    keys = keys_of([entry(1), entry(2)])
    store.claim(keys, "run").result()
    store.save([entry(1), entry(2)], "run").result()
    store.journal([Attempt(keys[0], "run", 1.0, "maybe", "Timeout", None, None)]).result()
    with store.care() as care:
        care.take([row_of(entry(3))])
        care.prune(before=0.0, model=None, max_bytes=None)
        care.purge(keys=keys)
    store.claim(keys, "another").result()
    store.close()

    with_wal = set() if network else {"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA journal_mode"}
    assert [] == free
    assert {"COMMIT", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM INTO", *with_wal} == seen


# Several at once.


def test_threads_share_a_store(store):
    """Many threads claim, save and look up through one store; each key is asked once."""
    keys = [entry(number).key for number in range(400)]
    asked = []

    def run(name):
        own = random.Random(name).sample(range(400), 400)
        for start in range(0, 400, 50):
            claimed = store.claim([keys[number] for number in own[start : start + 50]], name).result(20)
            asked.extend(claimed.mine)
            store.save([entry(int.from_bytes(key, "big")) for key in claimed.mine], name).result(20)
            store.known(claimed.mine)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert keys == sorted(asked)
    assert [stored(entry(number)) for number in range(400)] == store.known(keys)


def test_processes_ask_each_key_once(path):
    """Four processes with two threads each want the same 2,000 keys; each key is asked by one of them."""
    Store(path).close()
    program = """
        store = Store(path, wait_seconds=30)
        asked = []
        def run(name):
            left = [entry(number).key for number in range(2_000)]
            random.Random(name).shuffle(left)
            while left:
                held = []
                for start in range(0, len(left), 40):
                    claimed = store.claim(left[start : start + 40], name).result(60)
                    asked.extend(claimed.mine)
                    store.save([entry(int.from_bytes(key, "big")) for key in claimed.mine], name).result(60)
                    held += claimed.held
                left = held
        threads = [threading.Thread(target=run, args=(f"{sys.argv[2]}{thread}",)) for thread in "ab"]
        sys.stdin.read()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*(int.from_bytes(key, "big") for key in asked))
        store.close()
    """
    processes = [child(program, path, number) for number in range(4)]
    for process in processes:
        process.stdin.close()
        process.stdin = None
    told = [process.communicate()[0] for process in processes]
    store = Store(path)
    known = store.known([entry(number).key for number in range(2_000)])
    claims = store.stats().claims
    store.close()

    assert [0] * 4 == [process.returncode for process in processes]
    assert list(range(2_000)) == sorted(int(number) for text in told for number in text.split())
    assert [stored(entry(number)) for number in range(2_000)] == known
    assert 0 == claims


@posix
def test_a_kill_loses_no_answer(path):
    """Ten processes are killed at random moments: what they had acknowledged is there, what they claimed is free."""
    program = """
        store = Store(path)
        first = int(sys.argv[2])
        store.claim([entry(first + number).key for number in range(100_000, 100_010)], "run").result()
        number = first
        while True:
            entries = [entry(number + more, size=200) for more in range(random.randrange(1, 20))]
            number += len(entries)
            store.claim([one.key for one in entries], "run").result()
            store.save(entries, "run").result()
            print(number, flush=True)
    """
    chance = random.Random(11)
    for kill in range(10):
        first = kill * 1_000_000
        process = child(program, path, first)
        process.stdout.readline()
        for _ in range(chance.randrange(60)):
            process.stdout.readline()
        time.sleep(chance.random() / 500)
        process.send_signal(signal.SIGKILL)
        acknowledged = int(([*process.stdout, ""][-2:-1] or ["0"])[0] or 0) or first
        process.communicate()
        store = Store(path)
        known = store.known([entry(number).key for number in range(first, acknowledged)])
        unsaved = [entry(first + number).key for number in range(100_000, 100_010)]
        claimed = store.claim(unsaved, "next").result()
        verified = store.verify()
        store.close()

        assert [stored(entry(number, size=200)) for number in range(first, acknowledged)] == known
        assert Claimed(unsaved, [], []) == claimed
        assert verified.ok


def test_a_long_look_does_not_hold_up_look_ups(filled, monkeypatch):
    """Verification reads through a connection of its own."""
    during = []
    plain = store_module.verification_of

    def slow(connection):
        during.append(filled.known([entry(2).key]))
        return plain(connection)

    monkeypatch.setattr(store_module, "verification_of", slow)

    assert (filled.verify().ok, [[stored(entry(2))]]) == (True, during)
