"""Byte flips in a store's files: never a wrong answer, never another complaint than the store's own."""

import shutil
import warnings
from contextlib import closing
from hashlib import sha256
from typing import NamedTuple

import pandas as pd
import pytest

import dfllm
from dfllm._core.errors import StoreError
from dfllm._run import store_schema
from dfllm._run.runtime import runtime
from dfllm._run.store import Attempt, Entry, Store
from dfllm._run.store_files import beside
from dfllm._run.store_rows import row_of
from dfllm._run.store_spill import spill

#: More than fits one page each now and then, so that overflow pages are hit as well.
_LENGTHS = (40, 300, 300, 900, 900, 9_000)


def key_of(number):
    """Return a key, as random as real ones."""
    return sha256(str(number).encode()).digest()[:20]


ENTRIES = [
    Entry(
        key_of(number),
        f"answer {number} ".encode() * (length // 10),
        "provider",
        "model",
        1.5 + number,
        0.25 * number,
        number or None,
    )
    for number, length in enumerate(_LENGTHS * 8)
]
NEW = Entry(key_of("new"), b"new", "provider", "model", 1.0, 1.0, None)
KEYS = [entry.key for entry in ENTRIES]
FACTS = {entry.key: (entry.body, entry.seconds, entry.created, entry.cost) for entry in ENTRIES}


class Seen(NamedTuple):
    """What a damaged store gave.

    Attributes:
        missing: how many answers it did not give.
        refused: whether it refused to be used.
        told: whether it said that something is wrong, by itself or when asked with `verify`.
    """

    missing: int
    refused: bool
    told: bool


@pytest.fixture(scope="module", params=["database", "wal", "spill"])
def whole(request, tmp_path_factory):
    """Return a store's files: everything in the database, or half of it still in the WAL or in a spill file."""
    path = tmp_path_factory.mktemp(request.param) / "s.db"
    half = len(ENTRIES) if request.param == "database" else len(ENTRIES) // 2
    with closing(Store(path)) as store:
        store.save(ENTRIES[:half], "run").result()
        store.journal([Attempt(key_of("lost"), "run", 1.0, "maybe", "Timeout: 600 s", None, None)]).result()
    kept = path.with_name("kept.db")
    if request.param != "wal":
        shutil.copy(path, kept)
        if request.param == "spill":
            spill(kept, [row_of(entry) for entry in ENTRIES[half:]], [])
        return kept
    with closing(Store(path)) as store:
        for entry in ENTRIES[half:]:
            store.save([entry], "run").result()
        for suffix in ("", "-wal"):
            shutil.copy(beside(path, suffix), beside(kept, suffix))
    return kept


@pytest.fixture(autouse=True)
def few_numbers(monkeypatch):
    """Look up few keys at once: the table for many is half the time a store takes to open."""
    monkeypatch.setattr(store_schema, "WINDOW", 200)


def damaged(whole, folder, dice):
    """Copy a store's files with one byte of them changed; return the path, and which file it was in."""
    folder.mkdir()
    files = sorted(whole.parent.glob(f"{whole.name}*"))
    hit = dice.choice([file for file in files if file.suffix != ".lock"])
    for file in files:
        content = bytearray(file.read_bytes())
        if file == hit:
            content[dice.randrange(len(content))] ^= dice.randrange(1, 256)
        (folder / file.name).write_bytes(content)
    return folder / whole.name, hit.name


def looked_into(path):
    """Read every answer, write one more, and return what was seen; raises what no store may raise."""
    refused = told = False
    missing = len(KEYS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with closing(Store(path, wait_seconds=2.0)) as store:
                found = store.known(KEYS)
                for key, one in zip(KEYS, found, strict=True):
                    assert one is None or FACTS[key] == (one.body, one.seconds, one.created, one.cost)
                missing = found.count(None)
                told = bool(store.damaged or (missing and not store.verify().ok))
                assert [NEW.key] == store.claim([NEW.key], "next").result().mine
                store.save([NEW], "next").result()
                assert NEW.body == store.known([NEW.key])[0].body
        except StoreError as error:
            refused = str(path) in str(error)
    assert {dfllm.StoreWarning} >= {warning.category for warning in caught}
    return Seen(missing, refused, told or bool(caught))


def test_no_flip_gives_a_wrong_answer(whole, tmp_path, dice, size):
    """Each answer is as it was or missing; what is missing was told of, but for the end of a WAL that broke off."""
    silent, seen = [], []
    for number in range(size("flips") // 3 + 1):
        path, hit = damaged(whole, tmp_path / str(number), dice)
        one = looked_into(path)
        seen.append(one)
        if one.missing and not one.told and not one.refused and not hit.endswith("-wal"):
            silent.append((number, hit, one))
        shutil.rmtree(path.parent)

    assert [] == silent
    assert any(one.missing and not one.refused for one in seen)
    assert any(one.told or one.refused for one in seen)


def test_no_flip_reaches_a_frame(simulator, tmp_path, dice):
    """From the door: each cell is the row's own answer, or the call says what is wrong with the store."""
    simulator()
    frame = pd.DataFrame({"n": range(60)})
    expected = [f"row {number}." for number in range(60)]
    whole = tmp_path / "whole" / "s.db"

    def call(path):
        with dfllm.options(store=path):
            return frame.llm.complete("row {{ n }}.", model="simulator/echo")["completion"].tolist()

    call(whole)
    runtime().close()
    answered = refused = 0
    for number in range(25):
        path, _ = damaged(whole, tmp_path / str(number), dice)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dfllm.StoreWarning)
            warnings.simplefilter("ignore", dfllm.RowsFailedWarning)
            try:
                found = call(path)
            except dfllm.StoreError:
                refused += 1
            else:
                answered += 1
                assert {None} >= {one for one, wanted in zip(found, expected, strict=True) if one != wanted}
        runtime().close()

    assert answered > refused
