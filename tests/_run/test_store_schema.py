"""The schema: ours is made, older ones are brought up to date, everything else is refused and left alone."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from dfllm._core.budget import Cap
from dfllm._core.errors import StoreError
from dfllm._run import store_schema
from dfllm._run.store import Entry, Store
from dfllm._run.store_rows import Spend, row_of
from dfllm._run.store_schema import APPLICATION_ID, VERSION, connected, journal_of, make_writable, prepare, transaction

#: The tables as version 1 made them, word for word: what people have on their disks does not change with the code.
VERSION_1 = """
PRAGMA journal_mode = WAL;
PRAGMA application_id = 1684434029;
CREATE TABLE entries(
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, provider TEXT NOT NULL, model TEXT NOT NULL,
    created REAL NOT NULL, seconds REAL NOT NULL, cost INTEGER, checksum INTEGER, body BLOB NOT NULL
);
CREATE TABLE quarantine(id INTEGER PRIMARY KEY, found REAL, key, provider, model, created, seconds,
    cost, checksum, body);
CREATE TABLE attempts(id INTEGER PRIMARY KEY, key BLOB, run TEXT, at REAL, billing TEXT, error TEXT,
    status INTEGER, body BLOB);
CREATE TABLE owners(
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
    start TEXT NOT NULL, seen REAL NOT NULL, UNIQUE(host, boot, pid, start)
);
CREATE TABLE claims(
    key BLOB PRIMARY KEY, owner INTEGER NOT NULL, run TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
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


def old_store(path):
    """Make a store of version 1 with three answers, an attempt, a damaged entry and a dead process's claim."""
    with plain(path) as connection:
        connection.executescript(VERSION_1)
        for number in range(3):
            row = row_of(Entry(bytes([number]) * 20, b"answer %d" % number, "openai", "gpt", 1.5, 0.25, 7 + number))
            connection.execute(
                "INSERT INTO entries(key, provider, model, created, seconds, cost, checksum, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        connection.execute(
            "INSERT INTO attempts(key, run, at, billing, error) VALUES (?, 'r', 1.0, 'maybe', 'x')", (KEY,)
        )
        connection.execute("INSERT INTO quarantine(found, key) VALUES (1.0, 'what it was')")
        connection.execute("INSERT INTO owners VALUES (1, 'elsewhere', '', 1, '', 1.0)")
        connection.execute("INSERT INTO claims VALUES (?, 1, 'r', 1.0)", (KEY,))


def answers_of(store):
    """Return the bodies of an old store's answers."""
    return [found and found.body for found in store.known([bytes([number]) * 20 for number in range(3)])]


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path):
    """Its answers are found, whole, and all that a store does works in it; what else it held is there too."""
    path = tmp_path / "store.db"
    old_store(path)

    store = Store(path)
    known, stats, whole = answers_of(store), store.stats(), store.verify()
    claimed = store.claim([KEY], "run", reserves=[5], cap=Cap("run:run", 10)).result()
    store.save([ENTRY], "run", spends=[Spend("run", KEY, 1.5, "paid", 1, 2, 0, 1234)]).result()
    added = store.known([KEY])
    store.close()
    with plain(path) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]

    assert ([b"answer 0", b"answer 1", b"answer 2"], True, VERSION) == (known, whole.ok, version)
    assert (3, 1, 0, 1) == (stats.entries, stats.attempts, stats.claims, stats.quarantine)
    assert ([KEY], [b"body"]) == (claimed.mine, [found.body for found in added])


def test_a_store_of_version_1_becomes_what_a_new_one_is(tmp_path):
    """Whichever way a store came to this version, its tables are the same."""
    old_store(tmp_path / "old.db")
    for name in ("old", "new"):
        Store(tmp_path / f"{name}.db").close()

    shapes = []
    for name in ("old", "new"):
        with plain(tmp_path / f"{name}.db") as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
            shapes.append({table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables})

    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("dies_at", ["ALTER TABLE claims", "CREATE TABLE spend", "PRAGMA user_version =", "COMMIT"])
def test_a_process_that_dies_while_it_brings_up_to_date_loses_nothing(tmp_path, dies_at):
    """Killed at any statement of a step, the store is of the version before, and the next to open it goes on."""
    path = tmp_path / "store.db"
    old_store(path)
    program = f"""
import os, signal, sqlite3, sys
from pathlib import Path
from dfllm._run.store import Store
sys.argv.append("")
def connect(*given, **more):
    connection = sqlite3.connect(*given, **more)
    connection.set_trace_callback(lambda sql: sql.startswith({dies_at!r}) and os.kill(os.getpid(), signal.SIGKILL))
    return connection
Store(Path({str(path)!r}), connect=connect)
"""
    died = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    with plain(path) as connection:
        between = connection.execute("PRAGMA user_version").fetchone()[0]

    store = Store(path)
    known = answers_of(store)
    store.close()

    assert (-signal.SIGKILL, 1) == (died.returncode, between)
    assert [b"answer 0", b"answer 1", b"answer 2"] == known


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
