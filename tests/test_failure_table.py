"""docs/failures.md is so: each of its lines with a fault is run as it stands, and the lines that no other test shows.

A row's error, what the run does, what is sent and billed, and what the store makes of it: real sockets, the
simulator's bill, and a second run.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import trustme

import dfllm
from dfllm._run import store
from dfllm._run.runtime import runtime
from dfllm.simulator import Faults, RateLimits

from . import test_trouble
from ._run.test_http_failures import certified
from .test_failures import HERE, PAGE, lines_of, pattern_of
from .test_trouble import (
    KEY,
    LABELS,
    ONE,
    TOLD,
    called,
    frame,
    journal,
    quick,  # noqa: F401  # a fixture that every test here gets: milliseconds for seconds, no lanes of earlier tests
    texts,
    until,
)

ROWS = 6
STRUCK = 3
LINES = [line for line in lines_of(PAGE) if any(test.startswith(HERE) for test in line.tests)]
CASES = [pytest.param(line, fault, id=f"{line.name}-{fault}") for line in LINES for fault in line.faults]
#: How often a row is sent whose line says this, where a rate limit strikes once.
SENT = {"no": 1, "once": 2, "3 times": 4, "as told": 2, "mended once": 2}
OPTIONS = {
    "prose": LABELS,
    "fenced": LABELS,
    "badshape": LABELS,
    "weirdjson": LABELS,
    "stall": {"timeout": 0.4},
    "drip": {"timeout": 0.4},
}


def bill_of(error):
    """Return an error's word on the bill."""
    return error.rpartition(" ")[2].strip("()")


def notes_on(line, error):
    """Return what the journal holds of a row that ended so: each attempt that may have been billed for nothing."""
    if error is None or bill_of(error) == "free":
        return []
    # The last answer of a row whose error is kept is no note, but in its place in the store.
    return [(bill_of(error), error.partition(":")[0])] * (SENT[line.tried] - (line.kept == "error"))


def billed_for(line, error):
    """Return how often a row that ended so may have been billed."""
    if line.tried == "mended once":
        return (2,)
    return {"free": (0,), "paid": (1,), "maybe": (0, 1, 2)}[bill_of(error)] if error is not None else (1,)


# Lines with a fault.


@pytest.mark.parametrize(("line", "fault"), [case for case in CASES if case.values[0].course != "stops if first"])
def test_fault_does_what_its_line_says(simulator, line, fault):
    """One row of six strikes trouble: its text, its bill, the others, and what later runs send, all as on the page."""
    strikes = "*1" if line.tried == "as told" else ""
    struck = dict.fromkeys((f"row {STRUCK}.", TOLD), fault + strikes)
    provider = simulator(faults=Faults(by_text=struck, stall_seconds=1.0))
    options = {"limits": ONE, **OPTIONS.get(fault, {})}
    stops = line.course == "stops"

    first = called(frame(ROWS), **options)
    sent, billed, noted = provider.bill.requests, provider.bill.billed, journal()
    second = called(frame(ROWS), **options)
    resent = provider.bill.requests - sent
    provider.faults = Faults()
    third = called(frame(ROWS), **options)
    rest = provider.bill.requests - sent - resent

    others = STRUCK if stops else ROWS - 1
    lost = line.kept == "nothing"
    error = first.errors[STRUCK]
    kinds = (
        [None] * STRUCK + [error and error.partition(":")[0]] + [["NotSent"], [None]][not stops] * (ROWS - STRUCK - 1)
    )
    # The row and the run.
    assert line.says(error), error
    assert (None, kinds) == (first.raised, first.kinds)
    assert (error is not None) + (fault == "othermodel") == len(first.warned)
    assert stops == ("The run was stopped early" in str(first.warned))
    # What was sent and billed, beyond one request for each of the others.
    assert SENT[line.tried] == sent - others == sum(first.facts["retries"].values()) + 1
    assert billed - others in billed_for(line, error)
    # The store.
    assert notes_on(line, error) == [note[:2] for note in noted]
    assert line.says(second.errors[STRUCK])
    assert (SENT[line.tried] if lost else 0) == resent
    assert (ROWS - others if lost else 0) == rest
    assert ([None] * ROWS if lost else first.errors) == third.errors


@pytest.mark.parametrize(("line", "fault"), [case for case in CASES if case.values[0].course != "waits"])
def test_fault_of_the_first_request_stops_where_its_line_says(simulator, line, fault):
    """The first request goes alone: what its line says stops the run costs that one request, all else costs its row."""
    struck = dict.fromkeys(("row 0.", TOLD), fault)
    provider = simulator(faults=Faults(by_text=struck, stall_seconds=1.0))

    came = called(frame(3), **OPTIONS.get(fault, {}))

    kind = came.kinds[0]
    assert line.says(came.errors[0]), came.errors[0]
    if "stops" in line.course:
        assert kind == type(came.raised).__name__
        assert [f"NotSent: {kind}"] * 2 == [error[: len(f"NotSent: {kind}")] for error in came.errors[1:]]
        assert 1 == provider.bill.requests
    else:
        assert (None, [None] * 2) == (came.raised, came.errors[1:])
        assert SENT[line.tried] + 2 == provider.bill.requests


def test_second_answer_on_a_connection_is_nobodys(simulator):
    """Each row has its own answer or none: what else a connection carries goes to no row."""
    provider = simulator(faults=Faults(by_text={"row": "frame"}))
    broken = "BadResponse: the answer is not proper HTTP (try 2, maybe)"

    first = called(frame(15))
    provider.faults = Faults()
    second = called(frame(15))

    came = zip(first.answers, first.errors, strict=True)
    assert [] == [text for text, one in zip(texts(15), came, strict=True) if one not in ((text, None), (None, broken))]
    assert {("maybe", "BadResponse", False)} >= set(journal())
    assert texts(15) == second.answers


# Before anything is sent.


@pytest.mark.parametrize(
    ("prompt", "cell", "error"),
    [
        ("{{ 6 / c }}", 0, "TemplateError: division by zero"),
        ("{% for _ in range(c) %}{{ c }}{% endfor %}", 100_001, "TemplateError: over 100,000 steps"),
        ("{{ 'long' * c }}", 3_000_000, "TemplateError: over 8 MiB"),
        ("{% for _ in range(c) %}{{ ('long' * 2000000) | length }}{% endfor %}", 99, "TemplateError: over 1 s"),
        ("{{ c }}", b"a", "BadInput: bytes cannot be sent in column 'c'"),
        ("{{ c }}", "half \ud800", "BadInput: lone surrogate in column 'c'"),
        ("{{ c }}", "a\0b", "BadInput: NUL character in the prompt"),
        ("{{ c }}", 10**5000, "BadInput: integer of over 4300 digits in column 'c'"),
        ("{{ c }}", " ", "BadInput: the rendered prompt is blank"),
        ("{{ c }}", None, "Skipped: column 'c' is missing"),
    ],
    ids=["division", "steps", "size", "time", "bytes", "surrogate", "nul", "digits", "blank", "missing"],
)
def test_row_that_cannot_be_sent_costs_nothing(simulator, monkeypatch, prompt, cell, error):
    """Its text says why, the others are answered, nothing is kept of it, and once it is mended it alone is sent."""
    provider = simulator()
    monkeypatch.setattr(test_trouble, "PROMPT", prompt)
    df = pd.DataFrame({"c": pd.Series([1, cell, 2], dtype=object)})

    def came(df):
        done = called(df)
        return done.errors, len(done.warned), provider.bill.requests

    first, second, mended = came(df), came(df), came(df.assign(c=[1, 3, 2]))

    assert ([None, error, None], int(not error.startswith("Skipped")), 2) == first == second
    assert ([None] * 3, 0, 3) == mended
    assert [] == journal()


@pytest.mark.parametrize(
    ("large", "error", "sent"),
    [
        (0, "TooLarge: … tokens, limit 5,000 per minute (http 429, rate_limit_exceeded, free)", 1),
        (1, "TooLarge: … tokens, limit 5,000 per minute (free)", 0),
    ],
    ids=["first", "later"],
)
def test_row_that_no_minute_holds_costs_nothing(simulator, monkeypatch, large, error, sent):
    """It would wait for ever: it is not sent, or not again, and the others are answered."""
    provider = simulator(limits=RateLimits(rpm=6_000, tpm=5_000, headers="openai"))
    monkeypatch.setattr(test_trouble, "PROMPT", "{{ c }}")
    df = pd.DataFrame({"c": ["word " * 8_000 if place == large else f"row {place}." for place in range(3)]})

    first, second = called(df), called(df)
    mended = called(df.assign(c=texts(3)))

    assert [large] == [place for place, one in enumerate(first.errors) if one and re.fullmatch(pattern_of(error), one)]
    assert ["TooLarge"] == [kind for kind in first.kinds if kind] == [kind for kind in second.kinds if kind]
    assert (2 + sent, 0) == (first.facts["requests"], second.facts["requests"])
    assert texts(3) == mended.answers
    assert [] == journal()
    assert 3 == provider.bill.billed


# The network.


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ("name", "ConnectFailed: name does not resolve (try 4, free)"),
        ("port", "ConnectFailed: connection refused (try 4, free)"),
    ],
)
def test_server_that_is_not_reached_costs_nothing(simulator, monkeypatch, trouble, error):
    """The call raises, nothing is billed or kept, and once the server is reached the same call sends every row."""
    provider = simulator()
    monkeypatch.setenv("DFLLM_SIMULATOR_URL", provider.base_url.replace("127.0.0.1", "localhost"))

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with monkeypatch.context() as broken:
        if trouble == "name":
            broken.setattr(socket, "getaddrinfo", unknown)
        else:
            provider.stop()
        first = called(frame())
    if trouble == "port":
        provider.start()
    second = called(frame())

    assert dfllm.ConnectFailed is type(first.raised)
    assert [error, *["NotSent"] * 9] == [first.errors[0], *first.kinds[1:]]
    assert [] == journal()
    assert texts() == second.answers
    assert 10 == provider.bill.requests


@contextmanager
def listening(context, port=0):
    """Give one answer to every question, over TLS where there is a context; yields the port and what was heard."""
    answer = b'{"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}'
    heard = []

    def serve(connection):
        with connection, suppress(OSError):
            heard.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
            connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))

    def accept():
        with suppress(OSError):  # closed
            while True:
                connection, _ = server.accept()
                with suppress(OSError):  # whoever does not trust us goes away in the handshake
                    serve(context.wrap_socket(connection, server_side=True) if context else connection)
                connection.close()

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


UNTRUSTED = {
    "expired": "TlsError: certificate expired (free)",
    "unknown": "TlsError: certificate from an unknown authority (free)",
    "another": "TlsError: certificate for another host (free)",
    "plain": "TlsError: handshake failed: … (free)",
}


@pytest.mark.parametrize("trouble", UNTRUSTED)
def test_server_that_cannot_be_trusted_hears_nothing(monkeypatch, tmp_path, trouble):
    """One attempt, no question, no key; with a good certificate the same call sends every row."""
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    monkeypatch.setenv("LAB_KEY", KEY)
    good = certified(ours, "127.0.0.1")
    bad = {
        "expired": certified(ours, "127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1)),
        "unknown": certified(theirs, "127.0.0.1"),
        "another": certified(ours, "127.0.0.2"),
        "plain": None,
    }[trouble]

    with listening(bad) as (port, heard):
        dfllm.register_provider("lab", base_url=f"https://127.0.0.1:{port}/v1", api_key_env="LAB_KEY")
        first = called(frame(), model="lab/any")
        untold = b"".join(heard)
    with listening(good, port) as (_, heard):
        second = called(frame(), model="lab/any")

    assert dfllm.TlsError is type(first.raised)
    assert re.fullmatch(pattern_of(UNTRUSTED[trouble]), first.errors[0])
    assert ["NotSent"] * 9 == first.kinds[1:]
    assert 1 == first.facts["requests"]
    assert KEY.encode() not in untold
    assert b"row" not in untold
    assert [] == journal()
    assert ["hello"] * 10 == second.answers
    assert 10 == len(heard)


# At home.

JUMPING = """
import itertools, time
# Each look at the clock finds it elsewhere: a day ahead, a year back.
true, jumps = time.time, itertools.cycle([0.0, 86_400.0, -31_536_000.0])
time.time = lambda: true() + next(jumps)

import pandas as pd
import dfllm

frame = pd.DataFrame({"n": range(60)})
for _ in range(2):
    done = frame.llm.complete("row {{ n }}.", model="simulator/echo", limits=dfllm.Limits(concurrency=5))
    print(done["completion"].tolist() == [f"row {n}." for n in range(60)], dfllm.last_run().to_dict()["requests"])
"""


def python(program, *given, seconds=60):
    """Run a program in a process of its own, all warnings errors, and return what it printed."""
    command = [sys.executable, "-W", "error", "-c", program, *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert (0, "") == (ended.returncode, ended.stderr)
    return ended.stdout


def test_clock_that_jumps_is_not_noticed(simulator):
    """Waits, tries and look-ups are as ever in a process whose clock jumps by days, and so is what it leaves behind."""
    trouble = {"row 3.": "ra_date*1", "row 5.": "500*2", "row 7.": "drop_before*1", "row 9.": "rate429*2"}
    provider = simulator(faults=Faults(by_text=trouble))
    began = time.monotonic()

    told = python(JUMPING)
    took = time.monotonic() - began
    done = called(frame(60))

    assert "True 66\nTrue 0\n" == told
    assert took < 20.0
    assert texts(60) == done.answers
    assert 66 == provider.bill.requests


POWER = """
import os, signal
import pandas as pd
import dfllm

frame = pd.DataFrame({"n": range(60)})
done = frame.llm.complete("row {{ n }}.", model="simulator/echo", limits=dfllm.Limits(concurrency=1))
assert done["completion_error"].isna().all()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("loss", ["cut", "torn"])
def test_power_loss_costs_the_last_moments_only(simulator, monkeypatch, tmp_path, loss):
    """What of the log had not reached the disk is gone or garbage: the rest is known, and what is missing is sent."""
    provider = simulator()
    subprocess.run([sys.executable, "-c", POWER], check=False, timeout=60)
    store = Path(os.environ["DFLLM_STORE"])
    log = store.with_name("answers.db-wal").read_bytes()
    kept = []

    for share in (0.0, 0.5, 0.8, 1.0):
        place = int(len(log) * share)
        after = tmp_path / f"after-{share}" / "answers.db"
        after.parent.mkdir()
        shutil.copy(store, after)
        after.with_name("answers.db-wal").write_bytes(log[:place] + b"\xa5" * (len(log) - place) * (loss == "torn"))
        monkeypatch.setenv("DFLLM_STORE", str(after))
        before = provider.bill.requests
        done = called(frame(60))
        kept.append(60 - (provider.bill.requests - before))
        assert (texts(60), []) == (done.answers, done.warned)
        with closing(sqlite3.connect(after)) as connection:
            assert ("ok", 60) == (*connection.execute("PRAGMA integrity_check").fetchone(), entries_of(connection))

    assert sorted(kept) == kept
    assert 0 <= kept[0] < kept[1] < kept[2] < kept[3] == 60


def entries_of(connection):
    """Return how many answers a store holds."""
    return connection.execute("SELECT count(*) FROM entries").fetchone()[0]


def test_rows_that_ctrl_c_leaves_say_so(simulator):
    """Rows that were not sent are cancelled, not in doubt; the next run sends them and nothing else."""
    provider = simulator(latency_seconds=0.2)

    def press():
        until(lambda: provider.bill.requests >= 9)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt, match="of 40 rows are done and saved; run again to go on"):
        frame(40).llm.complete(test_trouble.PROMPT, model="simulator/echo", limits=dfllm.Limits(concurrency=4))
    pressing.join(20)
    left = dfllm.last_run().frame
    sent = provider.bill.requests
    second = called(frame(40))

    assert 9 <= sent < 40
    assert {"Cancelled: interrupted; run again to go on"} == set(left["completion_error"].dropna())
    assert sent == left["completion"].notna().sum()
    assert [] == journal()
    assert texts(40) == second.answers
    assert 40 == provider.bill.requests


def test_store_on_a_network_works_and_warns(simulator, monkeypatch):
    """No shared memory is asked of it: one warning, a rollback journal, and every answer is kept."""
    provider = simulator()
    monkeypatch.setattr(store, "is_network", lambda path: True)

    first = called(frame())
    runtime().close()
    second = called(frame())

    assert texts() == first.answers == second.answers
    assert 10 == provider.bill.requests
    for came in (first, second):
        assert 1 == len(came.warned)
        assert "network file system" in came.warned[0]
    place = Path(os.environ["DFLLM_STORE"])
    with closing(sqlite3.connect(place)) as connection:
        assert [("delete",), 10] == [connection.execute("PRAGMA journal_mode").fetchone(), entries_of(connection)]
    assert [] == [*place.parent.glob("*-wal"), *place.parent.glob("*-shm")]


LARGE = """
import tracemalloc
import pandas as pd
import dfllm
from dfllm._run import desk, engine

desk.WINDOW = engine.WINDOW = engine._SLICE = 10
prompt = " " * 15_000 + "{{ n }}."

def peak_of(rows):
    tracemalloc.reset_peak()
    options = {"model": "simulator/small", "limits": dfllm.Limits(concurrency=2)}
    done = pd.DataFrame({"n": range(rows)}).llm.complete(prompt, **options)
    assert done["completion"].notna().all()
    return tracemalloc.get_traced_memory()[1]

peak_of(10)
tracemalloc.start()
print(peak_of(100), peak_of(300))
"""


def test_prompts_are_not_held_in_memory(simulator):
    """Three times the rows take a little more room for their answers, and none for their prompts."""
    simulator()

    few, many = map(int, python(LARGE).split())

    assert many - few < 200 * 15_000 / 4
