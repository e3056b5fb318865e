"""Stats and verification: what is there is counted, and damage is said."""

import sqlite3
from contextlib import closing

import pytest

from dfllm._core.errors import StoreError
from dfllm._run.store import Attempt, Entry, Source, Store
from dfllm._run.store_schema import connected


def entry(number, model="gpt-mini", created=1.0, cost=10):
    """Return a paid answer by its number."""
    return Entry(number.to_bytes(20, "big"), b"body %d" % number, "openai", model, created, 0.5, cost)


@pytest.fixture
def store(tmp_path):
    """Return an open store."""
    store = Store(tmp_path / "store.db")
    store.save([entry(1), entry(2, created=3.0, cost=None), entry(3, model="o", created=2.0)], "run")
    store.journal([Attempt(bytes(20), "run", 1.0, "maybe", "Timeout: 600 s", None, None)])
    store.claim([entry(number).key for number in range(3, 6)], "run").result()
    yield store
    store.close()


def change(store, sql, *given):
    """Change a store behind its back."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(sql, given)


def test_stats_count_what_is_there(store):
    """Answers by provider and model, with first, last and cost; attempts and claims beside them."""
    stats = store.stats()

    assert (Source("openai", "gpt-mini", 2, 1.0, 3.0, 10), Source("openai", "o", 1, 2.0, 2.0, 10)) == stats.sources
    assert (store.path, 3, 1, 2, 0) == (stats.path, stats.entries, stats.attempts, stats.claims, stats.quarantine)
    assert (sqlite3.sqlite_version, "wal") == (stats.sqlite, stats.journal)
    assert stats.bytes > 4096


def test_a_store_that_cannot_be_read_says_so(store):
    """Counting in a damaged file raises; verifying says what it found."""
    change(store, "DROP TABLE entries")

    with pytest.raises(StoreError, match="no such table"):
        store.stats()
    assert (0, (), "no such table: entries", False) == store.verify()


def test_a_whole_store_is_verified(store):
    """Every checksum holds and SQLite finds nothing."""
    assert (3, (), "ok", True) == store.verify()


@pytest.mark.parametrize("damage", ["body = x'00'", "created = 'text'", "checksum = 1", "cost = x'00'"])
def test_damaged_answers_are_named(store, damage):
    """Verification changes nothing; it names the keys."""
    change(store, f"UPDATE entries SET {damage} WHERE key = ?", entry(2).key)

    assert (3, (entry(2).key,), "ok", False) == store.verify()
    assert 3 == store.stats().entries


def test_a_damaged_key_has_no_name(store):
    """What was a key and is none any more is counted, under no name."""
    change(store, "UPDATE entries SET key = 7 WHERE key = ?", entry(2).key)

    assert (b"",) == store.verify().damaged


def test_a_damaged_index_is_said(store):
    """Answers may all be whole and the file be damaged."""
    change(store, "CREATE TABLE spare(a UNIQUE)")
    with closing(connected(store.path, sqlite3.connect, wait_seconds=1.0)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        root = "(SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_spare_1')"
        connection.execute(f"UPDATE sqlite_master SET rootpage = {root} WHERE name = 'sqlite_autoindex_entries_1'")

    verified = store.verify()

    assert (3, (), False) == (verified.entries, verified.damaged, verified.ok)
    assert "sqlite_autoindex_entries_1" in verified.integrity
