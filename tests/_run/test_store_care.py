"""Care: room is made, purged answers leave no byte, and nobody who uses the store meanwhile is harmed."""

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

import dfllm._run
from dfllm._core.errors import StoreError, StoreWarning
from dfllm._run import store as store_module
from dfllm._run import store_care, store_spill
from dfllm._run.store import Attempt, Entry, Store
from dfllm._run.store_care import Removed
from dfllm._run.store_files import beside
from dfllm._run.store_ledger import Began
from dfllm._run.store_repair import repair
from dfllm._run.store_rows import Spend, note_of, row_of
from dfllm._run.store_spill import spill

SOURCES = Path(dfllm._run.__file__).parents[1]
#: Children need no pandas; the package's own `__init__` would bring it.
HEAD = f"""
import sys, types
package = types.ModuleType("dfllm")
package.__path__ = [{str(SOURCES)!r}]
sys.modules["dfllm"] = package
from pathlib import Path
from dfllm._run.store import Entry, Store
path = Path(sys.argv[1])
"""
#: What is to go, and what is to stay, as bytes that nothing else in a store holds.
SECRET, OTHER = b"SECRET-of-Ada-", b"nobody-minds-"


def key(number):
    """Return a key by its number."""
    return number.to_bytes(20, "big")


def entry(number, text=OTHER, *, size=40, created=None, model="gpt-mini", provider="openai"):
    """Return a paid answer by its number, which is also its time."""
    return Entry(key(number), text * size, provider, model, float(number) if created is None else created, 0.5, 10)


def numbers_of(store, most=2_000):
    """Return the numbers of the answers that are there."""
    return [number for number, found in enumerate(store.known([key(number) for number in range(most)])) if found]


def hits(folder, needle=SECRET):
    """Return the files of a folder that hold these bytes, plain or in base64."""
    from base64 import b64encode

    needles = [needle, *(b64encode(b"x" * shift + needle)[4:-4] for shift in range(3))]
    return [file.name for file in sorted(folder.rglob("*")) if any(one in file.read_bytes() for one in needles)]


@pytest.fixture
def path(tmp_path):
    """Return where a store will be."""
    return tmp_path / "room" / "store.db"


@pytest.fixture(autouse=True)
def own_refuge(tmp_path, monkeypatch):
    """Keep the folder for spills that have no place to the test."""
    refuge = tmp_path / "refuge"
    refuge.mkdir()
    monkeypatch.setattr(store_spill.tempfile, "gettempdir", lambda: str(refuge))


@pytest.fixture
def store(path):
    """Return an open store."""
    store = Store(path, wait_seconds=5)
    yield store
    store.close()


def prune(store, **given):
    """Prune as the door does."""
    with store.care() as care:
        return care.prune(**{"before": None, "model": None, "max_bytes": None, **given})


def purge(store, **given):
    """Purge as the door does."""
    with store.care() as care:
        return care.purge(**given)


# Room.


def test_what_is_old_goes(store):
    """What came until then is taken out with attempts of that age; what came later stays."""
    store.save([entry(number) for number in range(10)], "run").result()
    store.journal([Attempt(key(1), "run", at, "maybe", "Timeout", None, None) for at in (3.0, 8.0)]).result()

    removed = prune(store, before=4.0)

    assert [5, 6, 7, 8, 9] == numbers_of(store)
    assert (5, 1) == removed[:2]
    assert 1 == store.stats().attempts


@pytest.mark.parametrize(
    ("model", "left"),
    [("gpt-mini", [3]), ("openai/gpt-mini", [1, 2, 3]), ("lab/gpt-mini", [0, 2, 3]), ("openai/gpt", [0, 1, 2, 3])],
)
def test_one_models_answers_go(store, model, left):
    """A model is named with its provider or without; a provider's own base URL is no part of its name."""
    store.save(
        [
            entry(0),
            entry(1, provider="lab http://127.0.0.1:9000/v1"),
            entry(2, provider="ollama"),
            entry(3, model="gpt-max"),
        ],
        "run",
    ).result()
    store.journal([Attempt(key(1), "run", 1.0, "maybe", "Timeout", None, None)]).result()

    prune(store, model=model)

    assert (left, 1) == (numbers_of(store), store.stats().attempts)


def test_the_oldest_make_room_and_the_file_shrinks(store, path):
    """The file has the size asked for at most, and what stays is the newest."""
    store.save([entry(number, size=100) for number in reversed(range(1_000))], "run").result()
    before = prune(store, before=-1.0)  # settles the WAL, so that sizes are the file's
    size = path.stat().st_size

    removed = prune(store, max_bytes=size // 2)

    left = numbers_of(store)
    assert Removed(0, 0, before.bytes) == before
    assert list(range(1_000 - len(left), 1_000)) == left
    assert size // 3 < path.stat().st_size <= size // 2
    assert (1_000 - len(left), size - path.stat().st_size) == (removed.answers, removed.bytes)


def test_room_that_is_there_costs_no_answer(store, path):
    """Free pages are given back before any answer goes."""
    store.save([entry(number, size=100) for number in range(1_000)], "run").result()
    prune(store, before=-1.0)
    size = path.stat().st_size
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM entries WHERE created < 900")
        connection.commit()

    removed = prune(store, max_bytes=size // 2)

    assert (0, list(range(900, 1_000))) == (removed.answers, numbers_of(store))
    assert path.stat().st_size < size // 4


def test_what_a_run_has_in_hand_stays(store):
    """An answer that is being asked anew is the answer until the new one is there."""
    store.save([entry(number) for number in range(4)], "run").result()
    store.claim([key(2)], "again", since=3.5).result()

    removed = prune(store, before=9.0)

    assert (3, [2]) == (removed.answers, numbers_of(store))
    assert 1 == store.stats().claims


def test_what_came_anew_meanwhile_stays(store, monkeypatch):
    """Between the look and the removal an answer was replaced: that is another one, and it stays."""
    store.save([entry(number) for number in range(4)], "run").result()
    meant = store_care._up_to

    def slow(*given):
        store.save([entry(1, created=99.0)], "again").result()
        return meant(*given)

    monkeypatch.setattr(store_care, "_up_to", slow)

    assert (3, [1]) == (prune(store, before=50.0).answers, numbers_of(store))


def test_a_prune_that_readers_hold_up_says_so(path):
    """The answers are gone; the file shrinks when the reader has ended, and a warning says that."""
    store = Store(path, wait_seconds=0.05)
    store.save([entry(number) for number in range(100)], "run").result()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.warns(StoreWarning, match="do not shrink before another program has ended"):
            removed = prune(store, before=49.0)
        seen = reader.execute("SELECT count(*) FROM entries").fetchone()[0]
    store.close()

    assert (50, 100) == (removed.answers, seen)


# No byte.


def planted(path):
    """Make a store that holds the secret in every place there is, keys 1 and 2; key 3 is nobody's secret."""
    store = Store(path)
    store.save([entry(number, SECRET) for number in (1, 2)], "run").result()
    store.save([entry(3)], "run").result()
    store.save([entry(1, SECRET + b"anew-", created=9.0)], "run").result()
    store.journal(
        [Attempt(key(1), "run", 5.0, "maybe", f"BadResponse: {SECRET.decode()}", 200, SECRET * 400)],
        [Spend("run", key(1), 5.0, "maybe", None, None, None, 7)],
    ).result()
    store.close()
    repair(path)  # moves a whole copy aside
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET checksum = 1 WHERE key = ?", (key(2),))
        connection.commit()
    store = Store(path)
    with pytest.warns(StoreWarning, match="damaged entries"):
        store.known([key(2)])  # sets it aside
    store.journal([], [Spend("run", key(1), 5.0, "paid", 1, 2, 0, 11)]).result()
    store.journal([Attempt(key(2), "run", 5.0, "maybe", f"Timeout: {SECRET.decode()}", None, SECRET)]).result()
    spill(path, [row_of(entry(4, SECRET))], [note_of(Attempt(key(4), "r", 1.0, "paid", "x", None, SECRET))])
    for name in (".spill-00.jsonl.damaged", ".repaired-x", ".compact-x"):
        beside(path, name).write_bytes(SECRET)
    half = beside(path, ".spill-01.jsonl.part")
    half.write_bytes(SECRET)
    os.utime(half, (1.0, 1.0))
    return store


def test_a_purge_leaves_no_byte(path):
    """After a purge by key no file of the folder has a byte of answers, bodies or errors; others' answers stay."""
    store = planted(path)
    before = hits(path.parent)

    removed = purge(store, keys=[key(1), key(2), key(4)])

    left = hits(path.parent)
    known, ok = numbers_of(store), store.verify().ok
    store.close()
    assert {"store.db-wal", ".spill-00.jsonl.damaged"} <= {
        name if name == "store.db-wal" else name.removeprefix("store.db") for name in before
    }
    assert 6 <= len(before)
    assert ([], [3], True) == (left, known, ok)
    assert 2 == removed.answers
    assert removed.bytes > 0
    assert [] == hits(path.parent)


def test_the_ledger_keeps_its_amounts(path):
    """What was spent stays to the last number; which question it was for is forgotten."""
    store = planted(path)
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT sum(cost) FROM spend").fetchone()

    purge(store, keys=[key(1)])

    store.close()
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT sum(cost), count(key) FROM spend").fetchone()
    assert (*before, 0) == found


def test_answers_go_by_the_tag_that_paid_for_them(store):
    """A tag's answers are those its runs paid for, found in the ledger."""
    for run, tag in (("r_1", "ada"), ("r_2", None)):
        store.begin(Began(run, 1.0, tag, "openai", "gpt-mini")).result()
    for number, run in ((1, "r_1"), (2, "r_2"), (3, "r_1")):
        spend = Spend(run, key(number), 1.0, "paid", 1, 1, 0, 5)
        store.save([entry(number, SECRET if run == "r_1" else OTHER)], run, spends=[spend]).result()

    removed = purge(store, tag="ada")

    assert (2, [2]) == (removed.answers, numbers_of(store))
    assert [] == hits(store.path.parent)


def test_answers_go_by_their_age(store):
    """All that came until then is purged, attempts too; what came later stays."""
    store.save([entry(1, SECRET), entry(2, SECRET), entry(3)], "run").result()
    notes = [Attempt(key(3), "run", 2.0, "maybe", SECRET.decode(), None, SECRET)]
    store.journal([*notes, Attempt(key(1), "run", 3.0, "maybe", "Timeout", None, None)]).result()

    removed = purge(store, before=2.0)

    assert ((2, 1), [3], 1) == (removed[:2], numbers_of(store), store.stats().attempts)
    assert [] == hits(store.path.parent)


def test_a_purge_of_nothing_clears_what_was_free(store, path):
    """Bytes of answers that were replaced before are gone after any purge."""
    store.save([entry(1, SECRET, size=900)], "run").result()
    store.save([entry(1, OTHER, created=2.0)], "run").result()
    before = hits(path.parent)

    removed = purge(store, keys=[key(77)])

    assert ["store.db-wal"] == before
    assert (0, []) == (removed.answers, hits(path.parent))


def test_a_reader_elsewhere_is_waited_for(store, path):
    """A snapshot in another process keeps old pages; the purge waits for its end and is whole then."""
    store.save([entry(number, SECRET) for number in range(50)], "run").result()
    program = HEAD + textwrap.dedent(
        """
        import sqlite3
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        print("reading", flush=True)
        sys.stdin.readline()
        reader.execute("COMMIT")
        print("done", flush=True)
        sys.stdin.readline()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert "reading\n" == reader.stdout.readline()
        with store.care() as care:
            turn, seen = care._turn, []

            def watched(deadline):
                # Once the purge is at its WAL, which the reader holds, the reader ends.
                seen.append(len(hits(path.parent)))
                if len(seen) == 8:
                    reader.stdin.write("\n")
                    reader.stdin.flush()
                return turn(deadline)

            care._turn = watched
            removed = care.purge(keys=[key(number) for number in range(50)])
        left = hits(path.parent)
        reader.stdin.write("\n")
        reader.stdin.flush()

    assert (50, []) == (removed.answers, left)
    assert len(seen) >= 8


def test_a_reader_that_does_not_end_is_said_and_the_next_purge_is_whole(path):
    """Where the wait was in vain the error says what is left and what to do; doing it works."""
    store = Store(path, wait_seconds=0.05)
    store.save([entry(1, SECRET)], "run").result()
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(StoreError, match=r"1 answers are out.*still in its files.*purge again"):
            purge(store, keys=[key(1)])
        during = hits(path.parent)

    again = purge(store, keys=[key(1)])

    left = hits(path.parent)
    store.close()
    assert [] != during
    assert (0, []) == (again.answers, left)


def test_a_spill_that_is_being_written_is_left_alone(store, path):
    """Half of a file may be of a process that is writing it at this moment; to take it away would lose an answer."""
    half = beside(path, ".spill-02.jsonl.part")
    half.write_bytes(b"[")

    purge(store, keys=[key(1)])

    assert half.exists()


def test_a_rollback_journal_leaves_no_byte_either(path, monkeypatch):
    """As on a network, where there is no WAL."""
    monkeypatch.setattr(store_module, "is_network", lambda path: True)
    with pytest.warns(StoreWarning, match="network"):
        store = Store(path)
    store.save([entry(1, SECRET), entry(2)], "run").result()

    removed = purge(store, keys=[key(1)])

    known, journal = numbers_of(store), store.stats().journal
    store.close()
    assert (1, [2], "delete", []) == (removed.answers, known, journal, hits(path.parent))


def test_nothing_lies_about_after_a_failure(store, path, monkeypatch):
    """A disk that fails while the file is written anew leaves the store as it was, and no copy of it."""
    store.save([entry(1, SECRET)], "run").result()

    def fail(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_care, "make_file", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        purge(store, keys=[key(2)])

    assert [1] == numbers_of(store)
    assert [] == list(path.parent.glob("*.compact-*"))


def test_a_program_that_does_not_know_our_lock_is_not_waited_for_for_ever(path, monkeypatch):
    """Who holds the database by other means ends the wait with a message."""
    store = Store(path, wait_seconds=0.1)
    store.save([entry(1)], "run").result()
    with closing(sqlite3.connect(path, isolation_level=None)) as other, store.care() as care:
        made = store_care.make_file

        def take(file):
            made(file)
            other.execute("BEGIN IMMEDIATE")

        monkeypatch.setattr(store_care, "make_file", take)
        with pytest.raises(StoreError, match="is locked by another process"):
            care._compact()
    known = numbers_of(store)
    store.close()

    assert [1] == known


# Others meanwhile.


def test_processes_go_on_while_others_prune_and_purge(path):
    """Two processes write and read while a third removes: no error, no lost answer but what was removed."""
    writer = HEAD + textwrap.dedent(
        """
        store = Store(path)
        me = int(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(me, me + 300):
            name = number.to_bytes(20, "big")
            assert store.claim([name], f"run{me}").result().mine == [name]
            body = b"answer %d " % number * 50
            store.save([Entry(name, body, "openai", "new", 1e6 + number, 0.5, 1)], "run").result()
            assert store.known([name])[0].body == body
        store.close()
        print("done", flush=True)
        """
    )
    store = Store(path)
    store.save([entry(number, SECRET) for number in range(900)], "run").result()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", writer, str(path), str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (1_000, 1_500)
    ]
    for one in writers:
        assert "ready\n" == one.stdout.readline()
    for one in writers:
        one.stdin.write("\n")
        one.stdin.flush()

    prune(store, before=299.0)
    purge(store, keys=[key(number) for number in range(300, 600)])
    said = [one.communicate(timeout=60)[0] for one in writers]

    purge(store, keys=[key(number) for number in range(600, 900)])
    left, whole = numbers_of(store), store.verify()
    store.close()
    assert ["done\n", "done\n"] == said
    assert [*range(1_000, 1_300), *range(1_500, 1_800)] == left
    assert (True, []) == (whole.ok, hits(path.parent))


def test_threads_look_up_while_the_file_is_written_anew(store):
    """The reader of this process sees each answer, before and after."""
    store.save([entry(number) for number in range(500)], "run").result()
    ended, wrong = threading.Event(), []

    def look():
        while not ended.is_set():
            wrong.extend({*range(100, 500)} - {*numbers_of(store, 500)})

    thread = threading.Thread(target=look)
    thread.start()
    for until in (30.0, 60.0, 99.0):
        purge(store, before=until)
    ended.set()
    thread.join()

    assert ([], list(range(100, 500))) == (wrong, numbers_of(store))
