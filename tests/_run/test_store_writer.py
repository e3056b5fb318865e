"""The writer: what waits is committed together, nobody is left waiting, and a failing disk is told at once."""

import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, closing

import pytest

from dfllm._core.errors import StoreError
from dfllm._run import store_writer
from dfllm._run.store_errors import Locked, Mistake
from dfllm._run.store_files import beside
from dfllm._run.store_lock import FileLock
from dfllm._run.store_work import Beat, Leave, SetAside
from dfllm._run.store_writer import Hands, Writer


def work(*names):
    """Return a piece of work by its rows; what they mean is the hands' affair."""
    return SetAside(names)


def failing(code):
    """Return an error of SQLite's with this code."""
    error = sqlite3.OperationalError("so it says")
    error.sqlite_errorcode = code
    return error


class Bench:
    """A database of one table, and hands that write the names of works into it."""

    def __init__(self, path, wait_seconds=5.0, beat_seconds=60.0):
        self.path = path
        self.lock = FileLock(beside(path, ".lock"), path, wait_seconds)
        self.batches, self.rescued, self.recovered = [], [], []
        self.holding = False
        self.where = "kept in a file"
        self.before = lambda works: None
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t(a)")
        hands = Hands(self.connect, self.do, self.rescue, self.recover, lambda: self.holding)
        self.writer = Writer(path, self.lock, hands, beat_seconds=beat_seconds)

    def connect(self):
        """Open the database as the store would."""
        connection = sqlite3.connect(self.path, timeout=0.01, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA journal_size_limit = 0")
        return connection

    def do(self, connection, works):
        """Note the batch and write the names."""
        self.batches.append(works)
        self.before(works)
        names = [(name,) for each in works for name in (each[0] if each else ())]
        connection.executemany("INSERT INTO t VALUES (?)", names)
        return [len(each[0]) if each else None for each in works]

    def rescue(self, works):
        """Note what could not be written."""
        self.rescued.append(works)
        return self.where

    def recover(self, connection):
        """Note that it was brought back."""
        connection.execute("INSERT INTO t VALUES ('recovered')")
        return lambda: self.recovered.append(True)

    def names(self):
        """Return what was committed, in order."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [name for (name,) in connection.execute("SELECT a FROM t ORDER BY rowid")]


@pytest.fixture
def bench(tmp_path):
    """Return a bench that is closed at the end."""
    bench = Bench(tmp_path / "store.db")
    yield bench
    bench.writer.close()
    bench.lock.close()


def in_the_way(bench):
    """Make the next batch wait, so that more gathers behind it; returns what lets it go."""
    begun, go = threading.Event(), threading.Event()

    def wait(works):
        begun.set()
        assert go.wait(10)

    bench.before = wait
    first = bench.writer.submit(work("first"))
    assert begun.wait(10)
    bench.before = lambda works: None
    return first, go


def test_what_waits_is_committed_together(bench):
    """While one commit is under way the next one gathers, in the order given."""
    first, go = in_the_way(bench)
    futures = [bench.writer.submit(work(f"{number}a", f"{number}b")) for number in range(30)]
    go.set()

    assert [1] + [2] * 30 == [future.result(10) for future in (first, *futures)]
    assert [1, 30] == [len(batch) for batch in bench.batches]
    assert ["first", *(f"{number}{letter}" for number in range(30) for letter in "ab")] == bench.names()


def test_an_idle_writer_does_not_linger(bench, monkeypatch):
    """A single write is committed at once; only a busy writer waits a moment for more."""
    naps = []
    monkeypatch.setattr(store_writer.time, "sleep", naps.append)

    bench.writer.submit(work("alone")).result(10)
    bench.writer.submit(work("later")).result(10)
    idle = list(naps)
    first, go = in_the_way(bench)
    futures = [first, bench.writer.submit(work("second"))]
    go.set()
    for future in futures:
        future.result(10)
    lone = list(naps)
    first, go = in_the_way(bench)
    futures = [first, bench.writer.submit(work("third")), bench.writer.submit(work("fourth"))]
    go.set()
    for future in futures:
        future.result(10)

    assert [[], [], [store_writer.LINGER_SECONDS]] == [idle, lone, naps]


def test_a_full_queue_is_not_lingered_over(bench, monkeypatch):
    """Where enough waits already there is nothing to wait for."""
    naps = []
    monkeypatch.setattr(store_writer.time, "sleep", naps.append)
    first, go = in_the_way(bench)
    futures = [bench.writer.submit(work(number)) for number in range(store_writer.ENOUGH_ROWS)]
    go.set()
    for future in (first, *futures):
        future.result(10)

    assert [] == naps


def test_a_commit_has_an_end(bench, monkeypatch):
    """A long queue is committed in parts, so that other processes get their turn."""
    monkeypatch.setattr(store_writer, "MOST_ROWS", 10)
    first, go = in_the_way(bench)
    futures = [bench.writer.submit(work(*range(4))) for _ in range(7)]
    go.set()
    for future in (first, *futures):
        future.result(10)

    assert [1, 3, 3, 1] == [len(batch) for batch in bench.batches]


def test_a_write_cannot_be_taken_back(bench):
    """What was paid for is stored, though nobody waits for it any more."""
    _, go = in_the_way(bench)
    second = bench.writer.submit(work("second"))

    taken_back = second.cancel()
    go.set()
    second.result(10)

    assert taken_back is False
    assert ["first", "second"] == bench.names()


def test_a_mistake_harms_nobody_else(bench):
    """Work that cannot be done fails alone; what shared its commit is done."""

    class Odd:
        """Nothing that SQLite can store."""

    first, go = in_the_way(bench)
    bad_work = work(Odd())
    good, bad, also = (bench.writer.submit(each) for each in (work("good"), bad_work, work("also")))
    go.set()

    assert [1, 1, 1] == [future.result(10) for future in (first, good, also)]
    with pytest.raises(Mistake, match=r"cannot do this: \w+Error\(.*type.*\)\. kept in a file"):
        bad.result(10)
    assert ["first", "good", "also"] == bench.names()
    assert ([[bad_work]], None) == (bench.rescued, bench.writer.failed)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT])
def test_a_failing_disk_is_told_for_good(bench, code):
    """The batch is kept elsewhere, each later one too, and everybody hears of it."""

    def fail(works):
        raise failing(code)

    bench.before = fail
    first = bench.writer.submit(work("first")).exception(10)
    bench.before = lambda works: None
    second = bench.writer.submit(work("second")).exception(10)

    assert first is bench.writer.failed
    assert str(first).endswith("kept in a file")
    assert str(second).startswith(str(first))
    assert [[work("first")], [work("second")]] == bench.rescued
    assert 1 == len(bench.batches)
    assert [] == bench.names()


def test_what_needs_no_keeping_gets_the_plain_error(bench):
    """Work without answers in it fails with the first error itself."""

    def fail(works):
        raise failing(sqlite3.SQLITE_FULL)

    bench.before, bench.where = fail, ""
    errors = [bench.writer.submit(work(name)).exception(10) for name in "ab"]

    assert [True, True] == [error is bench.writer.failed for error in errors]
    assert errors[0].__cause__.sqlite_errorcode == sqlite3.SQLITE_FULL


def test_a_connection_that_cannot_be_made_is_told(bench):
    """A failure before the first statement ends like any other."""

    def connect():
        raise failing(sqlite3.SQLITE_CANTOPEN)

    bench.writer._hands = bench.writer._hands._replace(connect=connect)

    assert "cannot be opened" in str(bench.writer.submit(work("one")).exception(10))


@pytest.mark.parametrize("fate", ["moved", "replaced"])
def test_a_file_that_is_gone_takes_nothing(bench, tmp_path, fate):
    """Answers written into a file that nobody can open again would be lost."""
    bench.writer.submit(work("before")).result(10)
    bench.path.rename(tmp_path / "moved.db")
    if fate == "replaced":
        bench.path.touch()

    error = bench.writer.submit(work("after")).exception(10)

    assert "was moved or deleted while it was in use" in str(error)
    assert [[work("after")]] == bench.rescued


def test_busy_is_waited_for(bench):
    """A lock that passes is no failure; the batch is done again, once."""
    times = iter([failing(sqlite3.SQLITE_BUSY), failing(sqlite3.SQLITE_LOCKED)])

    def fail(works):
        error = next(times, None)
        if error is not None:
            raise error

    bench.before = fail
    bench.writer.submit(work("one")).result(10)

    assert ["one"] == bench.names()
    assert 3 == len(bench.batches)


def test_busy_for_too_long_is_told_and_passes(tmp_path):
    """After the wait the answers are kept elsewhere; the next commit that succeeds brings them back."""
    bench = Bench(tmp_path / "store.db", wait_seconds=0.05)
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = bench.writer.submit(work("one")).exception(10)
        other.execute("ROLLBACK")

    bench.writer.submit(work("two")).result(10)
    bench.writer.submit(work("three")).result(10)
    bench.writer.close()
    bench.lock.close()

    assert isinstance(error, Locked)
    assert bench.writer.failed is None
    assert ["recovered", "two", "three"] == bench.names()
    assert [True] == bench.recovered


def test_a_lock_held_elsewhere_is_waited_for_and_told(tmp_path):
    """The file lock and SQLite's own have one patience together."""
    bench = Bench(tmp_path / "store.db", wait_seconds=0.05)
    other = FileLock(beside(bench.path, ".lock"), bench.path, 1.0)
    bench.where = ""
    with other.held():
        begun = time.monotonic()
        error = bench.writer.submit(work("one")).exception(10)
        seconds = time.monotonic() - begun
    bench.writer.close()
    bench.lock.close()
    other.close()

    assert isinstance(error, Locked)
    assert [] == bench.recovered
    assert seconds < 2


def test_a_lock_that_cannot_be_opened_is_told(bench, tmp_path):
    """A lock file that is a folder is the disk's affair, not a reason to hang."""
    beside(bench.path, ".lock").mkdir()

    error = bench.writer.submit(work("one")).exception(10)
    beside(bench.path, ".lock").rmdir()

    assert "cannot be used" in str(error)
    assert error is bench.writer.failed


def wal_bytes(bench):
    """Return how long the WAL is on disk."""
    return beside(bench.path, "-wal").stat().st_size


def test_a_long_wal_is_copied_and_begins_again(bench, monkeypatch):
    """The WAL does not grow without end."""
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 50_000)
    bench.writer.restart()

    lengths = []
    for number in range(60):
        bench.writer.submit(work("x" * 3_000, number)).result(10)
        lengths.append(wal_bytes(bench))

    assert max(lengths) < 70_000
    assert 120 == len(bench.names())


def test_readers_in_the_way_are_waited_for_less_and_less(bench, monkeypatch):
    """A checkpoint that cannot finish is not tried again at each commit, and a very long WAL waits for readers."""
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 20_000)
    monkeypatch.setattr(store_writer, "TRUNCATE_BYTES", 80_000)
    bench.writer.restart()
    told = []
    with closing(sqlite3.connect(bench.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchall()
        plain = bench.connect

        def connect():
            connection = plain()
            connection.set_trace_callback(lambda sql: told.append(sql) if "checkpoint(" in sql else None)
            return connection

        bench.writer._hands = bench.writer._hands._replace(connect=connect)
        for _ in range(30):
            bench.writer.submit(work("x" * 3_000)).result(10)
        reader.execute("ROLLBACK")
    length = wal_bytes(bench)

    assert 80_000 < length
    assert ["PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)"] == list(dict.fromkeys(told))
    assert len(told) <= length // 20_000


def test_a_checkpoint_that_fails_harms_no_answer(bench, monkeypatch):
    """The batch is committed and its future says so; the store takes no more."""
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 0)
    bench.writer.restart()

    class Failing(sqlite3.Connection):
        def execute(self, sql, *given):
            if "checkpoint" in sql:
                raise failing(sqlite3.SQLITE_IOERR)
            return super().execute(sql, *given)

    def connect():
        return sqlite3.connect(bench.path, isolation_level=None, check_same_thread=False, factory=Failing)

    bench.writer._hands = bench.writer._hands._replace(connect=connect)
    first = bench.writer.submit(work("one")).exception(10)
    second = bench.writer.submit(work("two")).exception(10)

    assert first is None
    assert str(second).startswith(str(bench.writer.failed))
    assert ["one"] == bench.names()


def test_a_busy_checkpoint_is_left_for_later(bench, monkeypatch):
    """A lock in the way of a checkpoint is nobody's failure."""
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 0)
    bench.writer.restart()

    class Busy(sqlite3.Connection):
        def execute(self, sql, *given):
            if "checkpoint" in sql:
                raise failing(sqlite3.SQLITE_BUSY)
            return super().execute(sql, *given)

    def connect():
        return sqlite3.connect(bench.path, isolation_level=None, check_same_thread=False, factory=Busy)

    bench.writer._hands = bench.writer._hands._replace(connect=connect)
    for name in ("one", "two"):
        bench.writer.submit(work(name)).result(10)

    assert (["one", "two"], None) == (bench.names(), bench.writer.failed)


def test_a_checkpoint_gives_way_to_others(tmp_path, monkeypatch):
    """Where another process takes the lock after our commit, the copying waits for a later commit."""
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 0)
    bench = Bench(tmp_path / "store.db", wait_seconds=0.05)
    other = FileLock(beside(bench.path, ".lock"), bench.path, 5.0)
    first, go = in_the_way(bench)
    with ExitStack() as stack:
        first.add_done_callback(lambda _: stack.enter_context(other.held()))
        go.set()
        locked_out = bench.writer.submit(work("second")).exception(10)
    bench.writer.submit(work("third")).result(10)
    bench.writer.close()
    bench.lock.close()
    other.close()

    assert isinstance(locked_out, Locked)
    assert (["first", "recovered", "third"], None) == (bench.names(), bench.writer.failed)


def test_a_rollback_journal_needs_no_checkpoint(tmp_path):
    """Without a WAL there is nothing to copy."""
    bench = Bench(tmp_path / "store.db")
    with closing(sqlite3.connect(bench.path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")

    bench.writer.submit(work("one")).result(10)
    bench.writer.close()
    bench.lock.close()

    assert ["one"] == bench.names()


def test_claims_are_kept_alive(tmp_path):
    """While something is claimed there are signs of life, idle or not; then they end."""
    bench = Bench(tmp_path / "store.db", beat_seconds=0.01)
    beats = threading.Semaphore(0)
    bench.before = lambda works: [beats.release() for each in works if isinstance(each, Beat)]
    bench.holding = True
    bench.writer.submit(work("one")).result(10)

    idle = [beats.acquire(timeout=10) for _ in range(3)]
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            bench.writer.submit(work()).result(10)

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    busy = [beats.acquire(timeout=10) for _ in range(3)]
    stop.set()
    for thread in threads:
        thread.join()
    bench.holding = False
    bench.writer.submit(work("two")).result(10)
    bench.writer.close()
    bench.lock.close()

    assert [True] * 6 == idle + busy
    assert isinstance(bench.batches[-1][0], Leave)


def test_a_busy_writer_shows_life_too(tmp_path, monkeypatch):
    """Where there is never a pause between two batches, a sign of life that is due comes first."""
    monkeypatch.setattr(store_writer, "MOST_ROWS", 1)
    bench = Bench(tmp_path / "store.db", beat_seconds=1e-9)
    _, go = in_the_way(bench)
    bench.holding = True

    def end(works):
        bench.holding = works != [work("last")]

    bench.before = end
    futures = [bench.writer.submit(work(name)) for name in ("a", "b", "c", "last")]
    go.set()
    for future in futures:
        future.result(10)
    bench.writer.close()
    bench.lock.close()

    beats = [isinstance(batch[0], Beat) for batch in bench.batches]
    assert [False, False, True, False, True, False, True, False, False] == beats


def test_closing_writes_what_is_queued(bench):
    """Nothing that was handed over before the end is left out."""
    first, go = in_the_way(bench)
    futures = [bench.writer.submit(work(number)) for number in range(50)]
    threading.Timer(0.01, go.set).start()

    bench.writer.close()

    assert [True] * 51 == [future.done() for future in (first, *futures)]
    assert ["first", *range(50)] == bench.names()
    assert not beside(bench.path, "-wal").exists()


def test_a_closed_writer_takes_nothing(bench):
    """After the end there is an error, not a wait."""
    bench.writer.close()
    bench.writer.close()

    assert "is closed" in str(bench.writer.submit(work("late")).exception(10))


def test_closing_from_a_callback_does_not_hang(bench):
    """Whoever is told by the writer may close it."""
    closed = Future()

    def close(_):
        bench.writer.close()
        closed.set_result(True)

    first, go = in_the_way(bench)
    first.add_done_callback(close)
    go.set()

    assert closed.result(10)
    assert isinstance(bench.writer.submit(work("late")).exception(10), StoreError)


def test_an_end_that_cannot_tidy_up_ends_all_the_same(tmp_path):
    """What is committed needs no farewell."""
    bench = Bench(tmp_path / "store.db")
    bench.writer.submit(work("one")).result(10)
    bench.path.rename(tmp_path / "moved.db")

    bench.writer.close()
    bench.lock.close()

    assert bench.writer._connection is None
