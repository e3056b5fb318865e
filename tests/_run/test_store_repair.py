"""Repair: every answer that can be read is in the store again, and the damaged file is kept."""

import os
import random
import sqlite3
from contextlib import closing

import pytest

from dfllm._core.errors import StoreError
from dfllm._run import store_repair
from dfllm._run.store import Entry, Store, Stored
from dfllm._run.store_files import beside
from dfllm._run.store_lock import FileLock
from dfllm._run.store_repair import repair

PAGE = 4096


def entry(number, size=700, created=1.0):
    """Return a paid answer by its number."""
    body = random.Random(number * 1_000_000 + size).randbytes(size)
    return Entry(number.to_bytes(20, "big"), body, "openai", "gpt-mini", created, number / 8, number or None)


SIZES = (0, 10, 700, 4_000, 4_061, 4_062, 9_000, 50_000)
ENTRIES = [entry(number, SIZES[number % len(SIZES)]) for number in range(400)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a store with answers of many sizes, some written twice, and what it should hold."""
    path = tmp_path_factory.mktemp("whole") / "store.db"
    store = Store(path)
    store.save([each._replace(body=b"before", created=0.5) for each in ENTRIES[::3]], "run").result()
    store.claim([b"c" * 20], "run").result()
    store.save(ENTRIES, "run").result()
    store.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, whole):
    """Return where a store is, or will be."""
    path = tmp_path / "store.db"
    path.write_bytes(whole)
    return path


def answers_of(path, entries=ENTRIES):
    """Return what a store knows, once it is certain that it is whole."""
    store = Store(path)
    known = store.known([each.key for each in entries])
    verified = store.verify()
    store.close()
    assert verified.ok
    return known


def missing(known, entries=ENTRIES):
    """Return how many answers are not there; every other one is the right one."""
    for stored, each in zip(known, entries, strict=True):
        assert stored is None or Stored(each.body, each.seconds, each.created, each.cost) == stored
    return known.count(None)


def test_a_store_without_damage_loses_nothing(path):
    """Every answer of every size is carried over, its newest state."""
    before = path.read_bytes()

    repaired = repair(path)

    assert (400, 0) == (repaired.kept, repaired.lost)
    assert before == repaired.moved_to.read_bytes()
    assert 0 == missing(answers_of(path))


def keep_wal(path, store):
    """Close a store, and put its files back as a kill would have left them."""
    copies = {suffix: beside(path, suffix).read_bytes() for suffix in ("", "-wal")}
    store.close()
    for suffix, content in copies.items():
        beside(path, suffix).write_bytes(content)


def test_answers_still_in_the_wal_are_carried_over(path):
    """What a killed process left in its WAL is part of the store; the newer state of an answer wins."""
    store = Store(path)
    newer = [entry(number, 5_000, created=2.0) for number in range(390, 420)]
    store.save(newer, "run").result()
    keep_wal(path, store)

    repaired = repair(path)

    assert (420, 0) == (repaired.kept, repaired.lost)
    assert beside(repaired.moved_to, "-wal").exists()
    assert 0 == missing(answers_of(path, ENTRIES[:390] + newer), ENTRIES[:390] + newer)


def test_an_earlier_round_of_the_wal_is_not_believed(path):
    """A WAL is written from the start again; what lies behind the new frames is older than the database."""
    store = Store(path)
    older, newer = ([entry(number, 900 + plus) for number in range(200)] for plus in (0, 1))
    store.save(older, "run").result()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        store.save(newer, "run").result()
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        connection.execute("DELETE FROM owners")
    keep_wal(path, store)

    repaired = repair(path)

    assert (400, 0) == (repaired.kept, repaired.lost)
    assert 0 == missing(answers_of(path, newer + ENTRIES[200:]), newer + ENTRIES[200:])


def test_a_torn_wal_gives_way_to_the_database(path):
    """Where the newest state of a page is gone, the one before it is better than nothing."""
    store = Store(path)
    store.save([entry(number, 800) for number in range(400)], "run").result()
    keep_wal(path, store)
    wal = bytearray(beside(path, "-wal").read_bytes())
    for frame in range(32, len(wal), 24 + PAGE):
        wal[frame + 24 : frame + 24 + PAGE] = bytes(PAGE)
    beside(path, "-wal").write_bytes(wal)

    repaired = repair(path)

    assert 400 == repaired.kept
    assert 0 == missing(answers_of(path))


@pytest.mark.parametrize("number", [1, 2, 3, 40])
def test_a_page_that_is_gone_costs_its_own_answers(path, number):
    """The header, the root or any other page: what lay elsewhere is kept, and what was lost is counted."""
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write(bytes(PAGE))

    repaired = repair(path)
    lost = missing(answers_of(path))

    assert 400 == repaired.kept + lost
    assert lost == repaired.lost
    assert lost < 150


def test_a_file_cut_short_keeps_its_beginning(path):
    """Half a file is half the answers."""
    os.truncate(path, path.stat().st_size // 2 + 77)

    repaired = repair(path)

    assert 100 < repaired.kept < 400
    assert 400 - repaired.kept == missing(answers_of(path))


def test_random_damage_gives_no_wrong_answer(path, whole):
    """Whatever a disk does to a file, an answer is the right one or is not there."""
    chance = random.Random(7)
    kept = []
    for _ in range(15):
        torn = bytearray(whole)
        for _ in range(chance.randrange(1, 400)):
            torn[chance.randrange(len(torn))] = chance.randrange(256)
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(torn)

        kept.append(repair(path).kept)

        assert 400 - kept[-1] == missing(answers_of(path))
    assert max(kept) > 300


def test_the_damaged_file_is_never_overwritten(path, monkeypatch):
    """Two repairs within a second leave two files."""
    monkeypatch.setattr(store_repair.time, "strftime", lambda form, when: "20260102T030405Z")

    moved = [repair(path).moved_to.name for _ in range(2)]

    assert ["store.db.damaged-20260102T030405Z", "store.db.damaged-20260102T030405Z-2"] == moved
    assert sorted([*moved, "store.db", "store.db.lock"]) == sorted(file.name for file in path.parent.iterdir())


def test_a_repair_that_fails_changes_nothing(path, monkeypatch, whole):
    """A disk without room for the new store keeps the old one where it is."""

    def full(connection, chunk):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(store_repair, "_keep", full)

    with pytest.raises(StoreError, match=r"the disk is full.*Free some space"):
        repair(path)

    assert whole == path.read_bytes()
    assert ["store.db", "store.db.lock"] == sorted(file.name for file in path.parent.iterdir())


def test_nothing_is_nothing_to_repair(tmp_path):
    """A path without a store is said to be one."""
    with pytest.raises(StoreError, match="There is no store at"):
        repair(tmp_path / "store.db")


def test_a_store_in_use_is_waited_for(path):
    """Whoever commits right now is not disturbed."""
    lock = FileLock(beside(path, ".lock"), path, 1.0)

    with lock.held(), pytest.raises(StoreError, match="locked by another process"):
        repair(path, wait_seconds=0.01)
    lock.close()

    assert 0 == missing(answers_of(path))


def test_an_open_store_notices_and_loses_nothing(path):
    """Who still has the damaged file open writes into a spill file, and the next open takes it in."""
    store = Store(path)
    store.save([entry(900)], "run").result()
    repair(path)

    error = store.save([entry(901)], "run").exception(10)
    store.close()

    assert "moved or deleted while it was in use" in str(error)
    assert 0 == missing(answers_of(path, [*ENTRIES, entry(900), entry(901)]), [*ENTRIES, entry(900), entry(901)])
