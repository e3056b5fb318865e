"""Budgets and the ledger as a user meets them: caps that hold, a larger one that goes on, and books that add up."""

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import dfllm
from dfllm._run.runtime import runtime
from dfllm._run.settings import current
from dfllm.cli import main
from dfllm.simulator import Faults

MODEL = "simulator/echo"
PROMPT = "row {{ n }}."
#: USD per million tokens: a token of input is 1,000 nano-USD, one of output 4,000.
PRICES = {MODEL: {"input": 1.0, "output": 4.0}}
TOKENS = 10
OPTIONS = {"model": MODEL, "max_tokens": TOKENS}


@pytest.fixture(autouse=True)
def priced():
    """Give the simulator a price."""
    dfllm.configure(prices=PRICES)


def frame(rows):
    """Return a frame of different rows."""
    return pd.DataFrame({"n": range(rows)})


def kinds(done):
    """Return each row's type of error."""
    return [None if pd.isna(error) else error.partition(":")[0] for error in done["completion_error"]]


def cut(rows, **options):
    """Make a call whose budget does not last."""
    with pytest.warns(dfllm.RowsFailedWarning, match="BudgetExceeded"):
        return frame(rows).llm.complete(PROMPT, **OPTIONS, **options)


def spent():
    """Return what the ledger has, in USD."""
    return float(dfllm.runs("day")["cost_usd"].sum())


def test_rows_that_do_not_fit_say_so_and_a_larger_budget_goes_on(simulator):
    """Nothing is asked twice, each row ends, and no cap is passed on the way."""
    provider = simulator()

    first = cut(30, budget=0.0004)
    sent = provider.bill.requests
    second = frame(30).llm.complete(PROMPT, **OPTIONS, budget=1.0)

    errors = first["completion_error"].dropna().unique()
    assert 0 < sent < 30
    assert sent == first["completion"].notna().sum()
    assert {"BudgetExceeded", None} == set(kinds(first))
    said = r"BudgetExceeded: needs up to \$0\.000\d+, left \$0\.0\d+ of \$0\.0004000 per call"
    assert all(re.fullmatch(said, error) for error in errors)
    assert [f"row {n}." for n in range(30)] == second["completion"].tolist()
    assert 30 == provider.bill.requests
    assert spent() <= 0.0004 + 1.0


def test_known_rows_need_no_budget(simulator):
    """What is answered is free, however small the budget."""
    provider = simulator()
    frame(5).llm.complete(PROMPT, **OPTIONS)

    done = frame(5).llm.complete(PROMPT, **OPTIONS, budget=1e-9)

    assert [None] * 5 == kinds(done)
    assert 5 == provider.bill.requests


@pytest.mark.parametrize("per", ["day", "tag"])
def test_budget_of_a_day_or_a_tag_counts_earlier_calls(simulator, per):
    """The second call gets what the first has left, and another tag has a budget of its own."""
    provider = simulator()
    budget = dfllm.Budget(0.0004, per=per)

    first = cut(30, budget=budget, tag="mine")
    again = cut(60, budget=budget, tag="mine")

    assert first["completion"].notna().sum() == again["completion"].notna().sum()
    before = provider.bill.requests
    if per == "tag":
        cut(90, budget=budget, tag="other")
        assert provider.bill.requests > before


def test_budget_of_a_tag_needs_one(simulator):
    """Before anything is sent."""
    provider = simulator()

    with pytest.raises(dfllm.OptionError, match="needs a tag"):
        frame(1).llm.complete(PROMPT, **OPTIONS, budget=dfllm.Budget(1, per="tag"))

    assert 0 == provider.bill.requests


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": MODEL}, r"nothing bounds the output of simulator/echo.*Say max_tokens="),
        ({"model": "simulator/small", "max_tokens": 9}, r"the price of simulator/small is unknown.*configure\(prices"),
    ],
    ids=["no bound", "no price"],
)
def test_budget_that_cannot_be_kept_is_refused(simulator, options, said):
    """A cap without a price or a bound would be none."""
    provider = simulator()

    with pytest.raises(dfllm.OptionError, match=said):
        frame(3).llm.complete(PROMPT, budget=1.0, **options)

    assert 0 == provider.bill.requests


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"max_tokens": 4_000}, "extra must not set max_tokens"),
        ({"max_completion_tokens": 4_000}, "extra must not set max_completion_tokens"),
        ({"service_tier": "priority"}, "extra sets 'service_tier', which may change what a request costs"),
        ({"tools": []}, "extra sets 'tools'"),
    ],
    ids=["output", "output again", "tier", "tools"],
)
def test_extra_does_not_get_round_a_budget(simulator, extra, said):
    """What would make a request dearer than its bound is refused; what only changes the words is not."""
    provider = simulator()

    with pytest.raises(dfllm.OptionError, match=said):
        frame(1).llm.complete(PROMPT, **OPTIONS, budget=1.0, extra=extra)

    assert 0 == provider.bill.requests
    assert [None] == kinds(frame(1).llm.complete(PROMPT, **OPTIONS, budget=1.0, extra={"presence_penalty": 0.5}))


def test_lost_answer_stays_booked_and_another_attempt_needs_room(simulator):
    """The attempt that may have been billed counts in full; a resend that does not fit is not made."""
    provider = simulator(faults=Faults(by_text={"row": "reset_mid"}))
    most = (90 + 32) * 1e-6 + TOKENS * 4e-6

    done = cut_or_lost(2, budget=most * 2.5)

    lost = dfllm.last_run().to_dict()
    assert {"ConnectionLost", "BudgetExceeded"} >= set(kinds(done))
    assert 2 == provider.bill.requests
    assert lost["maybe_usd"] == pytest.approx(spent())
    assert spent() <= most * 2.5


def cut_or_lost(rows, **options):
    """Make a call in which no row is answered."""
    with pytest.warns(dfllm.RowsFailedWarning):
        return frame(rows).llm.complete(PROMPT, **OPTIONS, limits=dfllm.Limits(concurrency=1), **options)


def test_answer_without_usage_is_booked_as_the_most(simulator):
    """The provider did not say what it used; the answer is kept and the amount marked."""
    simulator(faults=Faults(by_text={"row": "nousage"}))

    done = frame(2).llm.complete(PROMPT, **OPTIONS, budget=1.0)

    assert ["row 0.", "row 1."] == done["completion"].tolist()
    with closing(sqlite3.connect(os.environ["DFLLM_STORE"])) as store:
        assert [("estimated", 2)] == store.execute("SELECT billing, count(cost) FROM spend GROUP BY billing").fetchall()


def test_books_add_up(simulator):
    """Plan, run, runs and the provider's own bill say the same at each step; what is saved is said too."""
    provider = simulator()
    df = pd.DataFrame({"n": [0, 1, 2, 2, 2]})

    plan = df.llm.plan(PROMPT, **OPTIONS)
    df.llm.complete(PROMPT, **OPTIONS, tag="mine")
    run = dfllm.last_run().to_dict()
    df.llm.complete(PROMPT, **OPTIONS)
    again = dfllm.last_run().to_dict()
    books = dfllm.runs()

    assert plan.missing == run["sent"] == provider.bill.billed == 3
    assert run["cost_usd"] == pytest.approx(float(books["cost_usd"].iloc[1]))
    assert run["cost_usd"] == pytest.approx(spent())
    assert run["saved_dedupe_usd"] == pytest.approx(run["cost_usd"] / 3 * 2)
    assert again["saved_store_usd"] == pytest.approx(run["cost_usd"] + run["saved_dedupe_usd"])
    assert ["finished", "finished"] == books["status"].tolist()
    assert [0, 3] == books["sent"].tolist()
    assert [5, 5] == books["rows"].tolist()
    assert "mine" == books["tag"].iloc[1]
    assert [run["cost_usd"]] == pytest.approx(dfllm.runs("tag")["cost_usd"].tolist())
    assert [2] == dfllm.runs("model")["runs"].tolist()
    with pytest.raises(dfllm.OptionError, match="'run', 'day', 'tag', 'model'; found 'week'"):
        dfllm.runs("week")

    paid = spent()
    dfllm.store().purge(tag="mine")
    assert paid == spent() == pytest.approx(float(dfllm.runs("tag")["cost_usd"].iloc[0]))
    assert 3 == df.llm.plan(PROMPT, **OPTIONS).missing


def test_plan_covers_the_bill_and_comes_near_it(simulator):
    """High covers what is paid, with trouble too; after fifty answers likely is within a tenth."""
    simulator(faults=Faults(rates={"length": 0.1, "500": 0.1, "reset_mid": 0.05}, seed=3))
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "says", "très", "bien"]
    texts = [" ".join(words[n % 7 :] + words[: n % 11]) + f" {n}" for n in range(150)]
    df = pd.DataFrame({"text": texts})
    options = {"model": "simulator/small", "max_tokens": 60}
    dfllm.configure(prices={"simulator/small": {"input": 1.0, "output": 4.0}})
    prompt = "What of this: {{ text }}"

    guess = df.llm.plan(prompt, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dfllm.RowsFailedWarning)
        df[:60].llm.complete(prompt, **options)
        first = dfllm.last_run().to_dict()
        plan = df.llm.plan(prompt, **options)
        df.llm.complete(prompt, **options)
        second = dfllm.last_run().to_dict()

    paid = [1e9 * (run["cost_usd"] + run["maybe_usd"]) for run in (first, second)]
    assert sum(paid) <= guess.cost.high
    assert paid[1] <= plan.cost.high
    assert plan.learnt >= 40
    assert abs(plan.tokens_in.likely - second["tokens_in"]) <= 0.1 * second["tokens_in"]
    assert plan.missing <= 150 - 50


@pytest.mark.parametrize("seed", range(6))
def test_high_covers_whatever_happens(simulator, seed):
    """Lost answers, broken ones and ones to be mended, on other rows each time: high is above what may be billed."""
    rates = {"reset_mid": 0.2, "drop_before_billed": 0.1, "trunc_json": 0.1, "badshape": 0.2, "500": 0.1}
    provider = simulator(faults=Faults(rates=rates, seed=seed))
    luck = random.Random(f"rows {seed}")  # the same in every run
    texts = ["".join(luck.choices('etaoin é世🙂\n"', k=luck.randrange(1, 200))) for _ in range(30)]
    df = pd.DataFrame({"text": texts})
    asked = {**OPTIONS, "max_tokens": 40, "schema": ["good", "bad"]}

    plan = df.llm.plan("What of {{ text }}?", **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dfllm.RowsFailedWarning)
        df.llm.complete("What of {{ text }}?", **asked)
    run = dfllm.last_run().to_dict()

    assert provider.bill.billed > plan.missing
    assert 0 < plan.cost.low <= plan.cost.likely <= plan.cost.high
    assert round(1e9 * (run["cost_usd"] + run["maybe_usd"])) <= plan.cost.high
    assert provider.bill.prompt_tokens * 1_000 + provider.bill.completion_tokens * 4_000 <= plan.cost.high


def test_high_has_room_for_mending_only_where_something_is_mended():
    """Without a schema a lost answer is asked for once more, with the same body: high is twice what one time costs."""
    df = pd.DataFrame({"n": range(40)})
    dfllm.configure(prices={MODEL: {**PRICES[MODEL], "batch": 1}})

    plan = df.llm.plan(PROMPT, **OPTIONS)

    assert 2 * plan.batch_cost.high == plan.cost.high


def test_plan_says_what_another_run_has_in_hand(simulator):
    """Claims of a run that goes on are no questions to pay for; nothing is waited for to count them."""
    simulator()
    df = frame(5)
    keys = df.llm.complete(PROMPT, **OPTIONS, cache="off", details=True)["completion_key"]
    store = runtime().store(current())
    store.claim([bytes.fromhex(key[2:]) for key in keys[:3]], "r_other").result()

    plan = df.llm.plan(PROMPT, **OPTIONS)

    assert (5, 3) == (plan.missing, plan.pending)


def test_processes_share_a_budget(simulator, tmp_path):
    """Four at once on different rows: together they stay below the cap, and none of it is wasted."""
    provider = simulator()
    code = (
        "import sys, warnings, pandas as pd, dfllm; warnings.simplefilter('ignore'); "
        f"dfllm.configure(prices={PRICES!r}); start = int(sys.argv[1]); "
        "df = pd.DataFrame({'n': range(start, start + 40)}); "
        f"df.llm.complete({PROMPT!r}, model={MODEL!r}, max_tokens={TOKENS}, budget=dfllm.Budget(0.0015, per='day'))"
    )
    environment = {**os.environ, "DFLLM_SIMULATOR_URL": provider.base_url}
    at_once = [
        subprocess.Popen([sys.executable, "-c", code, str(start)], env=environment) for start in range(0, 160, 40)
    ]

    assert [0, 0, 0, 0] == [process.wait(60) for process in at_once]
    books = dfllm.runs()
    assert 4 == len(books)
    assert 0 < provider.bill.requests < 160
    # Less is left than one more row can need at most.
    assert 0.0015 - 0.0002 <= spent() <= 0.0015


def test_command_line_caps_and_shows(simulator, tmp_path):
    """`--budget` ends with 3 like any run with failed rows; `dfllm runs` has it, in words and JSON."""
    simulator()
    path = tmp_path / "in.csv"
    path.write_text("n\n" + "\n".join(map(str, range(30))) + "\n")
    asked = ["run", str(path), "-p", PROMPT, "-m", MODEL, "--max-tokens", str(TOKENS), "-o", str(tmp_path / "out.csv")]

    done = CliRunner().invoke(main, [*asked, "--budget", "0.0004", "--budget-per", "day", "--tag", "mine"])
    shown = CliRunner().invoke(main, ["runs"])
    by_day = CliRunner().invoke(main, ["runs", "--by", "day", "--json"])

    assert 3 == done.exit_code
    assert "BudgetExceeded" in done.stderr
    assert 0 == shown.exit_code
    assert ["simulator/echo", "mine", "finished"] == shown.stdout.splitlines()[1].split()[2:5]
    assert [1] == [day["runs"] for day in json.loads(by_day.stdout)]
    assert Path(tmp_path / "out.csv").exists()
