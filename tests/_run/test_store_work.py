"""Work: a batch is done in its order, neighbours of one kind together, and each gets its own answer."""

import sqlite3
from contextlib import closing

import pytest

from dfllm._core.errors import StoreError
from dfllm._run.store import Attempt, Claimed, Entry
from dfllm._run.store_claims import Claims
from dfllm._run.store_rows import note_of, row_of
from dfllm._run.store_schema import connected, prepare, transaction
from dfllm._run.store_work import Beat, Claim, Desk, Journal, Leave, Save, SetAside, is_whole, size_of, take_in


def entry(number, created=1.0):
    """Return a paid answer by its number."""
    return Entry(number.to_bytes(20, "big"), b"body %d" % number, "openai", "gpt-mini", created, 0.5, 10)


def key(number):
    """Return the key of an entry."""
    return entry(number).key


NOTE = note_of(Attempt(key(9), "run", 1.0, "maybe", "Timeout: 600 s", None, None))


@pytest.fixture
def connection(tmp_path):
    """Return a connection to a new store."""
    path = tmp_path / "store.db"
    path.touch()
    with closing(connected(path, sqlite3.connect, wait_seconds=1.0)) as connection:
        prepare(connection, path, journal="wal")
        yield connection


@pytest.fixture
def desk():
    """Return a desk whose errors and times are known."""
    return Desk(Claims(lambda: 5.0, lease_seconds=60.0), lambda: 7.0, lambda: StoreError("damaged"))


def count_of(connection, table):
    """Return how many rows a table has."""
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_each_work_gets_its_own_answer_in_turn(connection, desk):
    """What was saved before a claim is answered to it, what comes after is not."""
    works = [
        Save([row_of(entry(1))], "run"),
        Save([row_of(entry(2))], "run"),
        Claim([key(1), key(3)], "run", 0.0),
        Claim([key(3)], "other", 0.0),
        Journal([NOTE]),
        Save([row_of(entry(3))], "run"),
        Claim([key(3), key(4)], "other", 0.0),
        Save([], "other", [key(4)]),
        Claim([key(4)], "run", 0.0),
        Beat(),
        SetAside([key(1)]),
        Leave(),
    ]

    with transaction(connection):
        given = desk.do(connection, works)

    claimed = [
        Claimed([key(3)], [key(1)], []),
        Claimed([], [], [key(3)]),
        Claimed([key(4)], [key(3)], []),
        Claimed([key(4)], [], []),
    ]
    assert [None, None, claimed[0], claimed[1], None, None, claimed[2], None, claimed[3], None, None, None] == given
    assert [3, 1, 0, 0] == [count_of(connection, table) for table in ("entries", "attempts", "claims", "quarantine")]


def test_a_set_aside_entry_is_kept_for_a_look(connection, desk):
    """Damaged bytes are moved as they are, with the time they were found."""
    desk.do(connection, [Save([row_of(entry(1)), row_of(entry(2))], "run")])
    connection.execute("UPDATE entries SET body = CAST(x'ff00' AS TEXT), cost = NULL WHERE key = ?", (key(1),))

    desk.do(connection, [SetAside([key(1), key(2), key(3)])])
    kept = connection.execute("SELECT found, key, model, cost, typeof(body), body FROM quarantine").fetchall()

    assert [(7.0, key(1), b"gpt-mini", None, b"text", b"\xff\x00")] == kept
    assert [(key(2),)] == connection.execute("SELECT key FROM entries").fetchall()


def test_a_row_that_is_no_row_is_not_whole():
    """Any type damage can make of what a row shows is told from an answer."""
    total, body = row_of(entry(1))[6:]
    good = (key(1), b"openai", b"gpt-mini", 1.0, 0.5, 10, total, body)
    bad = [(*good[:place], wrong, *good[place + 1 :]) for place in range(3, 8) for wrong in (None, "text", 1 << 80)]

    assert is_whole(good, key(1))
    assert [] == [row for row in bad if is_whole(row, key(1)) and row != good]


@pytest.mark.parametrize(("here", "elsewhere", "stands"), [(1.0, 2.0, 2.0), (2.0, 1.0, 2.0)])
def test_of_two_answers_the_newer_one_stands(connection, desk, here, elsewhere, stands):
    """What comes in from a spill file replaces only what is older."""
    desk.do(connection, [Save([row_of(entry(1, created=here))], "run")])

    take_in(connection, [row_of(entry(1, created=elsewhere)), row_of(entry(2))], [NOTE])

    assert [(stands,), (1.0,)] == connection.execute("SELECT created FROM entries ORDER BY key").fetchall()
    assert 1 == count_of(connection, "attempts")


def test_work_has_a_size():
    """Rows are counted, so that a commit has an end; a sign of life counts as one."""
    works = [Save([row_of(entry(1))] * 3, "run"), Claim([key(1)] * 4, "run", 0.0), Beat(), Leave()]

    assert [3, 4, 1, 1] == [size_of(work) for work in works]
