"""Samples and repeats as a user meets them: lists in order, only missing ones asked, equal rows shared or varied."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfllm
from dfllm import simulator as simulators
from dfllm.simulator import Faults

PROMPT = "Where is {{ city }}?"
ECHO, MOODY = "simulator/echo", "simulator/moody"
CITIES = pd.DataFrame({"city": ["Oslo", "Lima", "Oslo", None]}, index=["a", "b", "b", "c"])
FEELING = "How is it in {{ city }}? Tell me of rain, sun, snow, wind and fog."


def test_each_cell_holds_a_list_of_samples(simulator):
    """As many as were asked for, each of them a request of its own; equal rows share them all."""
    bill = simulator().bill

    made = CITIES.llm.complete(PROMPT, model=ECHO, samples=3)

    assert [["Where is Oslo?"] * 3, ["Where is Lima?"] * 3, ["Where is Oslo?"] * 3, None] == made["completion"].tolist()
    assert ["Skipped: column 'city' is missing"] == made["completion_error"].dropna().tolist()
    assert (list(CITIES.index), 6) == (list(made.index), bill.requests)


def test_samples_may_be_a_number_of_numpy(simulator):
    """It is the same question as with a plain one."""
    simulator()

    made = CITIES.llm.complete(PROMPT, model=ECHO, samples=np.int64(2))

    assert [["Where is Oslo?"] * 2, ["Where is Lima?"] * 2, ["Where is Oslo?"] * 2, None] == made["completion"].tolist()


def test_samples_differ_where_the_model_does(simulator):
    """What a model says when it is asked again is another sample, and stands where it stood in every run."""
    bill = simulator().bill

    first = CITIES.llm.complete(FEELING, model=MOODY, samples=6)
    again = CITIES.llm.complete(FEELING, model=MOODY, samples=6)

    assert len(set(first["completion"].iloc[0])) > 1
    assert first["completion"].tolist() == again["completion"].tolist()
    assert 12 == bill.requests


@pytest.mark.parametrize("more", [4, 7])
def test_more_samples_ask_for_those_that_are_missing(simulator, more):
    """Those that are known come first, and a single answer is sample 0."""
    bill = simulator().bill
    one = CITIES.llm.complete(FEELING, model=MOODY)
    three = CITIES.llm.complete(FEELING, model=MOODY, samples=3)
    before = bill.requests

    made = CITIES.llm.complete(FEELING, model=MOODY, samples=more)

    assert 2 * (more - 3) == bill.requests - before
    assert three["completion"].iloc[:3].tolist() == [cell[:3] for cell in made["completion"].iloc[:3]]
    assert one["completion"].iloc[:3].tolist() == [cell[0] for cell in made["completion"].iloc[:3]]


def test_one_failed_sample_fails_the_row(simulator):
    """The error says how many of how many and why the first did; the others are kept and not asked again."""
    start = simulator(faults=Faults(by_text={"Lima": "refusal*2"}))

    with pytest.warns(dfllm.RowsFailedWarning, match=r"1 of 4 rows have no answer \(Refused 1\)"):
        made = CITIES.llm.complete(PROMPT, model=ECHO, samples=5, limits=dfllm.Limits(concurrency=1))

    error = made["completion_error"].iloc[1]
    assert made["completion"].iloc[1] is None
    assert error.startswith("2 of 5 samples failed: Refused: ")
    assert [("Refused", 1)] == [(kind, place) for kind, place in dfllm.last_run().failures[["type", "position"]].values]
    mended = CITIES.llm.complete(PROMPT, model=ECHO, samples=5, cache="retry")
    assert (["Where is Lima?"] * 5, 12) == (mended["completion"].iloc[1], start.bill.requests)


def test_fields_are_lists_too_and_go_through_parquet(simulator, tmp_path):
    """A list for each field, of plain values that Arrow holds as they are."""
    simulator()
    schema = {"stars": int, "share": float, "good": bool, "tone": ["calm", "angry"], "tags": list[str]}

    made = CITIES.llm.complete(PROMPT, model="simulator/small", schema=schema, samples=2, into="f")

    made.to_parquet(tmp_path / "made.parquet")
    read = pd.read_parquet(tmp_path / "made.parquet")
    kinds = {name: {type(value) for value in made[f"f_{name}"].iloc[0]} for name in schema}
    assert {"stars": {int}, "share": {float}, "good": {bool}, "tone": {str}, "tags": {str}} == kinds
    assert {"object"} == {str(made[f"f_{name}"].dtype) for name in schema}
    assert made["f_stars"].iloc[:3].tolist() == [list(cell) for cell in read["f_stars"].iloc[:3]]


def test_details_are_sums_over_the_samples(simulator):
    """Tokens and cost of all, and the key of the first, which is that of the single answer."""
    simulator()
    dfllm.configure(prices={ECHO: {"input": 1.0, "output": 1.0}})
    one = CITIES.llm.complete(PROMPT, model=ECHO, details=True).iloc[0]

    made = CITIES.llm.complete(PROMPT, model=ECHO, samples=4, details=True).iloc[0]

    assert 4 * one["completion_tokens_in"] == made["completion_tokens_in"]
    assert 4 * one["completion_tokens_out"] == made["completion_tokens_out"]
    assert 4 * one["completion_cost"] == pytest.approx(made["completion_cost"])
    assert one["completion_key"] == made["completion_key"]
    assert "live" == made["completion_source"]


def test_rows_are_counted_as_rows(simulator):
    """The report counts rows of the frame, and what was sent."""
    simulator()

    CITIES.llm.complete(PROMPT, model=ECHO, samples=3)
    first = dfllm.last_run().to_dict()
    CITIES.llm.complete(PROMPT, model=ECHO, samples=3)
    again = dfllm.last_run().to_dict()

    assert (4, 3, 1, 0, 6) == tuple(first[what] for what in ("rows", "ok", "skipped", "known", "sent"))
    assert (4, 3, 1, 3, 0) == tuple(again[what] for what in ("rows", "ok", "skipped", "known", "sent"))
    assert [4, 4] == dfllm.runs()["rows"].tolist()


def test_a_plan_counts_every_sample(simulator):
    """Questions are samples, rows are rows."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO, samples=2)
    before = bill.requests

    plan = CITIES.llm.plan(PROMPT, model=ECHO, samples=5)

    assert (4, 10, 4, 6, 1) == (plan.rows, plan.distinct, plan.known, plan.missing, plan.skipped)
    assert [["Where is Oslo?"], ["Where is Lima?"]] == [[one.content for one in each] for each in plan.previews[:2]]
    plan.run()
    assert 6 == bill.requests - before


def test_iterators_yield_lists(simulator):
    """A row comes once, when all of its samples are there; its async twin does the same."""
    simulator()

    async def listed():
        return [one async for one in CITIES.llm.aiter_completions(PROMPT, model=ECHO, samples=2)]

    rows = sorted(CITIES.llm.iter_completions(PROMPT, model=ECHO, samples=2))

    assert [0, 1, 2, 3] == [one.position for one in rows]
    assert [["Where is Oslo?"] * 2, ["Where is Lima?"] * 2, ["Where is Oslo?"] * 2, None] == [one.value for one in rows]
    assert rows == sorted(asyncio.run(listed()))


@pytest.mark.parametrize("cache", ["off", "refresh", "only", "retry"])
def test_every_cache_mode_takes_samples(simulator, cache):
    """What is asked, asked again or left is every sample."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO, samples=2)

    made = CITIES.llm.complete(PROMPT, model=ECHO, samples=2, cache=cache)

    assert ["Where is Lima?"] * 2 == made["completion"].iloc[1]
    assert {"off": 8, "refresh": 8, "only": 4, "retry": 4}[cache] == bill.requests


def test_only_says_how_many_are_missing(simulator):
    """With cache="only" a row with two of three samples has no answer."""
    simulator()
    CITIES.llm.complete(PROMPT, model=ECHO, samples=2)

    with pytest.warns(dfllm.RowsFailedWarning):
        made = CITIES.llm.complete(PROMPT, model=ECHO, samples=3, cache="only")

    assert made["completion_error"].iloc[0].startswith("1 of 3 samples failed: NotSent: not in the store")


@pytest.mark.parametrize("samples", [0, 129, 1.5, True, "3", None])
def test_samples_that_are_no_count_are_refused(simulator, samples):
    """Before anything is sent."""
    bill = simulator().bill

    with pytest.raises(dfllm.OptionError, match=r"samples=.* does not fit; it takes a whole number from 1 to 128"):
        CITIES.llm.complete(PROMPT, model=ECHO, samples=samples)

    assert 0 == bill.requests


def test_repeats_are_share_or_vary():
    """Another word is refused."""
    with pytest.raises(dfllm.OptionError, match=r"repeats='mix' does not fit; it takes 'share', 'vary'"):
        CITIES.llm.complete(PROMPT, model=ECHO, repeats="mix")


def test_equal_samples_are_warned_of_once(simulator):
    """A seed or a temperature of 0 goes with every sample; nothing is changed about it."""
    simulator()

    with pytest.warns(dfllm.SamplesWarning, match=r"seed=7 and temperature=0 goes with every sample") as told:
        CITIES.llm.complete(PROMPT, model=ECHO, samples=2, seed=7, temperature=0)

    assert [__file__] == [warning.filename for warning in told]


# Repeats.


def test_equal_rows_vary_where_that_is_asked(simulator):
    """The i-th of equal rows gets sample i, and other rows have no part in it."""
    bill = simulator().bill
    many = pd.DataFrame({"city": ["Oslo"] * 4})

    listed = many.head(1).llm.complete(FEELING, model=MOODY, samples=4)["completion"].iloc[0]
    made = many.llm.complete(FEELING, model=MOODY, repeats="vary")
    mixed = pd.DataFrame({"city": ["Lima", "Oslo", "Rome", "Oslo"]}).llm.complete(FEELING, model=MOODY, repeats="vary")

    assert listed == made["completion"].tolist()
    assert listed[:2] == mixed["completion"].iloc[[1, 3]].tolist()
    assert 4 + 2 == bill.requests


def test_repeats_and_samples_go_together(simulator):
    """The i-th equal row gets samples i*n to i*n+n-1."""
    bill = simulator().bill
    twice = pd.DataFrame({"city": ["Oslo", "Oslo"]})

    made = twice.llm.complete(FEELING, model=MOODY, samples=3, repeats="vary")
    six = twice.head(1).llm.complete(FEELING, model=MOODY, samples=6)

    assert six["completion"].iloc[0] == [*made["completion"].iloc[0], *made["completion"].iloc[1]]
    assert 6 == bill.requests


@given(
    cities=st.lists(st.sampled_from(["Oslo", "Lima", "Rome", None]), min_size=1, max_size=12),
    samples=st.integers(1, 3),
    repeats=st.sampled_from(["share", "vary"]),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_gets_its_own(cities, samples, repeats, tmp_path_factory, monkeypatch):
    """Whatever rows are equal or missing: each has its own city in it, and each sample is asked once."""
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path_factory.mktemp("samples") / "a.db"))
    with simulators.Simulator() as started:
        monkeypatch.setenv("DFLLM_SIMULATOR_URL", started.base_url)
        frame = pd.DataFrame({"city": pd.Series(cities, dtype=object)})

        made = [frame.llm.complete(PROMPT, model=ECHO, samples=samples, repeats=repeats) for _ in range(2)]

        whole = [None if city is None else [f"Where is {city}?"] * samples for city in cities]
        expected = whole if samples > 1 else [None if cell is None else cell[0] for cell in whole]
        asked = [city for city in cities if city is not None]
        assert [expected] * 2 == [
            [None if cell is None or cell != cell else cell for cell in one["completion"].tolist()] for one in made
        ]
        assert samples * len(set(asked) if repeats == "share" else asked) == started.bill.requests


_CHILD = """
import pandas as pd, dfllm
frame = pd.DataFrame({"city": [f"city {n % 30}" for n in range(60)]})
for one in frame.llm.iter_completions("Where is {{ city }}?", model="simulator/echo", samples=3, repeats="vary",
                                      limits=dfllm.Limits(concurrency=4)):
    print("row", flush=True)
"""


def test_a_kill_pays_nothing_twice(simulator):
    """Killed while samples come in, the same call asks for those that are not on disk, and for no other."""
    bill = simulator(latency_seconds=0.01).bill
    child = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE, env=os.environ)
    for _ in range(10):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    ends = time.monotonic() + 30
    while bill.in_flight:
        assert time.monotonic() < ends
    kept, before = dfllm.store().stats().entries, bill.requests
    frame = pd.DataFrame({"city": [f"city {n % 30}" for n in range(60)]})

    made = frame.llm.complete(PROMPT, model=ECHO, samples=3, repeats="vary")

    assert 30 <= kept < 180
    assert 180 - kept == bill.requests - before
    assert [[f"Where is city {n % 30}?"] * 3 for n in range(60)] == made["completion"].tolist()
