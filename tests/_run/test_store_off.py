"""A store that is off: nothing is known, nothing kept, and amounts go to the ledger without what they were for."""

import math

import pytest

from dfllm._core.budget import Cap
from dfllm._run.store import Attempt, Claimed, Entry, Store
from dfllm._run.store_off import Off
from dfllm._run.store_rows import Spend

KEY, OTHER = b"k" * 20, b"o" * 20
ENTRY = Entry(KEY, b"SECRET", "openai", "gpt", 1.0, 0.5, 10)
SPEND = Spend("run", KEY, 1.0, "paid", 1, 2, 0, 10)
CAP = Cap("run:run", 100)


@pytest.fixture
def ledger(tmp_path):
    """Return an open store."""
    store = Store(tmp_path / "store.db", wait_seconds=5)
    yield store
    store.close()


def rows_of(ledger, sql):
    """Return what the ledger's file answers."""
    with ledger._apart() as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("with_ledger", [True, False])
def test_every_question_is_new(ledger, with_ledger):
    """What was saved is not known, and whoever asks may send, each key once."""
    off = Off(ledger if with_ledger else None)
    off.save([ENTRY], "run", spends=[SPEND]).result()

    assert [None, None] == off.known([KEY, OTHER])
    assert Claimed([KEY, OTHER], [], []) == off.claim([KEY, OTHER, KEY], "run").result()


def test_only_amounts_are_written(ledger):
    """The answer, the attempt and the keys stay out; what they cost does not."""
    off = Off(ledger)
    off.claim([KEY], "run").result()
    off.journal([Attempt(KEY, "run", 1.0, "maybe", "SECRET", None, b"SECRET")], [SPEND]).result()
    off.journal([Attempt(KEY, "run", 1.0, "maybe", "SECRET", None, b"SECRET")]).result()
    off.save([ENTRY], "run", free=[OTHER], spends=[SPEND]).result()
    off.end("run")

    assert [(None, 10), (None, 10)] == rows_of(ledger, "SELECT key, cost FROM spend")
    assert (0, 0, 0) == (ledger.stats().entries, ledger.stats().attempts, ledger.stats().claims)


def test_a_cap_holds(ledger):
    """What is reserved counts, here as elsewhere; an answer that the store has is none; the end lets go of all."""
    ledger.save([ENTRY], "other").result()
    off = Off(ledger)

    claimed = off.claim([KEY, OTHER], "run", reserves=[60, 60], cap=CAP).result()
    refused = off.reserve(KEY, "run", 60, CAP).result()
    fits = off.reserve(KEY, "run", 30, CAP).result()
    during = ledger.stats().claims
    off.save([ENTRY], "run", spends=[SPEND]).result()

    assert ([KEY], [], [OTHER]) == (claimed.mine, claimed.answered, list(claimed.dear))
    assert (40, None) == (refused.left, fits)
    assert (1, 0) == (during, ledger.stats().claims)
    assert [(None,)] == rows_of(ledger, "SELECT key FROM spend")


def test_without_a_ledger_everything_goes_its_way():
    """A call without a budget needs no store at all."""
    off = Off(None)

    ended = [
        off.journal([], [SPEND]),
        off.reserve(KEY, "run", 10, CAP),
        off.save([ENTRY], "run", spends=[SPEND]),
        off.begin(None),
        off.conclude(None),
    ]
    off.end("run")

    assert [None] * 5 == [one.result(0) for one in ended]
    assert [KEY] == off.claim([KEY], "run", since=math.inf, reserves=[1], cap=CAP).result().mine
