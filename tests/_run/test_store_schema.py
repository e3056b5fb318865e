"""The schema: ours is made, older ones are brought up to date, everything else is refused and left alone."""

import sqlite3
from contextlib import closing, suppress

import pytest

from dfllm._core.errors import StoreError
from dfllm._run import store_schema
from dfllm._run.store import Entry, Store
from dfllm._run.store_schema import APPLICATION_ID, VERSION, connected, journal_of, make_writable, prepare, transaction

KEY = b"k" * 20
ENTRY = Entry(KEY, b"body", "openai", "gpt-mini", 1.5, 0.25, 1234)


def plain(path):
    """Return a connection without anything of ours."""
    return closing(sqlite3.connect(path, isolation_level=None))


def opened(path):
    """Return a connection of ours to a new, empty file."""
    path.touch()
    return closing(connected(path, sqlite3.connect, wait_seconds=1.0))


def test_a_new_store_says_whose_it_is(tmp_path):
    """The file names its program and its version, and keeps a WAL."""
    path = tmp_path / "store.db"
    Store(path).close()

    with plain(path) as connection:
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version", "journal_mode", "page_size")
        ]

    assert [APPLICATION_ID, VERSION, "wal", 4096] == found


def test_another_programs_database_is_refused(tmp_path):
    """A database with an application id of its own is named and left as it is."""
    path = tmp_path / "store.db"
    with plain(path) as connection:
        connection.execute("PRAGMA application_id = 305419896")
        connection.execute("CREATE TABLE theirs(a)")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"no store of dfllm.*0x12345678.*DFLLM_STORE"):
        Store(path)

    assert before == path.read_bytes()


def test_a_database_without_a_name_is_refused(tmp_path):
    """Most databases have no application id; their tables give them away."""
    path = tmp_path / "store.db"
    with plain(path) as connection:
        connection.execute("CREATE TABLE entries(a)")

    with pytest.raises(StoreError, match="no store of dfllm"):
        Store(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    """What is no database is named, and left as it is."""
    path = tmp_path / "store.db"
    path.write_bytes(b"a diary, not a database " * 100)

    with pytest.raises(StoreError, match=r"no SQLite database.*dfllm store repair.*DFLLM_STORE"):
        Store(path)

    assert b"a diary, not a database " * 100 == path.read_bytes()


def test_a_pickle_is_refused_unread(tmp_path):
    """A planted pickle is a file of another kind; nothing in it runs."""
    path, trace = tmp_path / "store.db", tmp_path / "trace"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + bytes(trace) + b"'\ntR." + b"\0" * 600)

    with pytest.raises(StoreError, match="no SQLite database"):
        Store(path)

    assert not trace.exists()


def test_a_newer_store_is_refused(tmp_path):
    """A store of a later version is not touched; the message has both versions."""
    path = tmp_path / "store.db"
    Store(path).close()
    with plain(path) as connection:
        connection.execute("PRAGMA user_version = 7")

    with pytest.raises(StoreError, match=rf"newer dfllm: version 7, this one reads up to {VERSION}. Upgrade dfllm"):
        Store(path)


def test_an_empty_file_becomes_a_store(tmp_path):
    """A process that died between making the file and making the tables does no harm."""
    path = tmp_path / "store.db"
    path.touch()

    store = Store(path)
    store.save([ENTRY], "run").result()
    known = store.known([KEY])
    store.close()

    assert [b"body"] == [stored.body for stored in known]


def test_older_stores_are_brought_up_to_date(tmp_path, monkeypatch):
    """Each step leads one version on, and what was kept is kept."""
    path = tmp_path / "store.db"
    store = Store(path)
    store.save([ENTRY], "run").result()
    store.close()
    steps = {
        **store_schema.STEPS,
        VERSION: ("CREATE TABLE more(a)",),
        VERSION + 1: ("ALTER TABLE more ADD COLUMN b",),
    }
    monkeypatch.setattr(store_schema, "STEPS", steps)
    monkeypatch.setattr(store_schema, "VERSION", VERSION + 2)

    store = Store(path)
    known = store.known([KEY])
    store.close()
    with plain(path) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        columns = [row[1] for row in connection.execute("PRAGMA table_info(more)")]

    assert [b"body"] == [stored.body for stored in known]
    assert (VERSION + 2, ["a", "b"]) == (version, columns)


def test_a_step_that_fails_leaves_the_version_before(tmp_path, monkeypatch):
    """Steps are whole or not at all."""
    path = tmp_path / "store.db"
    Store(path).close()
    monkeypatch.setattr(store_schema, "STEPS", {VERSION: ("CREATE TABLE more(a)", "no sql")})
    monkeypatch.setattr(store_schema, "VERSION", VERSION + 1)

    with pytest.raises(StoreError, match="syntax error"):
        Store(path)
    with plain(path) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'")]

    assert (VERSION, []) == (version, tables)


@pytest.mark.parametrize(
    ("durability", "journal", "synchronous"), [("normal", "wal", 1), ("full", "wal", 2), ("normal", "delete", 2)]
)
def test_commits_are_synced_as_asked(tmp_path, durability, journal, synchronous):
    """NORMAL is enough for a WAL unless the power counts; a rollback journal needs FULL."""
    with opened(tmp_path / "store.db") as connection:
        prepare(connection, tmp_path / "store.db", journal=journal)
        make_writable(connection, durability)
        found = connection.execute("PRAGMA synchronous").fetchone()[0]

        assert (synchronous, journal) == (found, journal_of(connection))


def test_a_connection_checkpoints_only_when_told(tmp_path):
    """SQLite's own checkpoints would come outside the file lock."""
    with opened(tmp_path / "store.db") as connection:
        assert 0 == connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]


def test_a_connection_makes_no_file(tmp_path):
    """A store that is gone does not come back empty."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connected(tmp_path / "gone.db", sqlite3.connect, wait_seconds=1.0)


def test_a_connection_that_cannot_be_set_up_is_closed(tmp_path):
    """Where the settings fail no connection is left open."""
    made = []

    class Failing(sqlite3.Connection):
        def execute(self, *given):
            made.append(self)
            raise sqlite3.OperationalError("no settings")

    (tmp_path / "store.db").touch()
    with pytest.raises(sqlite3.OperationalError, match="no settings"):
        connected(tmp_path / "store.db", lambda *a, **k: sqlite3.connect(*a, factory=Failing, **k), wait_seconds=1.0)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].commit()


def test_a_transaction_is_whole_or_not_at_all(tmp_path):
    """What fails half way leaves nothing behind, also where SQLite has rolled back itself."""
    with opened(tmp_path / "store.db") as connection:
        connection.execute("CREATE TABLE t(a)")
        for sql in ("INSERT INTO t VALUES (1)", "ROLLBACK"):
            with suppress(ZeroDivisionError), transaction(connection):
                connection.execute(sql)
                raise ZeroDivisionError

        assert [] == connection.execute("SELECT * FROM t").fetchall()
