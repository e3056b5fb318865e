"""Rows as they finish: each of them once, known ones first, and a loop that is left early stops the run."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import pandas as pd
import pytest

import dfllm
from dfllm import Completion
from dfllm.simulator import Bill, Faults, Simulator

ECHO = "simulator/echo"
PROMPT = "<{{ review }}>"
REVIEWS = pd.DataFrame({"review": ["good", None, "bad", "good"]}, index=["a", "a", "b", ("c", 1)])
MANY = pd.DataFrame({"review": list(map(str, range(60)))})
FEW = dfllm.Limits(concurrency=4)


@pytest.fixture
def bill(simulator: Callable[..., Simulator]) -> Bill:
    """Start a simulator and return its bill."""
    return simulator().bill


@pytest.fixture
def slow(simulator: Callable[..., Simulator]) -> Bill:
    """Start a simulator that takes its time and return its bill."""
    return simulator(latency_seconds=0.05).bill


def until(claim: Callable[[], object]) -> None:
    """Wait for something to become true."""
    ends = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < ends
        time.sleep(0.002)


def gathered(frame: pd.DataFrame, **options: Any) -> list[Completion]:
    """Return what the async iterator gives."""

    async def main() -> list[Completion]:
        return [one async for one in frame.llm.aiter_completions(PROMPT, model=ECHO, **options)]

    return asyncio.run(main())


def listed(frame: pd.DataFrame, **options: Any) -> list[Completion]:
    """Return what the iterator gives."""
    return list(frame.llm.iter_completions(PROMPT, model=ECHO, **options))


BOTH = pytest.mark.parametrize("rows_of", [listed, gathered])


@BOTH
def test_each_row_comes_once_with_its_label(bill, rows_of):
    """Position, label, value and error; a skipped row comes, too."""
    rows = sorted(rows_of(REVIEWS))

    assert [
        Completion(0, "a", "<good>", None, None),
        Completion(1, "a", None, "Skipped: column 'review' is missing", None),
        Completion(2, "b", "<bad>", None, None),
        Completion(3, ("c", 1), "<good>", None, None),
    ] == rows
    assert 2 == bill.requests


@BOTH
def test_known_rows_come_first(bill, rows_of):
    """What is in the store waits for nobody."""
    MANY.iloc[40:50].llm.complete(PROMPT, model=ECHO)

    rows = rows_of(MANY)

    assert list(range(40, 50)) == sorted(row.position for row in rows[:10])
    assert list(range(60)) == sorted(row.position for row in rows)


@BOTH
def test_rows_come_while_others_are_asked(simulator, rows_of):
    """The first row is here long before the last one is answered."""
    simulator(faults=Faults(by_text={"59": "drip"}, stall_seconds=0.5))

    rows = rows_of(MANY)

    assert 59 == rows[-1].position


def test_first_row_is_here_before_the_last_is_asked(slow):
    """The iterator hands on what has ended at once."""
    with closing(MANY.llm.iter_completions(PROMPT, model=ECHO, limits=dfllm.Limits(concurrency=1))) as rows:
        first = next(rows)
        seen = slow.requests

    assert "<0>" == first.value
    assert seen < 60


@BOTH
def test_details_come_along_on_demand(bill, rows_of):
    """As in the frame's columns, under the same names."""
    rows = {row.position: row.details for row in rows_of(REVIEWS, details=True)}
    frame = REVIEWS.llm.complete(PROMPT, model=ECHO, details=True)

    expected = {**rows[0], "source": "store"}
    assert ["key", "model", "source", "tokens_in", "tokens_out", "cost", "seconds", "finish"] == list(rows[0])
    for name, value in expected.items():
        found = frame[f"completion_{name}"].iloc[0]
        assert (value is None) == pd.isna(found)
        assert value is None or value == found
    assert {None} == set(rows[1].values())


@BOTH
def test_fields_come_as_a_mapping(bill, rows_of):
    """With a schema of fields the value has a name for each; a row that failed has no value."""
    frame = pd.DataFrame({"review": ['"} {"n": 1, "x": null}', "prose"]})

    with pytest.warns(dfllm.RowsFailedWarning, match="InvalidOutput 1"):
        rows = sorted(rows_of(frame, schema={"n": int, "x": float | None}))

    assert [{"n": 1, "x": None}, None] == [row.value for row in rows]
    assert "InvalidOutput: not JSON (paid)" == rows[1].error


@BOTH
def test_lone_surrogates_become_replacement_characters(simulator, rows_of):
    """A value can be written to any file, as those of a frame can."""
    simulator(faults=Faults(by_text={"odd": "surrogate"}))

    rows = rows_of(pd.DataFrame({"review": ["odd"]}))

    assert ["<odd> \ufffd"] == [row.value for row in rows]


@BOTH
def test_frame_without_rows_gives_none(bill, rows_of):
    """The loop ends before it begins."""
    assert [] == rows_of(MANY.head(0))
    assert 0 == bill.requests


@BOTH
def test_run_is_remembered_at_the_end(bill, rows_of):
    """The report has the frame, as if the call had been `complete`."""
    rows_of(REVIEWS)

    run = dfllm.last_run()
    expected = REVIEWS.llm.complete(PROMPT, model=ECHO)
    assert ("finished", 3, 2) == (run.to_dict()["state"], run.to_dict()["ok"], run.to_dict()["sent"])
    pd.testing.assert_frame_equal(expected, run.frame)


@BOTH
def test_failed_rows_give_one_warning_at_the_end(simulator, rows_of):
    """Rows come with their errors; the counts come once."""
    simulator(faults=Faults(by_text={"good": "refusal"}))

    with pytest.warns(dfllm.RowsFailedWarning, match="^2 of 4 rows have no answer") as warned:
        rows = rows_of(REVIEWS)

    assert (1, 4) == (len(warned), len(rows))


@BOTH
def test_errors_can_be_raised_at_the_end(simulator, rows_of):
    """on_error="raise" raises once all rows have come."""
    simulator(faults=Faults(by_text={"good": "refusal"}))

    with pytest.raises(dfllm.RowsFailed) as caught:
        rows_of(REVIEWS, on_error="raise")

    assert "<bad>" == caught.value.frame["completion"].iloc[2]


@BOTH
def test_stopped_run_raises_what_stopped_it(simulator, rows_of):
    """A dead key is an exception here, too, after one call."""
    bill = simulator(faults=Faults(rates={"401": 1.0})).bill

    with pytest.raises(dfllm.AuthFailed):
        rows_of(REVIEWS)

    assert 1 == bill.requests
    assert "stopped" == dfllm.last_run().to_dict()["state"]


@BOTH
def test_template_that_fails_on_all_rows_is_an_exception(bill, rows_of):
    """It ends the loop at its first step; nothing is sent."""
    frame = pd.DataFrame({"review": [["a" * 2**20] * 9] * 2})

    with pytest.raises(dfllm.TemplateError, match="first 2 rows: over 8 MiB"):
        rows_of(frame)

    assert 0 == bill.requests


def test_call_is_checked_before_the_first_step(bill):
    """A wrong option raises where the iterator is made, not where it is used."""
    with pytest.raises(dfllm.TemplateError):
        REVIEWS.llm.iter_completions("{{ reviw }}", model=ECHO)
    with pytest.raises(dfllm.OptionError):
        REVIEWS.llm.aiter_completions(PROMPT, model=ECHO, cache="no")

    assert 0 == bill.requests


def test_nothing_is_sent_before_the_first_step(bill):
    """Making an iterator is free, and letting it go is."""
    rows = REVIEWS.llm.iter_completions(PROMPT, model=ECHO)
    arows = REVIEWS.llm.aiter_completions(PROMPT, model=ECHO)

    del rows, arows

    assert 0 == bill.requests


def check_stopped(bill: Bill) -> None:
    """Check a run that was left early, and carry it on to its end."""
    run = dfllm.last_run()
    facts = run.to_dict()
    assert ("interrupted", 60) == (facts["state"], facts["rows"])
    assert 0 < bill.requests < 60
    assert (0, bill.requests) == (bill.in_flight, facts["ok"])
    assert {"Cancelled: interrupted; run again to go on"} == set(run.frame["completion_error"].dropna())

    made = MANY.llm.complete(PROMPT, model=ECHO)

    assert [f"<{n}>" for n in range(60)] == made["completion"].tolist()
    assert 60 == bill.requests


def test_closed_iterator_stops_the_run(slow):
    """What is in flight arrives and is stored; the rest is never sent."""
    with closing(MANY.llm.iter_completions(PROMPT, model=ECHO, limits=FEW)) as rows:
        first = next(rows)

    assert f"<{first.position}>" == first.value
    check_stopped(slow)


def test_loop_that_is_left_stops_the_run(slow):
    """Nobody holds the iterator any more, so it closes itself."""
    for row in MANY.llm.iter_completions(PROMPT, model=ECHO, limits=FEW):
        if row.error is None:
            break

    gc.collect()
    check_stopped(slow)


def test_exception_in_the_loop_stops_the_run(slow):
    """The user's own exception is the one that is seen."""

    def work() -> None:
        with closing(MANY.llm.iter_completions(PROMPT, model=ECHO, limits=FEW)) as rows:
            for row in rows:
                raise LookupError(row.label)

    with pytest.raises(LookupError):
        work()

    check_stopped(slow)


@pytest.fixture
def listening() -> Iterator[None]:
    """Hear Ctrl-C, also where a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_interrupted_loop_stops_the_run(slow):
    """Ctrl-C while it waits for the next row."""

    def press() -> None:
        until(lambda: slow.in_flight >= 4)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()

    with pytest.raises(KeyboardInterrupt):
        for _ in MANY.llm.iter_completions(PROMPT, model=ECHO, limits=FEW):
            pass

    presser.join()
    check_stopped(slow)


def test_closed_async_iterator_stops_the_run(slow):
    """As `aclosing` does it, or the loop's own clearing up."""

    async def main() -> None:
        async with aclosing(MANY.llm.aiter_completions(PROMPT, model=ECHO, limits=FEW)) as rows:
            async for _ in rows:
                break

    asyncio.run(main())

    check_stopped(slow)


def test_async_loop_that_is_left_stops_the_run(slow):
    """The event loop closes what nobody holds."""

    async def main() -> None:
        async for _ in MANY.llm.aiter_completions(PROMPT, model=ECHO, limits=FEW):
            break

    asyncio.run(main())

    check_stopped(slow)


def test_cancelled_async_loop_stops_the_run(slow):
    """The task that goes through the rows is cancelled."""

    async def consume() -> None:
        async for _ in MANY.llm.aiter_completions(PROMPT, model=ECHO, limits=FEW):
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        await asyncio.to_thread(until, lambda: slow.in_flight >= 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    check_stopped(slow)


def test_async_loop_that_is_cancelled_twice_drops_what_is_in_flight(simulator):
    """The second cancellation does not wait for answers any more; they may have been billed, and it says so."""
    bill = simulator(faults=Faults(rates={"stall": 1.0}, stall_seconds=8.0)).bill

    async def consume() -> None:
        async for _ in REVIEWS.llm.aiter_completions(PROMPT, model=ECHO):
            pass

    async def main() -> float:
        task = asyncio.create_task(consume())
        await asyncio.to_thread(until, lambda: bill.in_flight == 1)
        started = time.monotonic()
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    assert asyncio.run(main()) < 5
    facts = dfllm.last_run().to_dict()
    assert ("interrupted", 1, {"Cancelled": 3}) == (facts["state"], facts["maybe_billed"], facts["errors"])


def test_iterator_works_inside_a_running_loop(bill):
    """As in a notebook's cell."""

    async def cell() -> list[Completion]:
        return listed(REVIEWS)

    assert 4 == len(asyncio.run(cell()))


def test_iterator_that_is_used_up_stays_so(bill):
    """It ends once, without another warning or run."""
    rows = REVIEWS.llm.iter_completions(PROMPT, model=ECHO)

    assert 4 == len(list(rows))
    assert [] == list(rows)
    rows.close()
    assert 2 == bill.requests
