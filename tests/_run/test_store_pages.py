"""Pages: every record that SQLite wrote is found in the raw file, and nothing in it makes us run away."""

import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfllm._run.store import Entry, Store
from dfllm._run.store_pages import Pages
from dfllm._run.store_work import is_whole

PAGE = 4096


def found_in(path):
    """Return all records that look like ours."""
    pages = Pages(path, path.with_name(path.name + "-wal"))
    found = list(pages.found())
    pages.close()
    return found


@given(
    sizes=st.lists(st.integers(0, 20_000), max_size=12),
    created=st.sampled_from([0.0, 1.0, -2.5, 1e9 + 0.1, 2.0**40]),
    cost=st.sampled_from([None, 0, 1, 127, 128, 32_768, 2**23, 2**31, 2**40, 2**47, 2**63 - 1]),
    model=st.text(max_size=80),
)
@settings(max_examples=30)  # each makes a store
def test_every_record_is_read_as_sqlite_wrote_it(tmp_path_factory, sizes, created, cost, model):
    """Bodies of any size, with and without overflow pages, and numbers of every width."""
    path = tmp_path_factory.mktemp("pages") / "store.db"
    entries = [
        Entry(number.to_bytes(20, "big"), random.Random(size).randbytes(size), "p", model, created, 0.5, cost)
        for number, size in enumerate(sizes)
    ]
    store = Store(path)
    store.save(entries, "run").result()
    store.close()

    found = found_in(path)

    keys = [one.key for one in entries]
    assert keys == sorted(each.key for each in found if each.row is not None)
    assert keys == sorted(each.key for each in found if each.row is None)
    assert all(is_whole(each.row, each.key) for each in found if each.row is not None)


def test_keys_in_the_nodes_of_an_index_are_seen(tmp_path):
    """A large index has keys above its leaves too."""
    path = tmp_path / "store.db"
    entries = [Entry(number.to_bytes(20, "big"), b"", "p", "m", 1.0, 0.5, None) for number in range(3_000)]
    random.Random(1).shuffle(entries)
    store = Store(path)
    store.save(entries, "run").result()
    store.close()

    in_index = [each.key for each in found_in(path) if each.row is None]

    assert [number.to_bytes(20, "big") for number in range(3_000)] == sorted(in_index)


def test_what_is_no_record_of_ours_is_passed_over(tmp_path):
    """Other tables, other columns and keys of another length are not ours."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("CREATE TABLE nine(a INTEGER PRIMARY KEY, b, c, d, e, f, g, h, i)")
        connection.execute("INSERT INTO nine VALUES (1, x'00', 2, 3, 4, 5, 6, 7, 8)")
        connection.execute("INSERT INTO nine VALUES (2, 'twenty letters, no key', 2, 3, 4, 5, 6, 7, 8)")
        connection.execute("CREATE TABLE two(a, b)")
        connection.execute("INSERT INTO two VALUES (1, 2)")

    assert [] == found_in(path)


@pytest.mark.parametrize(
    "cell",
    [b"\xff" * 9, b"\x81" * 9, b"\x00", b"\x90\x00\x01\x05\x00", b"\xa0\x00\x01" + b"\x00" * 4000],
    ids=["huge", "large", "empty", "cut", "chain to nowhere"],
)
@pytest.mark.parametrize("at", [100, PAGE - 3])
def test_a_damaged_cell_is_passed_over(tmp_path, cell, at):
    """Lengths that lie and chains that lead nowhere end quickly."""
    page = bytearray(PAGE)
    page[0], page[3:5], page[8:10] = 13, (1).to_bytes(2, "big"), at.to_bytes(2, "big")
    page[at : at + len(cell)] = cell
    path = tmp_path / "pages.db"
    path.write_bytes(bytes(PAGE) + page[:PAGE])

    assert [] == found_in(path)


def test_any_bytes_end(tmp_path):
    """Pages full of chance are read to their end."""
    chance = random.Random(5)
    path = tmp_path / "pages.db"
    pages = [bytes([kind]) + chance.randbytes(PAGE - 1) for kind in (13, 10, 2) * 30]
    path.write_bytes(bytes(PAGE) + b"".join(pages))
    path.with_name("pages.db-wal").write_bytes(chance.randbytes(50_000))

    assert [] == [each for each in found_in(path) if each.row is not None and is_whole(each.row, each.key)]
