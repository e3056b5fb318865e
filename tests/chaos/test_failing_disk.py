"""A disk that fails at the n-th operation, for every n: spending stops, and what was paid for is in frame and store."""

import os
import sqlite3
import threading
import warnings
from contextlib import closing
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

import dfllm
from dfllm._run import runtime as process
from dfllm._run import store_schema
from dfllm._run.runtime import runtime
from dfllm._run.store import Store
from dfllm.simulator import Faults

PROMPT = "row {{ n }}."
CONCURRENCY = 3
VALUES = [1, 2, 3, 4, 1, 2, 5, None]
#: Kept though they are no answers, asked again by the next run, and journalled since it may have been billed.
FAULTS = {"row 2.": "refusal", "row 3.": "length", "row 4.": "ctx*1", "row 5.": "trunc_json*1"}
#: What a first attempt comes to that is made again by the next run.
AGAIN = {4: "ContextTooLong", 5: "BadResponse"}
#: What an operation may do, and the operations that do it: a full disk still reads.
_WRITES = ("BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE TABLE", "PRAGMA wal_checkpoint", "PRAGMA user_")
#: A rollback ends the transaction whatever happens, and the others touch no file.
_SAFE = (
    *("ROLLBACK", "CREATE TEMP", "WITH RECURSIVE"),
    *(f"PRAGMA {name} =" for name in ("cache_size", "fullfsync", "journal_size_limit", "synchronous", "temp_store")),
    *("PRAGMA trusted_schema =", "PRAGMA wal_autocheckpoint ="),
)
KINDS = {
    "full": (sqlite3.SQLITE_FULL, _WRITES),
    "readonly": (sqlite3.SQLITE_READONLY, _WRITES),
    "io": (sqlite3.SQLITE_IOERR, ("",)),
    "busy": (sqlite3.SQLITE_BUSY, ("",)),
}


class Disk:
    """Opens databases whose n-th operation fails, and perhaps all after it.

    Args:
        code: SQLite's code for what is wrong.
        fails: how the statements begin that can fail.
        at: which of them does, counted from 1.
        lasting: whether all later ones fail too, until it is healed.
        after: whether the operation is done all the same, as when only the message of it is lost.
        look: gives what is to be remembered of the moment of the first failure.

    Attributes:
        seen: what it gave; None before.
        writing: whether it was the store's writing thread that failed.
    """

    def __init__(self, code, fails, at, look, *, lasting, after):
        self.code = code
        self.fails = fails
        self.at = at
        self.look = look
        self.seen = None
        self.writing = False
        self.lasting = lasting
        self.after = after
        self.done = 0
        self.well = True

    def connect(self, *place, **how):
        """Open a database on this disk."""
        disk = self

        class Failing(sqlite3.Connection):
            def execute(self, sql, *values):
                return disk.do(self, sql, super().execute, values)

            def executemany(self, sql, *values):
                return disk.do(self, sql, super().executemany, values)

        return sqlite3.connect(*place, factory=Failing, **how)

    def do(self, connection, sql, execute, values):
        """Do one operation, or fail at it."""
        words = sql.lstrip()
        if words.startswith(_SAFE) or not words.startswith(self.fails):
            return execute(sql, *values)
        self.done += 1
        if self.done != self.at and (self.well or not self.lasting):
            return execute(sql, *values)
        if self.done == self.at:
            self.well = False
            self.seen = self.look()
            self.writing = threading.current_thread().name == "dfllm-store"
        if self.after:
            execute(sql, *values)
        elif self.code == sqlite3.SQLITE_FULL and connection.in_transaction:
            sqlite3.Connection.execute(connection, "ROLLBACK")  # which a full disk does by itself
        error = sqlite3.OperationalError("so says this disk")
        error.sqlite_errorcode = self.code
        raise error

    def heal(self):
        """Fail no more."""
        self.well, self.lasting, self.at = True, False, 0


def call():
    """Make the call; return what each row got, as answer and type of error, or None where it raised."""
    frame = pd.DataFrame({"n": pd.Series(VALUES, dtype=object)})
    limits = dfllm.Limits(concurrency=CONCURRENCY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dfllm.RowsFailedWarning)
        warnings.simplefilter("ignore", dfllm.StoreWarning)
        try:
            done = frame.llm.complete(PROMPT, model="simulator/echo", limits=limits)
        except dfllm.StoreError:
            return None
    errors = [None if pd.isna(one) else one.partition(":")[0] for one in done["completion_error"]]
    answers = [None if pd.isna(one) else one for one in done["completion"]]
    return list(zip(answers, errors, strict=True))


def right(value, tries):
    """Return what a row gets from so many attempts in all."""
    text = f"row {value}."
    if tries == 1 and value in AGAIN:
        return None, AGAIN[value]
    return {None: (None, "Skipped"), 2: (None, "Refused"), 3: (text[: len(text) // 2], "Truncated")}.get(
        value, (text, None)
    )


class Story:
    """What a frame's rows have come to, over several runs."""

    def __init__(self, where):
        self.where = where
        self.tries = dict.fromkeys(VALUES, 0)

    def hear(self, told):
        """Look at each row of a run: its own answer or failure, the same for equal rows, unless it was not sent."""
        by_value = {}
        for value, one in zip(VALUES, told, strict=True):
            assert one == by_value.setdefault(value, one), self.where
        for value, one in by_value.items():
            if one[1] in ("StoreError", "NotSent"):
                continue
            if value in AGAIN or not self.tries[value]:
                self.tries[value] = min(2, self.tries[value] + 1)
            assert one == right(value, self.tries[value]), self.where

    @property
    def calls(self):
        """How many requests that has taken."""
        return sum(tries for value, tries in self.tries.items() if value is not None)

    @property
    def complete(self):
        """Whether nothing is left to ask."""
        return all(tries == (2 if value in AGAIN else 1) for value, tries in self.tries.items())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait for a lock, and open a store, in moments."""
    monkeypatch.setattr(store_schema, "WINDOW", 200)
    dfllm.configure(resend_ambiguous=0)


@pytest.fixture
def on(monkeypatch):
    """Return a function that puts the store, emptied, on a disk."""

    def put(disk):
        runtime().close()
        for file in Path(os.environ["DFLLM_STORE"]).parent.glob("*"):
            file.unlink()
        monkeypatch.setattr(
            process, "Store", lambda *place, **how: Store(*place, wait_seconds=0.02, connect=disk.connect, **how)
        )

    return put


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_at_every_operation(simulator, on, dice, size, kind):
    """Wherever it fails: no call more than was in flight, each answer in the frame, and nothing is paid for twice."""
    provider = simulator(faults=Faults(by_text=FAULTS))
    every = size("faults")
    raised = cut_short = 0
    for at in count(1 + dice.randrange(every), every):
        provider.bill.reset()
        lasting, after = dice.random() < 0.6, kind != "busy" and dice.random() < 0.2
        story = Story(f"{kind} at {at}, lasting {lasting}, after {after}")
        disk = Disk(*KINDS[kind], at, lambda: provider.bill.requests, lasting=lasting, after=after)
        on(disk)
        told = call()
        if disk.seen is None:
            break
        if kind != "busy" or lasting:
            assert provider.bill.requests <= disk.seen + CONCURRENCY, story.where
        if told is None:
            raised += 1
        else:
            cut_short += any(error == "StoreError" for _, error in told)
            story.hear(told)
        assert story.calls == provider.bill.requests, story.where
        if kind == "busy" and not lasting and disk.writing:
            assert "StoreError" not in {error for _, error in told}, story.where  # a lock that passes is waited for
        disk.heal()
        goes_on(story, provider)

    assert at > 20
    assert raised > 0
    assert cut_short > 0


def goes_on(story, provider):
    """See that a disk which is well again loses nothing: what failed is asked, what is known is not."""
    for _ in range(3):
        if story.complete:
            break
        story.hear(call())
        assert story.calls == provider.bill.requests, story.where
    assert story.complete, story.where
    path = Path(os.environ["DFLLM_STORE"])
    runtime().close()
    with closing(Store(path)) as store:
        attempts = store.stats().attempts
        assert store.verify().ok, story.where
    assert 1 <= attempts <= 2, story.where
    assert [] == list(path.parent.glob("*.spill-*")), story.where
