"""A store in trouble, seen from the door: nothing is paid for that could not be kept, and no answer in hand is lost."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pandas as pd
import pytest

import dfllm
from dfllm._core.errors import StoreError
from dfllm._run import desk
from dfllm._run import runtime as process
from dfllm._run.runtime import runtime
from dfllm._run.store import Store
from dfllm._run.store_repair import repair

PROMPT = "row {{ n }}."

FULL = """
import json, resource, sys, warnings
import pandas as pd
import dfllm

def call():
    frame = pd.DataFrame({"n": range(int(sys.argv[1]))})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            done = frame.llm.complete("row {{ n }}.", model="simulator/echo", limits=dfllm.Limits(concurrency=5))
        except dfllm.StoreError as error:
            return {"raised": str(error)}
    found = {name: [None if pd.isna(one) else one for one in done[name]] for name in done}
    return {"raised": None, "warned": [str(one.message) for one in caught], **found}

_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), most))
told = [call()]
if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    told.append(call())
print(json.dumps(told))
"""

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def frame(rows):
    """Return a frame of numbered rows."""
    return pd.DataFrame({"n": range(rows)})


def call(df, concurrency=20, **options):
    """Make the call."""
    return df.llm.complete(PROMPT, model="simulator/echo", limits=dfllm.Limits(concurrency=concurrency), **options)


def texts(rows):
    """Return what the simulator's echo answers."""
    return [f"row {number}." for number in range(rows)]


def kinds(done):
    """Return each row's type of error, None where it has none."""
    return [None if pd.isna(error) else error.partition(":")[0] for error in done["completion_error"]]


def answers(done):
    """Return each row's answer, None where it has none."""
    return [None if pd.isna(answer) else answer for answer in done["completion"]]


@contextmanager
def changing():
    """Give a connection to the store's file, which nobody else has open then."""
    runtime().close()
    with closing(sqlite3.connect(os.environ["DFLLM_STORE"])) as connection:
        yield connection
        connection.commit()


def spoil(path, place, content):
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


@contextmanager
def held():
    """Let another process hold the store's write lock."""
    command = [sys.executable, "-S", "-c", HOLD, os.environ["DFLLM_STORE"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert "held\n" == holder.stdout.readline()
        try:
            yield
        finally:
            holder.stdin.close()


@pytest.fixture
def impatient(monkeypatch):
    """Wait a moment for a lock where a user waits for half a minute."""
    monkeypatch.setattr(process, "Store", lambda *place, **how: Store(*place, wait_seconds=0.3, **how))


# It cannot be opened.


def test_a_place_that_cannot_be_is_refused(simulator, monkeypatch, tmp_path):
    """A file where the folder should be: the call says so, and nothing is sent."""
    provider = simulator()
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path / "taken" / "answers.db"))

    with pytest.raises(dfllm.StoreError, match="taken is a file, no directory; choose another place"):
        call(frame(3))
    assert 0 == provider.bill.requests


def test_a_locked_store_is_waited_for_and_then_said(simulator, impatient):
    """Another process holds it: nothing is sent; once it is free, the same call works."""
    provider = simulator()
    call(frame(2))
    runtime().close()

    with held(), pytest.raises(dfllm.StoreError, match=r"is locked by another process.*; waited 0\.3 s"):
        call(frame(5))
    sent = provider.bill.requests
    done = call(frame(5))

    assert 2 == sent
    assert texts(5) == answers(done)
    assert 5 == provider.bill.requests


def test_a_lock_that_passes_is_not_noticed(simulator):
    """A commit of another program's takes its time, and the run goes on after it."""
    provider = simulator()
    call(frame(2))

    with ExitStack() as holding:
        holding.enter_context(held())
        threading.Timer(0.3, holding.pop_all().close).start()
        done = call(frame(5))

    assert texts(5) == answers(done)
    assert 5 == provider.bill.requests


@pytest.mark.parametrize("damage", ["head", "pages", "newer", "foreign"])
def test_a_file_that_cannot_be_used_is_left_alone(simulator, damage):
    """Damaged, of a later version, or not ours: the call says what to do, sends nothing and changes nothing."""
    provider = simulator()
    call(frame(300))
    path = Path(os.environ["DFLLM_STORE"])
    with changing() as connection:
        if damage == "newer":
            connection.execute("PRAGMA user_version = 99")
        if damage == "foreign":
            connection.execute("PRAGMA application_id = 7")
    if damage == "head":
        spoil(path, 0, b"no database at all")
    if damage == "pages":
        spoil(path, 4096, b"\xa5" * 4096 * 4)
    before = path.read_bytes()

    said = {
        "head": "it is no SQLite database.*run `dfllm store repair`",
        "pages": "it is damaged.*Run `dfllm store repair`",
        "newer": "was written by a newer dfllm: version 99.*Upgrade dfllm",
        "foreign": "is no store of dfllm.*It was left as it is",
    }[damage]
    with pytest.raises(dfllm.StoreError, match=said):
        call(frame(301))
    assert 300 == provider.bill.requests
    assert before == path.read_bytes()


def test_a_repaired_store_asks_only_what_was_lost(simulator, tmp_path):
    """Repair keeps what can be read; the next run sends the rest and nothing else."""
    provider = simulator()
    call(frame(300))
    with changing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        path = tmp_path / "store" / "answers.db"
    spoil(path, 4096 * (pages - 4), b"\xa5" * 4096 * 2)
    with pytest.raises(dfllm.StoreError, match="dfllm store repair"):
        call(frame(300))

    repair(path)
    with closing(Store(path)) as store:
        kept = store.stats().entries
    done = call(frame(300))

    assert 250 < kept < 300
    assert texts(300) == answers(done)
    assert 300 + 300 - kept == provider.bill.requests


# Single entries are damaged.


def test_damaged_entries_are_asked_again_and_warned_of_once(simulator):
    """They count as missing, are kept aside, and the others stay known."""
    provider = simulator()
    call(frame(50))
    with changing() as connection:
        connection.execute("UPDATE entries SET body = replace(body, 'row', 'now') WHERE id IN (3, 4, 5)")

    with pytest.warns(dfllm.StoreWarning, match="damaged entries; they are set aside and asked again") as caught:
        done = call(frame(50))
    again = call(frame(50))

    assert 1 == len(caught)
    assert texts(50) == answers(done) == answers(again)
    assert 53 == provider.bill.requests
    with changing() as connection:
        assert [(3,)] == connection.execute("SELECT count(*) FROM quarantine").fetchall()


# It fails in mid-run.


def full(rows, most_bytes, *freed):
    """Make the call in a process whose files may not grow beyond so many bytes, and again when there is room."""
    command = [sys.executable, "-c", FULL, str(rows), str(most_bytes), *freed]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert 0 == ended.returncode, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_full_disk_stops_spending_and_keeps_what_came(simulator):
    """Every answer that was paid for is in the frame, the rest is unsent; the next run finds them all."""
    provider = simulator(latency_seconds=0.005)

    (told,) = full(400, 600_000)
    sent = provider.bill.requests
    done = call(frame(400))

    came = [answer for answer in told["completion"] if answer is not None]
    assert None is told["raised"]
    assert 20 < len(came) == sent == provider.bill.distinct - (400 - sent)
    assert came == [f"row {place}." for place, answer in enumerate(told["completion"]) if answer is not None]
    failed = [error for error in told["completion_error"] if error is not None]
    assert 400 - sent == len(failed)
    assert {"StoreError"} == {error.partition(":")[0] for error in failed}
    assert 1 == len(told["warned"])
    assert "The run was stopped early: StoreError: " in told["warned"][0]
    assert texts(400) == answers(done)
    assert 400 == provider.bill.requests == provider.bill.billed


def test_a_disk_that_is_full_from_the_start_costs_nothing(simulator):
    """Where not even a claim can be written, nothing is sent."""
    provider = simulator()
    call(frame(2))
    runtime().close()

    (told,) = full(50, 1_000)

    assert "cannot be used" in told["raised"]
    assert 2 == provider.bill.requests


def test_a_disk_with_room_again_goes_on_in_the_same_process(simulator):
    """Whoever frees some space and runs the cell again waits for nobody, least of all for the run that failed."""
    provider = simulator(latency_seconds=0.005)

    first, second = full(400, 600_000, "freed")

    assert None in first["completion"]
    assert texts(400) == second["completion"]
    assert 400 == provider.bill.requests


@pytest.mark.timeout(20)
def test_a_lock_in_mid_run_stops_it_and_the_next_one_goes_on(simulator, impatient):
    """The store is held for too long: answers in hand reach the frame and, later, the store."""
    provider = simulator(latency_seconds=0.01)
    seen = []
    rows = frame(200).llm.iter_completions(PROMPT, model="simulator/echo", limits=dfllm.Limits(concurrency=5))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        seen += [next(rows) for _ in range(20)]
        with held():
            seen += rows
    sent = provider.bill.requests
    done = call(frame(200))

    came = [one for one in seen if one.error is None]
    assert 200 == len(seen) == len({one.position for one in seen})
    assert 20 <= len(came) == sent < 200
    assert [f"row {one.position}." for one in came] == [one.value for one in came]
    assert {"StoreError"} == {one.error.partition(":")[0] for one in seen if one.error is not None}
    assert texts(200) == answers(done)
    assert 200 == provider.bill.requests


def test_a_store_that_cannot_be_read_in_mid_run_drops_nothing(simulator, monkeypatch):
    """Look-ups fail after the first window: what is under way is waited for, and the frame comes back with it."""
    provider = simulator(latency_seconds=0.001)
    looked = []

    def known(self, keys, **options):
        looked.append(len(keys))
        if len(looked) == 4:  # by when answers have come
            raise StoreError("The store cannot be read.")
        return original(self, keys, **options)

    original = Store.known
    monkeypatch.setattr(Store, "known", known)
    monkeypatch.setattr(desk, "WINDOW", 500)
    with pytest.warns(dfllm.RowsFailedWarning, match="The run was stopped early: StoreError") as caught:
        done = call(frame(2_000), concurrency=10)
    sent = provider.bill.requests
    again = call(frame(2_000), concurrency=10)

    came = sum(answer is not None for answer in answers(done))
    assert 1 == len(caught)
    assert came == sent < 2_000
    assert {None, "StoreError"} == set(kinds(done))
    assert 0 == dfllm.last_run().to_dict()["maybe_billed"]
    assert texts(2_000) == answers(again)
    assert 2_000 == provider.bill.requests


def test_equal_rows_share_an_answer_that_could_not_be_saved(simulator, monkeypatch):
    """An answer in hand is every equal row's, also where the store failed before the later ones came."""
    provider = simulator()
    saves = []

    def save(self, entries, run, free=(), spends=()):
        saves.append(len(entries))
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Store, "save", save)
    df = pd.DataFrame({"n": [0, *range(1, 900), 0]})
    with pytest.warns(dfllm.RowsFailedWarning):
        done = call(df, concurrency=1)

    assert ["row 0.", *[None] * 899, "row 0."] == answers(done)
    assert 1 == provider.bill.requests
    assert [1] == saves, "rows without an answer waited for a store in trouble"
