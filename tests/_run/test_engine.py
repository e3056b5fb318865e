"""The engine: every row told once, after its answer is on disk; others' answers taken, their leavings taken over."""

import threading
import time
from collections import Counter

import pandas as pd
import pytest

from dfllm._core.errors import StoreError
from dfllm._core.types import Failure
from dfllm._run import loop
from dfllm._run.desk import Desk
from dfllm._run.runtime import engine_for, runtime
from dfllm._run.settings import current
from dfllm._run.store import Entry, Store
from dfllm._run.tally import Tally
from dfllm._work import Options, Work
from dfllm.simulator import Faults

PROMPT = "row {{ n }}."


@pytest.fixture(autouse=True)
def new_lanes(own_home):
    """Forget what earlier tests learnt of their ports."""
    runtime()._lanes.clear()


class Sink:
    """Notes what each row is told, and what was on disk at that moment."""

    def __init__(self, store):
        self.store = store
        self.told = []
        self.unsaved = []

    def fill(self, start, settled):
        """Take a window's outcomes."""
        for position, one in enumerate(settled, start):
            if one is not None:
                self._take(position, one)

    def put(self, positions, settled):
        """Take one outcome that came later."""
        for position in positions:
            self._take(position, settled)

    def _take(self, position, one):
        self.told.append((position, one))
        if one.source == "live" and self.store.known([one.key]) == [None]:
            self.unsaved.append(position)

    @property
    def by_row(self):
        """Return what each row was told; each exactly once."""
        assert [] == [row for row, count in Counter(row for row, _ in self.told).items() if count > 1]
        return dict(self.told)

    def texts(self):
        """Return what each row was told, as text."""
        return {
            row: str(one.outcome) if isinstance(one.outcome, Failure) else one.outcome.text
            for row, one in sorted(self.by_row.items())
        }

    def sources(self):
        """Return where the rows' outcomes came from, and how many from each."""
        return Counter(one.source for one in self.by_row.values())


class Run:
    """One run, with what is around it in sight."""

    def __init__(self, values, **options):
        frame = pd.DataFrame({"n": pd.Series(values, dtype=object)})
        work = Work(frame, PROMPT, Options(model="simulator/echo", **options))
        self.store = runtime().store(current())
        self.sink = Sink(self.store)
        self.tally = Tally(len(frame))
        self.changes = 0
        self.engine = engine_for(
            work.order,
            work._endpoint,
            work.settings,
            sink=self.sink,
            tally=self.tally,
            changed=self._changed,
            price_as=None,
        )
        self.key_of = self.engine._desk._key_of

    def _changed(self):
        self.changes += 1

    def keys(self):
        """Return the rows' keys."""
        return self.engine._desk.rendered(0, self.tally.rows)[0]

    def start(self):
        """Start it and return at once."""
        return loop.submit(self.engine.run())

    def go(self):
        """Run it to its end."""
        self.start().result(60)
        return self.sink


def entries(keys, text="theirs"):
    """Return answers as another process would store them."""
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % text.encode()
    return [Entry(key, body, "simulator", "echo", time.time(), 0.1, None) for key in keys]


def until(is_so):
    """Wait until something is so."""
    ends = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.002)


def rows(*numbers):
    """Return what the simulator's echo answers."""
    return {number: f"row {number}." for number in numbers}


# Every row.


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, 1_300])
def test_every_row_is_told_once(simulator, count):
    """Over slices and pieces of any number, each row gets its own answer."""
    provider = simulator()

    told = Run(range(count)).go().texts()

    assert rows(*range(count)) == told
    assert count == provider.bill.requests


def test_an_answer_is_on_disk_before_its_row_hears(simulator):
    """Whoever is told of an answer can rely on it."""
    simulator()

    told = Run(range(300)).go()

    assert {"live": 300} == told.sources()
    assert [] == told.unsaved


def test_rows_of_all_kinds_are_counted(simulator):
    """Known, shared, skipped, failed and sent: the tally has them all, and says so as it goes."""
    provider = simulator(faults=Faults(by_text={"row 5.": "refusal", "row 6.": "500*2", "row 7.": "drop_mid*1"}))
    Run([0, 1]).go()
    run = Run([0, 1, 2, 2, 2, None, 5, 5, 6, 7])

    run.go()

    tally = run.tally
    assert {
        "ok": 7,
        "failed": 2,
        "skipped": 1,
        "known": 2,
        "shared": 3,
        "asked": 4,
        "requests": 7,
        "unsure": 1,
    } == {
        name: getattr(tally, name)
        for name in ("ok", "failed", "skipped", "known", "shared", "asked", "requests", "unsure")
    }
    assert {"ServerError": 2, "ConnectionLost": 1} == tally.retries
    assert {"Refused": 2} == tally.errors
    assert 10 == tally.done
    assert run.changes > 1
    assert 2 + 7 == provider.bill.requests


def test_equal_rows_share_an_answer_and_a_failure(simulator):
    """Also where the equal row comes so much later that the first has ended, and nothing of it was kept."""
    provider = simulator(faults=Faults(by_text={"row 1.": "ctx"}))

    told = Run([1, *range(2, 600), 1, 2], limits=_one()).go().texts()

    failed = "ContextTooLong: the prompt does not fit the model's context (http 400, context_length_exceeded, free)"
    assert {0: failed, 599: failed, 1: "row 2.", 600: "row 2."} == {row: told[row] for row in (0, 599, 1, 600)}
    assert 599 == provider.bill.requests


# What is used of the store.


def test_only_what_is_missing_is_sent(simulator):
    """A second run takes what is there; a changed row is another question."""
    provider = simulator()
    Run(range(10)).go()

    told = Run([*range(5), 77]).go()

    assert {"store": 5, "live": 1} == told.sources()
    assert 11 == provider.bill.requests


def test_cache_only_sends_nothing(simulator):
    """What is missing is said to be."""
    provider = simulator()
    Run([0]).go()

    told = Run([0, 1, 1], cache="only").go()

    unsent = "NotSent: not in the store, and cache='only'"
    assert {0: "row 0.", 1: unsent, 2: unsent} == told.texts()
    assert 1 == provider.bill.requests


def test_cache_retry_asks_stored_failures_once(simulator):
    """Answers are taken; a stored error is asked again, however many rows share it, and the new word counts."""
    provider = simulator(faults=Faults(by_text={"row 1.": "refusal"}))
    Run([0, 1]).go()

    still = Run([number % 2 for number in range(700)], cache="retry").go().texts()
    asked = provider.bill.requests
    provider.faults = Faults()
    better = Run([0, 1], cache="retry").go().texts()
    known = Run([0, 1]).go().texts()

    assert {"row 0.": 350, "Refused: I'm sorry, but I can't help with that. (paid)": 350} == Counter(still.values())
    assert 2 + 1 == asked
    assert rows(0, 1) == better == known
    assert 2 + 1 + 1 == provider.bill.requests


# In company.


def test_rows_in_other_hands_are_waited_for(simulator):
    """Another run asks the same: nothing is sent, and its answers are taken as they come."""
    provider = simulator()
    run = Run(range(4))
    keys = run.keys()
    assert keys[:3] == run.store.claim(keys[:3], "another run").result(10).mine

    running = run.start()
    until(lambda: len(run.sink.told) == 1)
    time.sleep(0.2)
    waiting = not running.done(), provider.bill.requests
    run.store.save(entries(keys[:2]), "another run").result(10)
    until(lambda: len(run.sink.told) == 3)
    run.store.save(entries(keys[2:3]), "another run").result(10)
    running.result(20)

    assert (True, 1) == waiting
    assert {0: "theirs", 1: "theirs", 2: "theirs", 3: "row 3."} == run.sink.texts()
    assert {"store": 3, "live": 1} == run.sink.sources()
    assert 1 == provider.bill.requests


def test_rows_that_others_let_go_are_taken_over(simulator):
    """Another run fails on them and gives them back: they are asked here."""
    provider = simulator()
    run = Run(range(4))
    keys = run.keys()
    run.store.claim(keys, "another run").result(10)

    running = run.start()
    until(lambda: len(run.engine._held) == len(run.keys()))
    before = provider.bill.requests
    run.store.save([], "another run", free=keys).result(10)
    running.result(20)

    assert 0 == before
    assert rows(0, 1, 2, 3) == run.sink.texts()
    assert 4 == provider.bill.requests


def test_an_interrupt_ends_the_waiting_for_others(simulator):
    """Their rows are cancelled here and stay theirs."""
    simulator()
    run = Run(range(3))
    run.store.claim(run.keys(), "another run").result(10)

    running = run.start()
    until(lambda: len(run.engine._held) == len(run.keys()))
    run.engine.interrupt()
    running.result(5)

    assert dict.fromkeys(range(3), "Cancelled: interrupted; run again to go on") == run.sink.texts()
    assert 3 == run.store.stats().claims


# Ending early.


def test_an_interrupt_before_the_first_step_counts(simulator):
    """Ctrl-C that comes before the loop has begun is not lost."""
    provider = simulator()
    run = Run(range(700))
    run.engine.interrupt()

    run.go()

    assert dict.fromkeys(range(700), "Cancelled: interrupted; run again to go on") == run.sink.texts()
    assert 0 == provider.bill.requests == run.store.stats().claims


def test_an_interrupt_leaves_rows_unrendered(simulator):
    """Whoever pressed Ctrl-C on a large frame is not kept waiting for its rest."""
    provider = simulator(latency_seconds=0.05)
    run = Run(range(20_000))
    running = run.start()
    until(lambda: provider.bill.requests > 5)
    interrupted = time.monotonic()
    run.engine.interrupt()
    running.result(20)

    assert time.monotonic() - interrupted < 3.0
    assert 20_000 == len(run.sink.by_row)
    assert {"Cancelled"} == {one.outcome.type for one in run.sink.by_row.values() if isinstance(one.outcome, Failure)}
    assert provider.bill.requests == run.sink.sources()["live"]
    assert 0 == run.store.stats().claims


def test_the_first_failed_row_stops_where_it_is_asked_for(simulator):
    """`on_error="stop"`: nothing is sent after it."""
    provider = simulator(faults=Faults(by_text={"row 2.": "refusal"}))
    run = Run(range(10), on_error="stop", limits=_one())

    run.go()

    told = run.sink.texts()
    assert 3 == provider.bill.requests
    assert rows(0, 1) == {row: told[row] for row in (0, 1)}
    assert {"NotSent: a row failed and on_error='stop'"} == {told[row] for row in range(3, 10)}


def _one():
    from dfllm import Limits

    return Limits(concurrency=1)


def test_a_sink_that_breaks_ends_the_run(simulator):
    """An exception of the door's own comes out, nobody waits for ever, and claims are given back."""
    simulator(latency_seconds=0.02)
    run = Run(range(400))

    def put(positions, settled):
        raise ZeroDivisionError

    run.sink.put = put
    with pytest.raises(ZeroDivisionError):
        run.go()
    until(lambda: run.store.stats().claims == 0)


# The store in trouble.


def test_a_store_that_takes_no_claims_costs_nothing(simulator, monkeypatch):
    """Where it cannot be noted who asks, nobody does."""
    provider = simulator()
    run = Run(range(5))
    monkeypatch.setattr(Store, "claim", _raising)

    run.go()

    assert dict.fromkeys(range(5), "StoreError: the disk is full") == run.sink.texts()
    assert "StoreError" == run.engine.live.stopped.type
    assert 0 == provider.bill.requests


def test_answers_that_cannot_be_saved_are_told_all_the_same(simulator, monkeypatch):
    """They were paid for: the rows have them, and nothing more is sent than was in flight."""
    provider = simulator()
    run = Run(range(50), limits=_one())
    monkeypatch.setattr(Store, "save", _raising)

    run.go()

    assert 1 == provider.bill.requests
    assert {"row 0.": 1, "StoreError: the disk is full": 49} == Counter(run.sink.texts().values())


def test_a_store_that_cannot_be_read_at_first_raises(simulator, monkeypatch):
    """Nothing was sent, so there is nothing to bring home."""
    provider = simulator()
    run = Run(range(5))
    monkeypatch.setattr(Store, "known", _raising)

    with pytest.raises(StoreError, match="the disk is full"):
        run.go()
    assert 0 == provider.bill.requests


def test_others_answers_that_cannot_be_read_are_the_stores_failure(simulator, monkeypatch):
    """Between claim and look-up the disk fails: the rows say so, and the run ends."""
    simulator()
    run = Run(range(3))
    keys = run.keys()
    run.store.claim(keys, "another run").result(10)
    running = run.start()
    until(lambda: len(run.engine._held) == len(run.keys()))
    monkeypatch.setattr(Desk, "answered", _raising)
    run.store.save(entries(keys), "another run").result(10)
    running.result(20)

    assert dict.fromkeys(range(3), "StoreError: the disk is full") == run.sink.texts()


def _raising(*_, **__):
    raise StoreError("the disk is full")


def test_runs_in_threads_do_not_mix(simulator):
    """Three runs at once over overlapping rows: each row of each its own answer, each question asked once."""
    provider = simulator(latency_seconds=0.005)
    runs = [Run(range(start, start + 300)) for start in (0, 100, 200)]
    threads = [threading.Thread(target=run.go) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [{row: f"row {start + row}." for row in range(300)} for start in (0, 100, 200)] == [
        run.sink.texts() for run in runs
    ]
    assert 500 == provider.bill.requests == provider.bill.billed
