"""Progress: a bar where somebody looks, lines in the log where nobody does, and no trouble that reaches the run."""

import io
import logging
import os
import re
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from tqdm import tqdm

from dfllm._core.types import Failure, Response
from dfllm._run import progress as module
from dfllm._run.desk import Settled
from dfllm._run.progress import Progress, Speed, _Bar, _span
from dfllm._run.tally import Tally

ECHO = "simulator/echo"
ANSWERED = Settled(b"k", Response("a"), ("a",), "live")
REFUSED = Settled(b"k", Failure("Refused", "no"), None, "live")
SKIPPED = Settled(None, Failure("Skipped", "gap"), None)
FRAME = pd.DataFrame({"review": ["a", "b", None]})


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


class Kernel:
    """Stands in for IPython in a notebook: keeps what is displayed, and breaks when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: list[str] = []
        self.fails: str | None = None
        shell, display = ModuleType("IPython"), ModuleType("IPython.display")
        shell.get_ipython = lambda: SimpleNamespace(kernel=object())
        display.HTML = str
        display.display = self.display
        monkeypatch.setitem(sys.modules, "IPython", shell)
        monkeypatch.setitem(sys.modules, "IPython.display", display)

    def display(self, page: str, *, display_id: bool) -> "Kernel":
        """Show a page for the first time and return its handle."""
        assert display_id
        self.broken("display")
        self.pages.append(page)
        return self

    def update(self, page: str) -> None:
        """Show another page in its place."""
        self.broken("update")
        self.pages.append(page)

    def broken(self, what: str) -> None:
        """Raise if this is what fails."""
        if self.fails == what:
            raise RuntimeError("the front end has gone")


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal, and return it; no fixture, since pytest sets its own before the test begins."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Stand in a notebook."""
    return Kernel(monkeypatch)


def drawn(progress: Progress, tally: Tally, *settled: Any) -> None:
    """Let rows end, one by one, and the run with them."""
    for one in settled:
        tally.count([one])
        progress.update()
    progress.close()


def test_terminal_has_a_bar_that_ends_full(monkeypatch):
    """Title, share, counts by how rows ended, and money once there is any."""
    terminal = terminal_of(monkeypatch)
    tally = Tally(4)
    tally.cost = 1_500_000_000

    drawn(Progress(tally, "simulator/echo"), tally, ANSWERED, ANSWERED, REFUSED, SKIPPED)

    last = re.split("[\r\n]", terminal.getvalue().strip())[-1]
    assert last.startswith("simulator/echo: 100%")
    assert " 4/4 " in last
    assert "ok 2, failed 1, known 0, skipped 1, $1.5000" in last


def test_stream_that_is_no_terminal_stays_clean(capfd):
    """Pipes and logs get no carriage returns."""
    tally = Tally(1)

    drawn(Progress(tally, "title"), tally, ANSWERED)

    assert ("", "") == capfd.readouterr()


def test_bar_is_drawn_on_demand_even_where_nobody_looks(monkeypatch):
    """progress=True means it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tally = Tally(1)

    drawn(Progress(tally, "title", shown=True), tally, ANSWERED)

    assert "title: 100%" in stream.getvalue()


def test_title_has_no_control_codes(monkeypatch):
    """A model's name is shown in a terminal, and obeyed by none."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    tally = Tally(1)

    drawn(Progress(tally, "lab/\x1b]0;m\x9b2J", shown=True), tally, ANSWERED)

    assert "lab/]0;m2J: 100%" in stream.getvalue()


@pytest.mark.parametrize(("shown", "rows"), [(False, 1), (None, 0), (True, 0)])
def test_bar_is_not_drawn_where_it_is_not_wanted(monkeypatch, kernel, shown, rows):
    """progress=False means it, too, and no rows need no bar."""
    terminal = terminal_of(monkeypatch)
    tally = Tally(rows)

    drawn(Progress(tally, "title", shown=shown), tally)

    assert ("", []) == (terminal.getvalue(), kernel.pages)


def test_notebook_has_html_that_ends_full(kernel, monkeypatch):
    """Plain HTML under one handle, so the saved file shows how it ended; nothing goes to stderr."""
    terminal = terminal_of(monkeypatch)
    tally = Tally(3)

    drawn(Progress(tally, "a<b>"), tally, ANSWERED, REFUSED, SKIPPED)

    last = kernel.pages[-1]
    assert '<progress max="3" value="3"' in last
    assert "a&lt;b&gt;" in last
    assert " 3/3 100% " in last
    assert "ok 1, failed 1, known 0, skipped 1" in last
    assert not re.search(r"<script|<style|<svg|\bid=", last)
    assert "" == terminal.getvalue()


def test_notebook_bar_of_a_broken_off_run_shows_where_it_stopped(kernel):
    """It is drawn once more at the end, wherever that is."""
    tally = Tally(4)

    drawn(Progress(tally, "title"), tally, ANSWERED)

    assert " 1/4 25% " in kernel.pages[-1]


# What it says while it goes.


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pages_of(kernel: Kernel, tally: Tally, clock: Clock) -> Progress:
    """Return a progress that draws at every update, in a notebook."""
    progress = Progress(tally, "title", clock=clock)
    progress._bar.mininterval = 0
    return progress


def test_rate_and_time_left_are_the_present_ones(kernel):
    """A thousand known rows at the start promise nothing about those that are asked."""
    clock, tally = Clock(), Tally(1_100)
    progress = pages_of(kernel, tally, clock)
    tally.count([ANSWERED] * 1_000)
    progress.update()

    for _ in range(60):
        clock.now += 1
        tally.count([ANSWERED])
        progress.update()

    assert "eta 00:40 1 rows/s ok 1,060" in kernel.pages[-1]
    progress.close()


def test_what_is_waited_for_is_shown_with_the_time_it_takes(kernel):
    """And counts down each time it is drawn; where nobody knows how long, the reason is shown alone."""
    clock, tally = Clock(), Tally(10)
    progress = pages_of(kernel, tally, clock)
    clock.now += 0.001

    shown = []
    for waiting, until in (
        ("rate limit: waiting", 1_011.2),
        ("rate limit: waiting", 1_002.001),
        ("provider is down: next try in", 1_240.001),
        ("others are asking the same", None),
        ("rate limit: waiting", 999.0),
        (None, None),
    ):
        tally.waiting, tally.waiting_until = waiting, until
        progress.update()
        shown.append(kernel.pages[-1].partition(" rows/s ")[2].partition("ok 0")[0])
    progress.close()

    assert [
        "rate limit: waiting 12 s, ",
        "rate limit: waiting 2 s, ",
        "provider is down: next try in 4 min, ",
        "others are asking the same, ",
        "rate limit: waiting, ",
        "",
    ] == shown


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.1, "1 s"), (99, "99 s"), (100, "2 min"), (5_940, "99 min"), (6_000, "1.7 h")]
)
def test_wait_is_one_number(seconds, said):
    """Rounded up, in the unit that leaves two digits."""
    assert said == _span(seconds)


def test_bar_that_is_closed_waits_for_nothing(kernel):
    """What is saved in the file says how it ended: no wait, no time left, the rate of the whole run."""
    clock, tally = Clock(), Tally(4)
    progress = pages_of(kernel, tally, clock)
    tally.waiting, tally.waiting_until = "provider is <b>down</b>", None
    tally.count([ANSWERED])
    progress.update()
    assert "provider is &lt;b&gt;down&lt;/b&gt;" in kernel.pages[-1]

    progress.close()

    assert "eta" not in kernel.pages[-1]
    assert "provider" not in kernel.pages[-1]
    assert kernel.pages[-1].endswith(" rows/s ok 1, failed 0, known 0</div>")


def test_terminal_says_what_is_waited_for(monkeypatch):
    """As the notebook does, before the counts; the last line does not."""
    terminal = terminal_of(monkeypatch)
    tally = Tally(2)
    tally.waiting = "rate limit: waiting"
    progress = Progress(tally, "title")
    progress._bar.mininterval = 0

    drawn(progress, tally, ANSWERED, ANSWERED)

    lines = re.split("[\r\n]", terminal.getvalue().strip())
    assert [] != [line for line in lines if "row/s, rate limit: waiting, ok 1, failed 0, known 0]" in line]
    assert lines[-1].rstrip().endswith("ok 2, failed 0, known 0]")


def test_bar_is_drawn_while_nothing_happens(kernel, monkeypatch):
    """Waits are seen to end; once the bar is closed nothing is drawn over its last state."""
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.001)
    clock, tally = Clock(), Tally(4)
    tally.waiting, tally.waiting_until = "rate limit: waiting", 1_009.0
    progress = pages_of(kernel, tally, clock)
    progress.update()

    clock.now += 5
    ends = time.monotonic() + 20
    while "waiting 4 s" not in kernel.pages[-1]:
        assert time.monotonic() < ends, kernel.pages[-1]
        time.sleep(0.001)
    progress.close()

    last = kernel.pages[-1]
    for thread in threading.enumerate():
        if thread.name == "dfllm-progress":
            thread.join(20)
    assert last is kernel.pages[-1]
    assert "waiting" not in last


def test_progress_that_was_never_updated_starts_no_thread(kernel):
    """A call that is refused before it begins leaves nothing behind."""
    Progress(Tally(4), "title")

    assert [] == [thread for thread in threading.enumerate() if thread.name == "dfllm-progress"]


def test_bar_is_not_drawn_for_every_row(kernel):
    """Ten times a second is as fast as anybody looks."""
    tally = Tally(1_000)
    progress = Progress(tally, "title")

    for _ in range(1_000):
        tally.count([ANSWERED])
        progress.update()
    progress.close()

    assert len(kernel.pages) < 100
    assert " 1,000/1,000 100% " in kernel.pages[-1]


def test_speed_forgets_what_is_long_ago():
    """Ten rows a second for a minute, then nothing: half a minute later that is what it says."""
    speed = Speed(0.0)
    assert None is speed.now(0.0, 5)

    found = [speed.now(float(now), min(now, 60) * 10) for now in range(1, 92)]

    assert [10.0] * 60 == [round(one, 6) for one in found[:60]]
    assert 5.0 == round(found[69], 6)
    assert 0.0 == found[90]


def test_log_says_what_is_waited_for(caplog):
    """A service has no bar to look at."""
    caplog.set_level(logging.INFO, "dfllm")
    clock, tally = Clock(), Tally(3)
    progress = Progress(tally, "title", shown=False, clock=clock)
    tally.waiting, tally.waiting_until = "provider is down: next try in", 1_300.0

    clock.now += 31
    progress.update()

    assert ["run.progress 0/3 provider is down: next try in 5 min, ok 0, failed 0, known 0, 0 rows/s"] == [
        line.getMessage() for line in caplog.records
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_draws_though_its_parent_was_drawing():
    """A fork copies a lock that is held, and not the thread that would let go of it."""
    with _Bar.get_lock():
        child = os.fork()
        if child == 0:
            thread = threading.Thread(target=lambda: _Bar.get_lock().acquire(timeout=5) and os._exit(7))
            thread.start()
            thread.join()
            os._exit(1)
        _, status = os.waitpid(child, 0)

    assert 7 == os.waitstatus_to_exitcode(status)


def test_plain_ipython_is_no_notebook(monkeypatch):
    """IPython in a terminal has no kernel, and gets the terminal's bar."""
    terminal = terminal_of(monkeypatch)
    shell = ModuleType("IPython")
    shell.get_ipython = lambda: SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    tally = Tally(1)

    drawn(Progress(tally, "title"), tally, ANSWERED)

    assert "100%" in terminal.getvalue()


def test_log_has_a_line_every_half_minute(caplog):
    """Where no bar is drawn, the log tells how far the run is, and no more often than that."""
    caplog.set_level(logging.INFO, "dfllm")
    now = 100.0
    tally = Tally(3)
    progress = Progress(tally, "title", shown=False, clock=lambda: now)

    for now in (110.0, 131.0, 140.0, 162.0):  # noqa: B007  # the clock reads it
        tally.count([ANSWERED] if tally.done < 3 else [])
        progress.update()

    assert [
        ("run.progress 2/3 ok 2, failed 0, known 0, 0.065 rows/s, eta 00:15", 2, 3),
        ("run.progress 3/3 ok 3, failed 0, known 0, 0.032 rows/s", 3, 3),
    ] == [(line.getMessage(), line.done, line.rows) for line in caplog.records]


@pytest.mark.parametrize("fails", ["display", "update"])
def test_bar_that_breaks_is_logged_once_and_let_go(kernel, caplog, fails):
    """A front end that has gone is no reason to stop paying work."""
    kernel.fails = fails
    tally = Tally(3)

    drawn(Progress(tally, "title"), tally, ANSWERED, ANSWERED, ANSWERED)

    assert ["progress.failed"] == [line.getMessage() for line in caplog.records]


@pytest.mark.parametrize("where", ["notebook", "terminal"])
def test_bar_that_breaks_leaves_no_lock_behind(monkeypatch, where):
    """Another thread's bar, of ours or of anybody's, is drawn as if nothing had been."""
    if where == "notebook":
        Kernel(monkeypatch).fails = "update"
    else:
        terminal = terminal_of(monkeypatch)
        monkeypatch.setattr(terminal, "write", lambda text: 1 / 0)
    tally = Tally(1)
    drawn(Progress(tally, "title"), tally, ANSWERED)

    free = []

    def look() -> None:
        for lock in (tqdm.get_lock().locks[-1], _Bar.get_lock()):
            free.append(lock.acquire(timeout=5))
            lock.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert [True, True] == free


def test_bar_that_breaks_at_the_end_is_logged(kernel, caplog):
    """The last stroke may fail like any other."""
    tally = Tally(1)
    progress = Progress(tally, "title")
    kernel.fails = "update"

    progress.close()

    assert {"progress.failed"} == {line.getMessage() for line in caplog.records}


@pytest.mark.parametrize("stream", [None, "closed"])
def test_program_without_stderr_has_no_bar(monkeypatch, stream):
    """Services run without one, or have closed it."""
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if stream else None)
    tally = Tally(1)

    drawn(Progress(tally, "title"), tally, ANSWERED)

    assert 1 == tally.done


def test_call_draws_in_a_notebook(kernel, simulator):
    """From the accessor to the page, the last of which is full."""
    simulator()

    FRAME.llm.complete("{{ review }}", model=ECHO)

    assert " 3/3 100% " in kernel.pages[-1]
    assert "simulator/echo" in kernel.pages[-1]


@pytest.mark.parametrize("fails", ["display", "update"])
def test_call_is_not_hurt_by_its_bar(kernel, simulator, fails):
    """Every row has its answer, and nothing was paid for nothing."""
    bill = simulator().bill
    kernel.fails = fails

    made = FRAME.llm.complete("{{ review }}", model=ECHO)

    assert ["a", "b"] == made["completion"].tolist()[:2]
    assert 2 == bill.requests


def test_call_says_nothing_to_a_pipe(capfd, simulator):
    """Neither on stdout nor on stderr."""
    simulator()

    FRAME.llm.complete("{{ review }}", model=ECHO)

    assert ("", "") == capfd.readouterr()
