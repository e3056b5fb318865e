"""`cache=`: "off" leaves nothing at rest, "refresh" goes on where it was broken off."""

import asyncio
import os
import re
import threading
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import dfllm
from dfllm._run import runtime as runtime_module
from dfllm.cli import main
from dfllm.simulator import Faults

PROMPT, ECHO = "Where is {{ city }}?", "simulator/echo"
CITIES = pd.DataFrame({"city": ["Oslo", "Lima", "Oslo"]})
ANSWERS = ["Where is Oslo?", "Where is Lima?", "Where is Oslo?"]


def at_rest(*needles):
    """Return the files of the store's folder that hold one of these texts."""
    folder = Path(os.environ["DFLLM_STORE"]).parent
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return [file.name for file in files if any(needle.encode() in file.read_bytes() for needle in needles)]


def test_off_takes_nothing_and_keeps_nothing(simulator):
    """What is known is asked again, equal rows once; no file has a byte of it, and the ledger has the amounts."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)
    dfllm.store().purge(older_than=0)

    made = [CITIES.llm.complete(PROMPT, model=ECHO, cache="off", tag="hush") for _ in range(2)]

    assert [ANSWERS] * 2 == [one["completion"].tolist() for one in made]
    assert 2 + 2 * 2 == bill.requests
    assert [] == at_rest("Where is", "Oslo")
    assert (0, 0) == (dfllm.store().stats().entries, dfllm.store().stats().attempts)
    assert (2, bill.prompt_tokens * 2 // 3) == tuple(dfllm.runs("tag").loc["hush", ["runs", "tokens_in"]])


def test_off_leaves_what_is_known_alone(simulator):
    """An answer in the store is neither taken nor replaced."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)

    CITIES.llm.complete(PROMPT, model=ECHO, cache="off")
    again = CITIES.llm.complete(PROMPT, model=ECHO, cache="only", details=True)

    assert 4 == bill.requests
    assert ["store"] == again["completion_source"].unique().tolist()


def test_off_keeps_no_body_of_a_failed_attempt(simulator):
    """What came back without an answer, and what mends an answer, is nowhere either."""
    bill = simulator(faults=Faults(by_text={"Oslo": "badshape", "Lima": "empty"})).bill

    CITIES.llm.complete(PROMPT, model="simulator/small", schema={"mood": ["good", "bad"]}, cache="off")

    assert 4 == bill.requests
    assert (0, 0) == (dfllm.store().stats().entries, dfllm.store().stats().attempts)
    assert [] == at_rest("mood", "good", "choices")


def test_off_asks_equal_rows_once_however_far_apart(simulator):
    """Equal rows of many windows share one request, while it is under way and after."""
    bill = simulator().bill
    frame = pd.DataFrame({"city": ["Oslo", "Lima"] * 6_000})

    made = frame.llm.complete(PROMPT, model=ECHO, cache="off")

    assert (2, {"Where is Oslo?", "Where is Lima?"}) == (bill.requests, set(made["completion"]))
    assert (0, 2) == (dfllm.last_run().to_dict()["known"], dfllm.last_run().to_dict()["sent"])


def test_off_says_where_answers_are():
    """The report names no file, and a plan knows nothing."""
    CITIES.llm.complete(PROMPT, model=ECHO)

    plan = CITIES.llm.plan(PROMPT, model=ECHO, cache="off")
    CITIES.llm.complete(PROMPT, model=ECHO, cache="off")

    assert (0, 2) == (plan.known, plan.missing)
    assert "nowhere" == dfllm.last_run().to_dict()["store"]


def test_off_is_for_iterators_too():
    """Rows as they finish, and their async twin, keep nothing."""

    async def listed():
        return [one.value async for one in CITIES.llm.aiter_completions(PROMPT, model=ECHO, cache="off")]

    values = [one.value for one in CITIES.llm.iter_completions(PROMPT, model=ECHO, cache="off")]

    assert [sorted(ANSWERS)] * 2 == [sorted(values), sorted(asyncio.run(listed()))]
    assert [] == at_rest("Where is")


def test_off_needs_no_store(tmp_path, monkeypatch):
    """Where the store cannot be opened the call works all the same; a warning says that its cost is noted nowhere."""
    diary = tmp_path / "diary.txt"
    diary.write_text("a diary, not a store")
    monkeypatch.setenv("DFLLM_STORE", str(diary))

    with pytest.warns(dfllm.StoreWarning, match=r"noted nowhere.*cannot be the store") as told:
        made = CITIES.llm.complete(PROMPT, model=ECHO, cache="off")

    assert ANSWERS == made["completion"].tolist()
    assert __file__ == told[0].filename


def test_a_budget_needs_the_ledger_also_when_off(tmp_path, monkeypatch):
    """Without the ledger a budget could not be kept, so nothing is sent."""
    diary = tmp_path / "diary.txt"
    diary.write_text("a diary, not a store")
    monkeypatch.setenv("DFLLM_STORE", str(diary))

    with pytest.raises(dfllm.StoreError, match="cannot be the store"):
        CITIES.llm.complete(PROMPT, model=ECHO, cache="off", budget=1.0)


def test_off_keeps_a_budget(simulator):
    """Under a cap the ledger holds reserves while requests are under way, and amounts alone afterwards."""
    bill = simulator().bill
    prices = {ECHO: {"input": 1.0, "output": 1.0}}
    with dfllm.options(prices=prices):
        made = CITIES.llm.complete(PROMPT, model=ECHO, cache="off", budget=1.0, max_tokens=50)
        with pytest.warns(dfllm.RowsFailedWarning, match="BudgetExceeded"):
            CITIES.llm.complete(PROMPT, model=ECHO, cache="off", budget=0.000_001, max_tokens=50)

    with dfllm.store()._opened()._apart() as connection:
        keys = connection.execute("SELECT count(key), count(*) FROM spend").fetchone()
    assert ANSWERS == made["completion"].tolist()
    assert (2, (0, 2), 0) == (bill.requests, keys, dfllm.store().stats().claims)


def test_an_interrupted_call_says_that_nothing_is_saved(monkeypatch):
    """Whoever presses Ctrl-C hears that the partial frame is all there is."""

    def interrupt(coroutine, *stops):
        coroutine.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("dfllm._running.loop.complete", interrupt)

    with pytest.raises(KeyboardInterrupt, match=r"^0 of 3 rows are done, and saved nowhere but in the partial frame"):
        CITIES.llm.complete(PROMPT, model=ECHO, cache="off")


def test_the_command_keeps_nothing_either(tmp_path):
    """`--cache off` writes its table, and nothing else."""
    CITIES.to_csv(tmp_path / "in.csv", index=False)
    arguments = ["run", str(tmp_path / "in.csv"), "-p", PROMPT, "-m", ECHO, "-o", str(tmp_path / "out.csv")]

    ended = CliRunner().invoke(main, [*arguments, "--cache", "off", "--json"])

    assert 0 == ended.exit_code
    assert ANSWERS == pd.read_csv(tmp_path / "out.csv")["completion"].tolist()
    assert [] == at_rest("Where is")
    assert re.search(r'"store": "nowhere"', ended.stdout)


def test_the_command_does_not_promise_what_off_does_not_keep(simulator, tmp_path):
    """Where nothing can be written, the message does not speak of a store."""
    simulator(faults=Faults(by_text={"Lima": "refusal"}))
    CITIES.to_csv(tmp_path / "in.csv", index=False)
    arguments = ["run", str(tmp_path / "in.csv"), "-p", PROMPT, "-m", ECHO, "-o", str(tmp_path / "out.csv")]

    ended = CliRunner().invoke(main, [*arguments, "--cache", "off", "--on-error", "raise"])

    assert 1 == ended.exit_code
    assert "out.csv was not written. Nothing was kept, as --cache off says." in ended.stderr


def test_an_answer_that_was_removed_meanwhile_is_asked_again(simulator, monkeypatch):
    """Between the claim and the look-up another process purges the answer: the row gets one all the same."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)
    store = runtime_module.runtime().store(runtime_module.Settings(store=Path(os.environ["DFLLM_STORE"])))
    known, purged = type(store).known, threading.Event()

    def forgetful(self, keys, **given):
        if purged.is_set():
            return known(self, keys, **given)
        if len(keys) == 3:  # the window: nothing is known yet, as it seems
            return [None] * 3
        purged.set()  # what the claim found answered is gone when it is looked up
        dfllm.store().purge(older_than=0)
        return known(self, keys, **given)

    monkeypatch.setattr(type(store), "known", forgetful)

    made = CITIES.llm.complete(PROMPT, model=ECHO)

    assert (ANSWERS, 4, True) == (made["completion"].tolist(), bill.requests, purged.is_set())


def test_only_needs_no_bound():
    """What sends nothing can pass no budget, so no price has to be known."""
    CITIES.llm.complete(PROMPT, model=ECHO)

    made = CITIES.llm.complete(PROMPT, model=ECHO, cache="only", budget=1.0)

    assert ANSWERS == made["completion"].tolist()


# Refresh.


def sources(frame, **options):
    """Return where the answers of a call came from, row by row."""
    return frame.llm.complete(PROMPT, model=ECHO, details=True, **options)["completion_source"].tolist()


def test_refresh_asks_all_anew(simulator):
    """Each refresh that is whole is followed by another one of everything; equal rows are asked once."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)

    made = [CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")["completion"].tolist() for _ in range(2)]

    assert ([ANSWERS] * 2, 2 + 2 + 2) == (made, bill.requests)
    assert ["store"] * 3 == sources(CITIES)


def test_a_refresh_that_was_broken_off_goes_on(simulator):
    """What it has paid for is read, only the rest is asked; the old answer of the rest stood meanwhile."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)
    rows = CITIES.llm.iter_completions(PROMPT, model=ECHO, cache="refresh", limits=dfllm.Limits(1))
    next(rows)
    rows.close()
    between = bill.requests
    known = sources(CITIES, cache="only")

    planned = CITIES.llm.plan(PROMPT, model=ECHO, cache="refresh").missing
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")
    after = bill.requests
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")

    assert ["store"] * 3 == known
    assert 4 - between == planned
    assert (4, 6) == (after, bill.requests)


def test_a_frame_that_has_grown_goes_on_too(simulator, monkeypatch):
    """After a refresh that was killed, the same call on more rows asks for what is missing alone."""
    bill = simulator().bill
    with monkeypatch.context() as patched:
        patched.setattr("dfllm._work.concluded", lambda *given: None)  # as if it had been killed at its very end
        CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")
    grown = pd.concat([CITIES, pd.DataFrame({"city": ["Bonn"]})], ignore_index=True)

    assert ["store", "store", "store", "live"] == sources(grown, cache="refresh")
    assert 3 == bill.requests


def test_failed_rows_of_a_refresh_are_asked_alone(simulator):
    """Run again at once, a refresh whose rows failed asks those; their old answers are still there."""
    bill = simulator().bill
    CITIES.llm.complete(PROMPT, model=ECHO)
    simulator(faults=Faults(by_text={"Lima": "drop_mid"}))
    with dfllm.options(resend_ambiguous=0), pytest.warns(dfllm.RowsFailedWarning, match="ConnectionLost"):
        CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")
    old = sources(CITIES, cache="only")
    well = simulator().bill  # another one, which answers

    again = sources(CITIES, cache="refresh")

    assert (["store"] * 3, ["store", "live", "store"]) == (old, again)
    assert (2, 1) == (bill.requests, well.requests)


def test_another_prompt_is_another_refresh(simulator, monkeypatch):
    """A refresh that was broken off is no other call's: prompt, model and options tell them apart."""
    bill = simulator().bill
    monkeypatch.setattr("dfllm._work.concluded", lambda *given: None)
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")

    CITIES.llm.complete("{{ city }}!", model=ECHO, cache="refresh")
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh", seed=1)
    CITIES.llm.complete(PROMPT, model="simulator/small", cache="refresh")
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")

    assert 8 == bill.requests


def test_a_plan_of_a_refresh_knows_nothing_and_begins_nothing():
    """Before a refresh all is missing, and planning it leaves no trace."""
    CITIES.llm.complete(PROMPT, model=ECHO)

    plans = [CITIES.llm.plan(PROMPT, model=ECHO, cache="refresh") for _ in range(2)]
    CITIES.llm.complete(PROMPT, model=ECHO, cache="refresh")

    assert [(0, 2)] * 2 == [(plan.known, plan.missing) for plan in plans]
    assert 0 == CITIES.llm.plan(PROMPT, model=ECHO, cache="refresh").known
