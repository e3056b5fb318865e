"""Several models as a user meets them: columns side by side, one run, agreement; and fallbacks for rows that failed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfllm
from dfllm._run import settings as run_settings
from dfllm.simulator import Faults, Simulator

PROMPT = "Where is {{ city }}?"
ECHO = "simulator/echo"
CITIES = pd.DataFrame({"city": ["Oslo", "Lima", "Oslo", None]}, index=["a", "b", "b", "c"])
ANSWERS = ["Where is Oslo?", "Where is Lima?", "Where is Oslo?"]
BOTH = {"one": "left/echo", "two": "right/echo"}
BACKED = {"model": "left/echo", "fallback": ["right/echo"]}
FEW = dfllm.Limits(concurrency=2)


@pytest.fixture
def sides():
    """Return a function that starts two simulators, the providers left and right, each with faults of its own."""
    with ExitStack() as stack:

        def start(left=None, right=None, **options):
            started = []
            for name, faults in (("left", left), ("right", right)):
                given = Faults(by_text=faults or {})
                started.append(stack.enter_context(Simulator(faults=given, **options)))
                dfllm.register_provider(name, base_url=started[-1].base_url)
            return [one.bill for one in started]

        yield start


def answers(frame, column="completion"):
    """Return a column's cells, None where one is missing."""
    return [None if pd.isna(cell) else cell for cell in frame[column]]


def kinds(frame, column="completion_error"):
    """Return each row's type of error."""
    return [None if pd.isna(error) else error.partition(":")[0] for error in frame[column]]


# Side by side.


def test_each_model_has_its_columns(sides):
    """A result and an error for each, in the order they are named; rows, index and other columns stay."""
    bills = sides(right={"Lima": "refusal"})

    with pytest.warns(dfllm.RowsFailedWarning) as told:
        made = CITIES.llm.complete(PROMPT, model=BOTH)

    names = ["completion_one", "completion_one_error", "completion_two", "completion_two_error"]
    assert ["city", *names] == list(made.columns)
    assert [[*ANSWERS, None], [ANSWERS[0], None, ANSWERS[2], None]] == [
        answers(made, "completion_one"),
        answers(made, "completion_two"),
    ]
    assert [None, "Refused", None, "Skipped"] == kinds(made, "completion_two_error")
    assert (list(CITIES.index), [2, 2]) == (list(made.index), [bill.requests for bill in bills])
    said = "1 of 8 answers are missing (Refused 1); see 'completion_two_error'."
    assert [(said, __file__)] == [(str(one.message), one.filename) for one in told]


def test_a_list_names_its_models_itself(simulator):
    """The model's own name, as a column can hold it; with a schema a column for each field."""
    simulator()

    made = CITIES.llm.complete(
        PROMPT, model=["simulator/small", "simulator/large"], schema={"n": int, "ok": bool}, into="x"
    )

    assert ["x_small_n", "x_small_ok", "x_small_error", "x_large_n", "x_large_ok", "x_large_error"] == list(made)[1:]


def test_several_models_are_one_run(sides):
    """One record in the ledger, counts that are sums, and a part for each; again, nothing is sent."""
    bills = sides()

    CITIES.llm.complete(PROMPT, model=BOTH, tag="both")
    run, line = dfllm.last_run().to_dict(), repr(dfllm.last_run())
    CITIES.llm.complete(PROMPT, model=BOTH, tag="both")
    again = dfllm.last_run().to_dict()

    assert (8, 6, 2, 4, 4) == tuple(run[what] for what in ("rows", "ok", "skipped", "sent", "requests"))
    assert {"left/echo": 3, "right/echo": 3} == {name: own["ok"] for name, own in run["models"].items()}
    assert "Run(left/echo, right/echo, finished: 8 rows: 6 ok" in line
    assert "left/echo 3 ok, right/echo 3 ok" in line
    assert (6, 0) == (again["known"], again["sent"])
    assert [2, 2] == [bill.requests for bill in bills]
    books = dfllm.runs()
    assert [("left/echo, right/echo", "both", "finished", 8, 6)] * 2 == [
        tuple(row) for row in books[["model", "tag", "status", "rows", "ok"]].itertuples(index=False)
    ]


def test_models_answer_side_by_side(sides):
    """Neither waits for the other: all of both takes about as long as all of one."""
    left, right = sides(latency_seconds=0.1)
    frame = pd.DataFrame({"city": range(8)})
    seen = []

    for one in frame.llm.iter_completions(PROMPT, model=BOTH, limits=dfllm.Limits(concurrency=1)):
        seen.append(one.model)

    assert {"one", "two"} == set(seen[:4])
    assert (8, 8) == (left.requests, right.requests)


def test_iterators_say_whose_an_answer_is(sides):
    """Each row comes once for each model, under its alias."""
    sides()

    async def listed():
        return [one async for one in CITIES.llm.aiter_completions(PROMPT, model=BOTH)]

    rows = list(CITIES.llm.iter_completions(PROMPT, model=BOTH))

    assert sorted((position, name) for position in range(4) for name in BOTH) == sorted(
        (one.position, one.model) for one in rows
    )
    assert {(one.position, one.model, one.value) for one in rows} == {
        (one.position, one.model, one.value) for one in asyncio.run(listed())
    }
    assert dfllm.last_run().frame["completion_two"].tolist()[:3] == ANSWERS


def test_every_model_is_checked_before_any_is_asked(sides, monkeypatch):
    """A missing key, an unknown provider or a price that a budget needs: nothing is sent to the others."""
    bills = sides()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    dfllm.configure(prices={"left/echo": {"input": 1.0, "output": 1.0}})

    with pytest.raises(dfllm.KeyMissing, match="OPENAI_API_KEY"):
        CITIES.llm.complete(PROMPT, model=["left/echo", "openai/gpt-mini"])
    with pytest.raises(dfllm.ProviderUnknown, match="lift"):
        CITIES.llm.complete(PROMPT, model=["left/echo", "lift/echo"])
    with pytest.raises(dfllm.OptionError, match="the price of right/echo is unknown"):
        CITIES.llm.complete(PROMPT, model=BOTH, budget=1.0, max_tokens=5)
    with pytest.raises(dfllm.OptionError, match="the price of right/echo is unknown"):
        CITIES.llm.complete(PROMPT, **BACKED, budget=1.0, max_tokens=5)

    assert [0, 0] == [bill.requests for bill in bills]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": []}, "model= takes 1 to 20 models; found 0"),
        ({"model": ["left/echo", 3]}, "model= names models as 'provider/model'; found 3"),
        ({"model": b"left/echo"}, "model=b'left/echo' does not fit"),
        ({"model": 3}, "model=3 does not fit; it takes 'provider/model', a list or a mapping of them"),
        ({"model": {"": "left/echo"}}, "an alias is text; found ''"),
        ({"model": {"one": "left/echo", "two": "left:echo"}}, "left/echo is named twice"),
        (
            {"model": {"a": "left/echo", "a_error": "right/echo"}},
            "Two models would make the column 'completion_a_error'",
        ),
        ({"model": BOTH, "into": 3}, "into takes a column's name; found 3"),
        ({"model": BOTH, "fallback": ["simulator/echo"]}, "fallback= goes with one model"),
        ({"model": "left/echo", "fallback": ["left/echo"]}, "left/echo is named twice"),
        ({"model": "left/echo", "fallback": [None]}, "fallback= names models as 'provider/model'; found None"),
        ({"model": "left/echo", "fallback": 3}, "fallback= takes a list of 'provider/model'"),
    ],
)
def test_models_that_do_not_fit_are_refused(sides, options, said):
    """Before anything is sent, saying what was found."""
    bills = sides()

    with pytest.raises(dfllm.OptionError) as told:
        CITIES.llm.complete(PROMPT, **options)

    assert said in str(told.value)
    assert [0, 0] == [bill.requests for bill in bills]


def test_a_column_in_the_way_is_refused(sides):
    """Also one that the template reads."""
    sides()

    with pytest.raises(dfllm.OptionError, match="already has 'completion_two'"):
        CITIES.assign(completion_two="mine").llm.complete(PROMPT, model=BOTH)
    with pytest.raises(dfllm.OptionError, match="The template reads 'x_one'"):
        CITIES.assign(x_one="mine").llm.complete("{{ x_one }}", model=BOTH, into="x")


def test_one_dead_model_does_not_stop_the_other(sides):
    """What one model refuses for good is its own trouble, and is told beside the other's answers."""
    sides(right={"Where": "401"})

    with pytest.warns(dfllm.RowsFailedWarning, match="right/echo was stopped early: AuthFailed") as told:
        made = CITIES.llm.complete(PROMPT, model=BOTH)

    assert [*ANSWERS, None] == answers(made, "completion_one")
    assert {"AuthFailed", "NotSent", "Skipped"} >= set(kinds(made, "completion_two_error"))
    assert 1 == len(told)


@pytest.mark.parametrize("models", [BOTH, dict(reversed(BOTH.items()))], ids=["last", "first"])
def test_one_dead_model_does_not_hide_what_is_known_of_the_other(sides, models):
    """The same call again, which sends nothing to the model that answered, has the same frame."""
    sides(right={"Where": "401"})
    with pytest.warns(dfllm.RowsFailedWarning):
        first = CITIES.llm.complete(PROMPT, model=models)

    with pytest.warns(dfllm.RowsFailedWarning, match="right/echo was stopped early: AuthFailed"):
        again = CITIES.llm.complete(PROMPT, model=models)

    assert [*ANSWERS, None] == answers(first, "completion_one") == answers(again, "completion_one")
    assert [None] * 4 == answers(again, "completion_two")


def test_all_dead_models_raise(sides):
    """As one would; the frame is with the exception."""
    sides(left={"Where": "401"}, right={"Where": "404"})

    with pytest.raises(dfllm.AuthFailed, match="left/echo: AuthFailed") as told:
        CITIES.llm.complete(PROMPT, model=BOTH)

    assert "completion_two_error" in told.value.frame


@pytest.mark.parametrize("options", [{"model": BOTH}, BACKED], ids=["several", "backed"])
@pytest.mark.parametrize("on_error", ["raise", "stop"])
def test_failed_rows_raise_where_that_is_asked(sides, options, on_error):
    """After the run, or at the first failed row of any model."""
    bills = sides(left={"city 0": "refusal"}, right={"city 0": "refusal"}, latency_seconds=0.01)
    frame = pd.DataFrame({"city": [f"city {n}" for n in range(40)]})

    with pytest.raises(dfllm.RowsFailed) as told:
        frame.llm.complete(PROMPT, **options, on_error=on_error, limits=FEW)

    errors = [column for column in told.value.frame if column.endswith("_error")]
    failed = {kind for column in errors for kind in kinds(told.value.frame, column)}
    assert {"raise": {None, "Refused"}, "stop": {None, "Refused", "NotSent"}}[on_error] >= failed
    assert "Refused" in failed
    if on_error == "stop" and "fallback" not in options:
        assert sum(bill.requests for bill in bills) < 80


def test_one_budget_is_for_the_whole_call(sides):
    """What all models together cost stays below it."""
    sides()
    dfllm.configure(prices={name: {"input": 1.0, "output": 4.0} for name in BOTH.values()})
    frame = pd.DataFrame({"city": range(40)})

    with pytest.warns(dfllm.RowsFailedWarning, match="BudgetExceeded"):
        frame.llm.complete(PROMPT, model=BOTH, max_tokens=10, budget=0.0004)

    run = dfllm.last_run().to_dict()
    assert 0 < run["ok"] < 80
    assert 0 < run["cost_usd"] <= 0.0004
    assert run["cost_usd"] == pytest.approx(float(dfllm.runs()["cost_usd"].iloc[0]))


def test_a_plan_has_a_part_for_each_model(sides):
    """Questions and costs are sums, and stand apart for each model, as text and as a page."""
    bills = sides()
    dfllm.configure(prices={name: {"input": 1.0, "output": 4.0} for name in BOTH.values()})
    CITIES.llm.complete(PROMPT, model="left/echo", max_tokens=10)

    plan = CITIES.llm.plan(PROMPT, model=BOTH, max_tokens=10)

    assert (4, 4, 2, 2) == (plan.rows, plan.distinct, plan.known, plan.missing)
    assert [("left/echo", 0), ("right/echo", 2)] == [(one.model, one.missing) for one in plan.models]
    assert plan.models[1].cost == plan.cost
    assert any(line.split()[:3] == ["right/echo", "0", "2"] for line in str(plan).splitlines())
    assert "right/echo</td>" in plan._repr_html_()
    plan.run()
    assert [2, 2] == [bill.requests for bill in bills]


def test_an_interrupt_ends_all_models(sides):
    """What has arrived is saved for both, and the same call goes on."""
    bills = sides(latency_seconds=0.01)
    frame = pd.DataFrame({"city": range(60)})
    rows = frame.llm.iter_completions(PROMPT, model=BOTH, limits=FEW)
    for _ in range(10):
        next(rows)
    rows.close()
    kept = dfllm.store().stats().entries

    made = frame.llm.complete(PROMPT, model=BOTH)

    assert "interrupted" == dfllm.runs()["status"].iloc[1]
    assert 10 <= kept < 120
    assert (120, 120) == (dfllm.store().stats().entries, sum(bill.requests for bill in bills))
    assert [None] == made["completion_two_error"].unique().tolist() or made["completion_two_error"].isna().all()


def test_refresh_and_off_are_for_several_models_too(sides):
    """Each mode does for all what it does for one."""
    bills = sides()
    CITIES.llm.complete(PROMPT, model=BOTH)

    CITIES.llm.complete(PROMPT, model=BOTH, cache="refresh")
    made = CITIES.llm.complete(PROMPT, model=BOTH, cache="off")

    assert [6, 6] == [bill.requests for bill in bills]
    assert [*ANSWERS, None] == answers(made, "completion_two")


# Agreement.


def test_agreement_is_counted_over_rows_that_both_answered(simulator):
    """Share, count and kappa for each pair; the diagonal of nobody."""
    simulator(faults=Faults(by_text={"Rome": "refusal"}))
    frame = pd.DataFrame({"city": ["Oslo", "Lima", "Rome", "Bern", "Riga", "Kyiv"]})
    models = ["simulator/small", "simulator/large", "simulator/moody"]

    with pytest.warns(dfllm.RowsFailedWarning):
        made = frame.llm.complete(PROMPT, model=models, schema=["a", "b"])
    table = dfllm.last_run().agreement()

    assert [("small", "large"), ("small", "moody"), ("large", "moody")] == list(
        table[["first", "second"]].itertuples(index=False, name=None)
    )
    assert [5, 5, 5] == table["compared"].tolist()
    equal = (made["completion_small"] == made["completion_large"]).sum() / 5
    assert equal == table["share"].iloc[0]
    assert {"Float64"} == {str(table[name].dtype) for name in ("share", "kappa")}


def test_each_model_is_compared_with_a_column(simulator):
    """Accuracy and kappa against the right answers, blanks aside; for one model as for several."""
    simulator()
    frame = pd.DataFrame({"city": ["Oslo", "Lima", "Rome"], "gold": [" Where is Oslo? ", "no", None]})

    frame.llm.complete(PROMPT, model=ECHO)
    table = dfllm.last_run().agreement(against="gold")

    assert [(ECHO, 2, 0.5)] == list(table[["model", "compared", "accuracy"]].itertuples(index=False, name=None))
    assert table["kappa"].isna().all()


def test_fields_are_compared_one_by_one(simulator):
    """A row for each field; against a column, those that are named."""
    simulator()
    models = {"one": "simulator/small", "two": "simulator/large"}
    made = CITIES.llm.complete(PROMPT, model=models, schema={"n": int, "ok": bool}, into="x")
    frame = made.assign(stars=made["x_one_n"].astype("Float64"))
    frame.llm.complete(PROMPT, model=models, schema={"n": int, "ok": bool}, into="x")

    table = dfllm.last_run().agreement(against={"n": "stars"})

    assert ["n", "ok"] == dfllm.last_run().agreement()["field"].tolist()
    assert [("one", "n", 3, 1.0)] == list(
        table[["model", "field", "compared", "accuracy"]].head(1).itertuples(index=False, name=None)
    )


def test_samples_are_compared_one_by_one(simulator):
    """Each with the other side's sample of that number, or its one right answer."""
    simulator()
    frame = CITIES.assign(gold=["Where is Oslo?", "no", "Where is Oslo?", None])

    frame.llm.complete(PROMPT, model=["simulator/echo", "simulator/small"], samples=2)
    table = dfllm.last_run().agreement(against="gold")

    assert [6] == dfllm.last_run().agreement()["compared"].tolist()
    assert (6, pytest.approx(2 / 3)) == tuple(table[["compared", "accuracy"]].iloc[0])


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (None, "this run asked one"),
        ("gold", "The frame has no column 'gold'. It has city"),
        ({"n": "city"}, "against= names no field of the answers: n"),
        ({}, "against= names no field of the answers"),
    ],
)
def test_what_cannot_be_compared_is_refused(simulator, against, said):
    """With a word on what there is."""
    simulator()
    CITIES.llm.complete(PROMPT, model=ECHO)

    with pytest.raises(dfllm.OptionError) as told:
        dfllm.last_run().agreement(against)

    assert said in str(told.value)


# Fallback.


def test_a_fallback_answers_what_failed(sides):
    """Only the failed rows go on, each answer under its own model's key; again, nothing is sent."""
    bills = sides(left={"Lima": "refusal"})

    made = CITIES.llm.complete(PROMPT, **BACKED, details=True)
    run = dfllm.last_run().to_dict()
    again = CITIES.llm.complete(PROMPT, **BACKED, details=True)

    assert [*ANSWERS, None] == answers(made) == answers(again)
    assert [None, None, None, "Skipped"] == kinds(made)
    assert [2, 1] == [bill.requests for bill in bills]
    assert {"left/echo": 2, "right/echo": 1} == {name: own["ok"] for name, own in run["models"].items()}
    assert (4, 3, 0, 1, 3) == tuple(run[what] for what in ("rows", "ok", "failed", "skipped", "sent"))
    alone = CITIES.iloc[[1]].llm.complete(PROMPT, model="right/echo", cache="only", details=True)
    assert alone["completion_key"].iloc[0] == made["completion_key"].iloc[1]


def test_a_known_fallback_answer_is_known(sides):
    """A row that the first model could not answer for now is not asked of it again once another has answered."""
    bills = sides(left={"Where": "500"})
    CITIES.llm.complete(PROMPT, **BACKED)
    before = bills[0].requests

    made = CITIES.llm.complete(PROMPT, **BACKED)

    assert [*ANSWERS, None] == answers(made)
    assert [before, 2] == [bill.requests for bill in bills]
    assert 3 == dfllm.last_run().to_dict()["models"]["right/echo"]["known"]
    assert 2 == CITIES.llm.plan(PROMPT, **BACKED).known


@pytest.mark.parametrize("fault", ["401", "403", "404", "quota"])
def test_a_dead_model_leaves_all_to_the_next(sides, fault):
    """One request shows it is dead; the rest goes to the fallback, with one warning that says who answered."""
    bills = sides(left={"Where": fault})
    frame = pd.DataFrame({"city": range(30)})

    with pytest.warns(dfllm.ModelWarning, match=r"^left/echo was stopped: .*Answered by right/echo 30\.$") as told:
        made = frame.llm.complete(PROMPT, **BACKED)

    assert [f"Where is {n}?" for n in range(30)] == answers(made)
    assert [1, 30] == [bill.requests for bill in bills]
    assert [__file__] == [one.filename for one in told]


def test_all_models_dead_raises_the_first_one_s_trouble(sides):
    """As a call to it alone would."""
    bills = sides(left={"Where": "401"}, right={"Where": "404"})

    with pytest.raises(dfllm.AuthFailed, match="left/echo: AuthFailed"):
        CITIES.llm.complete(PROMPT, **BACKED)

    assert [1, 1] == [bill.requests for bill in bills]


def test_cut_text_is_kept_where_nobody_does_better(sides):
    """It goes to the fallback as well; where that fails too, the partial text stands beside its error."""
    sides(left={"Lima": "length", "Oslo": "length"}, right={"Lima": "refusal"})

    with pytest.warns(dfllm.RowsFailedWarning, match=r"Truncated 1.*Answered by right/echo 2\."):
        made = CITIES.llm.complete(PROMPT, **BACKED)

    assert [None, "Truncated", None, "Skipped"] == kinds(made)
    assert answers(made)[0] == "Where is Oslo?"
    assert answers(made)[1]
    assert "Where is Lima?".startswith(answers(made)[1].strip())


def test_fallbacks_are_tried_in_order(sides, simulator):
    """The third is asked for what the second could not answer, and no more."""
    third = simulator().bill
    bills = sides(left={"Oslo": "refusal", "Lima": "refusal"}, right={"Lima": "filter"})

    made = CITIES.llm.complete(PROMPT, model="left/echo", fallback=["right/echo", ECHO], samples=2)

    assert [["Where is Oslo?"] * 2, ["Where is Lima?"] * 2, ["Where is Oslo?"] * 2, None] == made["completion"].tolist()
    assert ([4, 4], 2) == ([bill.requests for bill in bills], third.requests)
    assert [2, 1] == [own["ok"] for name, own in dfllm.last_run().to_dict()["models"].items() if name != "left/echo"]


def test_a_store_that_knows_the_third_asks_nobody(sides, simulator):
    """Every model's key is looked for before any is asked."""
    simulator()
    bills = sides(left={"Where": "500"}, right={"Where": "500"})
    CITIES.llm.complete(PROMPT, model=ECHO)

    made = CITIES.llm.complete(PROMPT, model="left/echo", fallback=["right/echo", ECHO])

    assert ([*ANSWERS, None], [0, 0]) == (answers(made), [bill.requests for bill in bills])


@pytest.mark.parametrize("repeats", ["share", "vary"])
def test_samples_fall_back_one_by_one(sides, repeats):
    """A sample that failed is asked of the fallback under its own number, also of equal rows that vary."""
    bills = sides(left={"Lima": "refusal*1"})
    frame = pd.DataFrame({"city": ["Lima", "Oslo", "Lima"]})
    options = {**BACKED, "samples": 2, "repeats": repeats, "limits": dfllm.Limits(concurrency=1)}

    made = [frame.llm.complete(PROMPT, **options) for _ in range(2)]

    assert [[["Where is Lima?"] * 2, ["Where is Oslo?"] * 2, ["Where is Lima?"] * 2]] * 2 == [
        one["completion"].tolist() for one in made
    ]
    assert [4 if repeats == "share" else 6, 1] == [bill.requests for bill in bills]


def test_what_no_model_can_help_stays(sides):
    """Rows that cannot be sent, or whose turn does not come for want of money, are not asked elsewhere."""
    bills = sides()
    frame = pd.DataFrame({"city": [None, "nul\x00"]})

    with pytest.warns(dfllm.RowsFailedWarning):
        made = frame.llm.complete(PROMPT, **BACKED)

    assert (["Skipped", "BadInput"], [0, 0]) == (kinds(made), [bill.requests for bill in bills])


def test_iterators_take_fallbacks(sides):
    """A row comes once, when it has its answer or none is left to ask."""
    sides(left={"Lima": "refusal"}, right={"Lima": "refusal"})

    with pytest.warns(dfllm.RowsFailedWarning):
        rows = sorted(CITIES.llm.iter_completions(PROMPT, **BACKED))

    assert [0, 1, 2, 3] == [one.position for one in rows]
    assert ["Where is Oslo?", None, "Where is Oslo?", None] == [one.value for one in rows]
    assert rows[1].error.startswith("Refused: ")


def test_an_interrupted_chain_goes_on(sides):
    """Left while the fallback answers, the same call asks for the rest only."""
    left, right = sides(left={"Where": "refusal"}, latency_seconds=0.01)
    frame = pd.DataFrame({"city": range(40)})
    rows = frame.llm.iter_completions(PROMPT, **BACKED, limits=FEW)
    for _ in range(5):
        next(rows)
    rows.close()
    partial = dfllm.last_run().frame

    made = frame.llm.complete(PROMPT, **BACKED)

    assert {None, "Cancelled"} == set(kinds(partial))
    assert [f"Where is {n}?" for n in range(40)] == answers(made)
    assert (40, 40) == (left.requests, right.requests)


def test_a_plan_says_what_it_leaves_out(sides):
    """The fallback's cost depends on what fails, which nobody knows."""
    bills = sides()

    plan = CITIES.llm.plan(PROMPT, **BACKED)

    assert (("right/echo",), 2) == (plan.fallback, plan.missing)
    assert "rows that fail would go to right/echo, which the estimate leaves out" in str(plan)
    assert [0, 0] == [bill.requests for bill in bills]


@pytest.mark.parametrize("cache", ["retry", "refresh", "off", "only"])
def test_every_cache_mode_takes_fallbacks(sides, cache):
    """What is asked anew is asked of the first model first, and of the next where it fails."""
    bills = sides(left={"Lima": "refusal"})
    CITIES.llm.complete(PROMPT, **BACKED)

    made = CITIES.llm.complete(PROMPT, **BACKED, cache=cache)

    assert [*ANSWERS, None] == answers(made)
    # What the fallback has answered is known, so nothing is tried again for it.
    assert {"retry": [2, 1], "refresh": [4, 2], "off": [4, 2], "only": [2, 1]}[cache] == [
        bill.requests for bill in bills
    ]


_LOTS = ["refusal", "filter", "length", "blank", None]


@given(
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=10),
    left=st.lists(st.sampled_from(_LOTS), min_size=5, max_size=5),
    right=st.lists(st.sampled_from(_LOTS), min_size=5, max_size=5),
    samples=st.integers(1, 2),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_ends_in_its_place(rows, left, right, samples, tmp_path_factory, monkeypatch):
    """Whatever fails where: an answer where either model has one, else one error, and nothing is paid twice."""
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path_factory.mktemp("chain") / "a.db"))
    frame = pd.DataFrame({"city": [f"city{n}." for n in rows]})
    with ExitStack() as stack:
        bills = []
        for name, faults in (("left", left), ("right", right)):
            by_text = {f"city{n}.": fault for n, fault in enumerate(faults) if fault}
            bills.append(stack.enter_context(Simulator(faults=Faults(by_text=by_text))))
            dfllm.register_provider(name, base_url=bills[-1].base_url)
        stack.enter_context(warnings.catch_warnings(action="ignore", category=dfllm.RowsFailedWarning))

        made = frame.llm.complete(PROMPT, **BACKED, samples=samples)
        sent = [one.bill.requests for one in bills]
        again = frame.llm.complete(PROMPT, **BACKED, samples=samples)

        good = [left[n] is None or right[n] is None for n in rows]
        assert good == made["completion_error"].isna().tolist() == again["completion_error"].isna().tolist()
        whole = [f"Where is city{n}.?" for n in rows]
        cells = [cell if samples == 1 else (cell or [None])[0] for cell in made["completion"]]
        assert [text for text, fine in zip(whole, good, strict=True) if fine] == [
            cell for cell, fine in zip(cells, good, strict=True) if fine
        ]
        assert sent == [one.bill.requests for one in bills]
        assert sent == [
            samples * len(set(rows)),
            samples * len({n for n in rows if left[n] is not None}),
        ]


_CHILD = """
import json, sys
import pandas as pd, dfllm
for name, url in json.loads(sys.argv[1]).items():
    dfllm.register_provider(name, base_url=url)
frame = pd.DataFrame({"city": range(60)})
few = dfllm.Limits(concurrency=4)
for one in frame.llm.iter_completions("Where is {{ city }}?", limits=few, **json.loads(sys.argv[2])):
    print("row", flush=True)
"""


@pytest.mark.parametrize("options", [{"model": BOTH}, BACKED], ids=["several", "backed"])
def test_a_kill_pays_nothing_twice(sides, options):
    """Killed while answers come in, the same call asks each model for what is not on disk, and for no more."""
    bills = sides(left={"is 1": "refusal", "is 2": "refusal"}, latency_seconds=0.01)
    urls = {name: run_settings.providers()[name].base_url for name in ("left", "right")}
    command = [sys.executable, "-c", _CHILD, json.dumps(urls), json.dumps(options)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
    for _ in range(20):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    ends = time.monotonic() + 30
    while any(bill.in_flight for bill in bills):
        assert time.monotonic() < ends
    kept, before = dfllm.store().stats().entries, sum(bill.requests for bill in bills)
    frame = pd.DataFrame({"city": range(60)})

    with contextlib.nullcontext() if "fallback" in options else pytest.warns(dfllm.RowsFailedWarning):
        made = frame.llm.complete(PROMPT, **options)

    whole = dfllm.store().stats().entries
    assert 20 <= kept < whole
    assert whole - kept == sum(bill.requests for bill in bills) - before
    assert [f"Where is {n}?" for n in range(60)] == answers(made, [*made.columns][-2])


@pytest.fixture
def ctrl_c():
    """Return a function that presses Ctrl-C once something is so; the signal is heard as in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = []

    def press(when):
        def watch():
            ends = time.monotonic() + 30
            while not when() and time.monotonic() < ends:
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield press
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("options", [{"model": BOTH}, BACKED], ids=["several", "backed"])
def test_ctrl_c_saves_what_has_arrived(sides, ctrl_c, options):
    """The exception says how many are done, the partial frame is there, and the same call goes on."""
    faults = {"Where": "refusal"} if "fallback" in options else None
    bills = sides(left=faults, latency_seconds=0.01)
    frame = pd.DataFrame({"city": range(50)})
    ctrl_c(lambda: bills[1].requests >= 10)

    with pytest.raises(KeyboardInterrupt, match=r"rows are done and saved; run again to go on"):
        frame.llm.complete(PROMPT, **options, limits=FEW)
    partial = dfllm.last_run()
    kept = dfllm.store().stats().entries
    made = frame.llm.complete(PROMPT, **options)

    assert ("interrupted", "interrupted") == (partial.to_dict()["state"], dfllm.runs()["status"].iloc[1])
    assert "Cancelled" in kinds(partial.frame, [*made.columns][-1])
    assert 100 == sum(bill.requests for bill in bills)
    assert 10 <= kept < 100
    assert [f"Where is {n}?" for n in range(50)] == answers(made, [*made.columns][-2])


@pytest.mark.parametrize("options", [{"model": BOTH}, BACKED], ids=["several", "backed"])
def test_async_twins_do_the_same(sides, options):
    """Awaited from any loop, with the same columns and the same run."""
    sides(left={"Lima": "500"})

    async def both():
        plan = await CITIES.llm.aplan(PROMPT, **options)
        with contextlib.nullcontext() if "fallback" in options else pytest.warns(dfllm.RowsFailedWarning):
            return plan, await CITIES.llm.acomplete(PROMPT, **options)

    plan, made = asyncio.run(both())

    assert [*ANSWERS, None] == answers(made, [*made.columns][-2])
    assert plan.missing == 2 * (1 if "fallback" in options else 2)


# The one-word helpers.


def test_helpers_take_several_models_and_samples(simulator):
    """A pair of columns each under the verb's own name, lists of labels, and agreement between them."""
    simulator()

    made = CITIES.llm.classify("city", ["a", "b"], model=["simulator/small", "simulator/large"], samples=2)

    names = ["label_small", "label_small_error", "label_large", "label_large_error"]
    assert ["city", *names] == list(made.columns)
    assert {2} == {len(cell) for cell in made["label_large"].iloc[:3]}
    assert [6] == dfllm.last_run().agreement()["compared"].tolist()


@pytest.mark.parametrize("on_error", ["keep", "stop"])
def test_judges_may_be_several(sides, on_error):
    """Each asks every row in both orders; a row counts once for each, also where it fails."""
    bills = sides(right={"Lima": "refusal"})
    frame = pd.DataFrame({"a": ["Oslo", "Lima"], "b": ["Bern", "Riga"]})
    models = {"one": "left/small", "two": "right/small"}
    expected = pytest.warns(dfllm.RowsFailedWarning) if on_error == "keep" else pytest.raises(dfllm.RowsFailed)

    with expected:
        frame.llm.judge("a", "b", "Which is larger?", model=models, on_error=on_error)

    run = dfllm.last_run().to_dict()
    assert (4, 1) == (run["rows"], run["failed"])
    assert (3 if on_error == "keep" else run["ok"]) == run["models"]["left/small"]["ok"] + run["models"]["right/small"][
        "ok"
    ]
    if on_error == "keep":
        assert [4, 4] == [bill.requests for bill in bills]


def test_a_judge_may_have_a_fallback(sides):
    """An order that one model could not answer is asked of the next, and the row is counted there."""
    bills = sides(left={"Lima": "refusal"})
    frame = pd.DataFrame({"a": ["Oslo", "Lima"], "b": ["Bern", "Riga"]})

    made = frame.llm.judge("a", "b", "Which is larger?", model="left/small", fallback="right/small")

    assert set(made["winner"]) <= {"a", "b", "tie"}
    assert [4, 2] == [bill.requests for bill in bills]
    assert {"left/small": 1, "right/small": 1} == {
        name: own["ok"] for name, own in dfllm.last_run().to_dict()["models"].items()
    }


def test_a_judge_takes_no_samples(sides):
    """Each row has two questions already."""
    bills = sides()

    with pytest.raises(dfllm.OptionError, match="samples= does not go with that"):
        CITIES.assign(b="x").llm.judge("city", "b", "Which?", model="left/small", samples=2)

    assert [0, 0] == [bill.requests for bill in bills]


def test_details_say_which_of_the_models_answered(simulator):
    """As they were named, since two providers may call their models alike; known answers say it as well."""
    first = simulator(faults=Faults(by_text={"Lima": "refusal"}))
    dfllm.register_provider("prim", base_url=first.base_url)
    simulator()
    df = pd.DataFrame({"c": ["Oslo", "Lima"]})

    for _ in range(2):
        out = df.llm.complete("{{ c }}?", model="prim/small", fallback=["simulator/small"], details=True)
        assert ["prim/small", "simulator/small"] == out["completion_model"].tolist()


def test_a_warning_names_who_answered_only_where_another_did(simulator):
    """A row that no model could be asked for is not the fallback's."""
    simulator()
    df = pd.DataFrame({"c": ["Oslo", " "]})

    with pytest.warns(dfllm.RowsFailedWarning) as warned:
        df.llm.complete("{{ c }}", model="simulator/small", fallback=["simulator/large"])

    assert "Answered by" not in str(warned[0].message)
