"""The doors `df.llm` and `s.llm`: what a call gives back, what it pays for, what it says, and how it is stopped."""

import asyncio
import inspect
import linecache
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

import dfllm
from dfllm.accessor import DataFrameLLM, SeriesLLM, register
from dfllm.simulator import Bill, Faults, Simulator

ECHO = "simulator/echo"
SMALL = "simulator/small"
PROMPT = "<{{ review }}>"
REVIEWS = pd.DataFrame({"review": ["good", None, "bad", "good"]}, index=[4, 4, 2, 9])
DOORS = ["complete", "acomplete", "plan", "aplan", "iter_completions", "aiter_completions"]


@pytest.fixture
def bill(simulator: Callable[..., Simulator]) -> Bill:
    """Start a simulator and return its bill."""
    return simulator().bill


def values(column: pd.Series) -> list[Any]:
    """Return a column's values, None where one is missing."""
    return [None if pd.isna(value) else value for value in column.tolist()]


def until(claim: Callable[[], object]) -> None:
    """Wait for something to become true."""
    ends = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < ends
        time.sleep(0.002)


def called_at(warned: warnings.WarningMessage) -> str:
    """Return the line of this file that a warning points at."""
    assert __file__ == warned.filename
    return linecache.getline(warned.filename, warned.lineno).strip()


# What comes back, and what is paid for.


def test_call_gives_an_answer_or_an_error_a_row(bill):
    """Two new columns; equal prompts are sent once, a row with a missing value is not sent."""
    made = REVIEWS.llm.complete(PROMPT, model=ECHO)

    assert ["review", "completion", "completion_error"] == list(made.columns)
    assert ["<good>", None, "<bad>", "<good>"] == values(made["completion"])
    assert [None, "Skipped: column 'review' is missing", None, None] == values(made["completion_error"])
    assert [4, 4, 2, 9] == made.index.tolist()
    assert 2 == bill.requests


def test_second_run_sends_nothing(bill):
    """Whatever was answered is read from the store, and the frame that an earlier run made is taken again."""
    first = REVIEWS.llm.complete(PROMPT, model=ECHO)

    second = first.llm.complete(PROMPT, model=ECHO)

    pd.testing.assert_frame_equal(first, second)
    assert 2 == bill.requests


def test_changed_row_is_asked_alone(bill):
    """An edited row gets a new answer, its neighbours keep theirs; nothing goes by position."""
    first = pd.DataFrame({"review": ["a", "b", "c"]}).llm.complete(PROMPT, model=ECHO)
    first.loc[1, "review"] = "B"

    second = first.llm.complete(PROMPT, model=ECHO)

    assert ["<a>", "<B>", "<c>"] == values(second["completion"])
    assert 4 == bill.requests


def test_runs_with_names_of_their_own_stand_side_by_side(bill):
    """Another `into`, another pair of columns."""
    made = REVIEWS.llm.complete(PROMPT, model=ECHO, into="a").llm.complete("{{ a }}!", model=ECHO, into="b")

    assert ["review", "a", "a_error", "b", "b_error"] == list(made.columns)
    assert ["<good>!", None, "<bad>!", "<good>!"] == values(made["b"])


def test_conversation_is_sent_in_its_order(bill):
    """A list of roles and templates is one conversation a row; the system message goes first."""
    messages = [
        {"role": "user", "content": "Say yes."},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": PROMPT},
    ]

    plan = REVIEWS.llm.plan(messages, model=ECHO, system="Be {{ review }}.")
    made = REVIEWS.llm.complete(messages, model=ECHO, system="Be {{ review }}.")

    expected = [("system", "Be good."), ("user", "Say yes."), ("assistant", "yes"), ("user", "<good>")]
    assert expected == [(message.role, message.content) for message in plan.previews[0]]
    assert ["<good>", None, "<bad>", "<good>"] == values(made["completion"])


def test_prompt_comes_from_a_file(bill, tmp_path):
    """A path stands for the text in it."""
    path = tmp_path / "prompt.j2"
    path.write_text("[{{ review }}]", "utf-8")

    assert "[good]" == REVIEWS.llm.complete(path, model=ECHO)["completion"].iloc[0]
    assert "[good]" == REVIEWS.llm.complete(str(path), model=ECHO)["completion"].iloc[0]


CHANGES: dict[str, Any] = {
    "model": "simulator/large",
    "system": "Be brief.",
    "schema": ["good", "bad"],
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 500,
    "stop": "END",
    "seed": 1,
    "reasoning": "low",
    "extra": {"user_tag": "x"},
}


@pytest.mark.parametrize("option", CHANGES)
def test_option_that_decides_the_answer_asks_anew(bill, option):
    """Answers are never shared between models, instructions, schemas or parameters; each keeps its own."""
    frame = REVIEWS.head(1)
    options = {"model": SMALL}
    first = frame.llm.complete(PROMPT, **options)

    frame.llm.complete(PROMPT, **{**options, option: CHANGES[option]})
    again = frame.llm.complete(PROMPT, **options)

    assert 2 == bill.requests == bill.distinct
    pd.testing.assert_frame_equal(first, again)


def test_the_same_words_in_another_role_ask_anew(bill):
    """What the system says is not what the user says."""
    frame = REVIEWS.head(1)

    for messages in ([("user", "a"), ("user", "b")], [("assistant", "a"), ("user", "b")], [("user", "a b")]):
        frame.llm.complete([{"role": role, "content": text} for role, text in messages], model=ECHO)

    assert 3 == bill.requests


@pytest.mark.parametrize(
    "options",
    [
        {"into": "other"},
        {"details": True},
        {"tag": "t"},
        {"timeout": 5},
        {"limits": dfllm.Limits(concurrency=1)},
        {"on_error": "stop"},
        {"overwrite": True},
        {"missing": "render"},
        {"cache": "retry"},
        {"cache": "only"},
        {"progress": False},
        {"model": "simulator:echo"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_option_that_decides_no_answer_asks_nothing(bill, options):
    """How answers are got is not part of the question."""
    frame = REVIEWS.head(1)
    frame.llm.complete(PROMPT, model=ECHO)

    frame.llm.complete(PROMPT, **{"model": ECHO, **options})

    assert 1 == bill.requests


def test_answers_are_not_shared_between_servers(simulator):
    """Two endpoints with a model of the same name are two; the simulator is one, wherever it listens."""
    one, other = simulator(), simulator()
    dfllm.register_provider("one", base_url=one.base_url)
    dfllm.register_provider("other", base_url=other.base_url)

    for model in ("one/echo", "other/echo", "simulator/echo", "one/echo"):
        REVIEWS.head(1).llm.complete(PROMPT, model=model)
    moved = simulator()
    REVIEWS.head(1).llm.complete(PROMPT, model=ECHO)

    assert (1, 2, 0) == (one.bill.requests, other.bill.requests, moved.bill.requests)


# Missing values.


def test_missing_value_is_skipped_where_it_is_printed(bill):
    """A template that tests for it decides for itself; the word nan is never sent."""
    frame = pd.DataFrame({"a": [1.0, None], "b": ["x", None]})

    made = frame.llm.complete("{% if a %}{{ a }}{% else %}none{% endif %} {{ b | default('-') }}", model=ECHO)

    assert ["1.0 x", "none -"] == values(made["completion"])


def test_missing_value_can_be_rendered_as_nothing(bill):
    """missing="render" leaves a gap."""
    frame = pd.DataFrame({"a": [1.0, None], "b": pd.Series(["x", pd.NA], dtype="string"), "c": [None, pd.NaT]})

    made = frame.llm.complete("[{{ a }}|{{ b }}|{{ c }}]", model=ECHO, missing="render")

    assert ["[1.0|x|]", "[||]"] == values(made["completion"])


def test_missing_value_can_refuse_the_call(bill):
    """missing="raise" wants whole rows, and is content with them."""
    with pytest.raises(dfllm.TemplateError, match="Row 1"):
        REVIEWS.llm.complete(PROMPT, model=ECHO, missing="raise")
    assert 0 == bill.requests

    made = REVIEWS.dropna().llm.complete(PROMPT, model=ECHO, missing="raise")

    assert ["<good>", "<bad>", "<good>"] == values(made["completion"])


def test_missing_value_within_a_cell_is_valid_json(bill):
    """NaN is no JSON; null is."""
    frame = pd.DataFrame({"a": [{"x": [1, float("nan"), None]}]})

    made = frame.llm.complete("{{ a | tojson }}", model=ECHO)

    assert '{"x": [1, null, null]}' == made["completion"][0]


# The store's part.


@pytest.fixture
def refusing(simulator: Callable[..., Simulator]) -> Simulator:
    """Start a simulator that refuses one review, which is paid for, and fails another, which is free."""
    return simulator(faults=Faults(by_text={"refuse": "refusal", "fail": "xsr_false"}))


MIXED = pd.DataFrame({"review": ["fine", "refuse", "fail"]})


def test_paid_failure_is_remembered_and_a_free_one_is_not(refusing):
    """A refusal was paid for and stands; what cost nothing is asked again. Neither is ever an answer."""
    with pytest.warns(dfllm.RowsFailedWarning, match="^2 of 3"):
        first = MIXED.llm.complete(PROMPT, model=ECHO)
    refusing.faults = Faults()

    with pytest.warns(dfllm.RowsFailedWarning, match="^1 of 3"):
        second = MIXED.llm.complete(PROMPT, model=ECHO)

    assert ["<fine>", None, None] == values(first["completion"])
    assert ["<fine>", None, "<fail>"] == values(second["completion"])
    assert "Refused: I'm sorry, but I can't help with that. (paid)" == second["completion_error"][1]
    assert (4, 3) == (refusing.bill.requests, refusing.bill.billed)


def test_retry_asks_again_where_an_error_is_stored(refusing):
    """cache="retry" pays for what failed, once, and for nothing else."""
    with pytest.warns(dfllm.RowsFailedWarning):
        MIXED.llm.complete(PROMPT, model=ECHO)
    refusing.faults = Faults()

    made = MIXED.llm.complete(PROMPT, model=ECHO, cache="retry")
    after = MIXED.llm.complete(PROMPT, model=ECHO)

    assert ["<fine>", "<refuse>", "<fail>"] == values(made["completion"]) == values(after["completion"])
    assert 5 == refusing.bill.requests


def test_only_what_is_known_is_given_on_demand(bill):
    """cache="only" sends nothing; what is not in the store says so."""
    REVIEWS.head(1).llm.complete(PROMPT, model=ECHO)

    with pytest.warns(dfllm.RowsFailedWarning, match=r"^1 of 4 rows have no answer \(NotSent 1\)"):
        made = REVIEWS.llm.complete(PROMPT, model=ECHO, cache="only")

    assert ["<good>", None, None, "<good>"] == values(made["completion"])
    assert "NotSent: not in the store, and cache='only'" == made["completion_error"].iloc[2]
    assert 1 == bill.requests


def test_answer_that_is_no_answer_fails_its_row_alone(simulator):
    """Choices that are null, empty or prose where JSON was due: a failure each, the rest of the frame as usual."""
    faults = {"null": "nochoices", "empty": "empty", "prose": "prose", "shape": "badshape", "fence": "fenced"}
    simulator(faults=Faults(by_text=faults))
    frame = pd.DataFrame({"review": ["fine", *faults]})

    with dfllm.options(repair_attempts=0), pytest.warns(dfllm.RowsFailedWarning, match="^4 of 6"):
        made = frame.llm.complete(PROMPT, model=SMALL, schema={"mood": ["good", "bad"]}, details=True)

    kinds = [error and error.split(":")[0] for error in values(made["completion_error"])]
    assert [None, "EmptyResponse", "EmptyResponse", "InvalidOutput", "InvalidOutput", None] == kinds
    assert [True, False, False, False, False, True] == made["completion_mood"].notna().tolist()


def test_another_schema_reads_a_paid_answer_anew(bill):
    """What was said is stored, not what was made of it: a stricter check of the same question is free."""
    import pydantic

    class Score(pydantic.BaseModel):
        n: int

    class Strict(Score):
        @pydantic.field_validator("n")
        @classmethod
        def never(cls, value: int) -> int:
            raise ValueError("too small")

    Strict.__name__ = Strict.__qualname__ = "Score"
    Strict.model_config["title"] = "Score"
    frame = REVIEWS.head(1)
    first = frame.llm.complete(PROMPT, model=SMALL, schema=Score)

    with pytest.warns(dfllm.RowsFailedWarning, match="InvalidOutput 1"):
        second = frame.llm.complete(PROMPT, model=SMALL, schema=Strict)

    assert (True, True) == (first["completion_n"].notna().all(), second["completion_n"].isna().all())
    assert "$.n: Value error, too small" in second["completion_error"].iloc[0]
    assert 1 == bill.requests


# Failed rows.


def test_failed_rows_give_one_warning_with_the_counts(simulator):
    """One a run, however many rows and causes; it names the column and points at the call."""
    simulator(faults=Faults(by_text={"refuse": "refusal", "filter": "filter"}))
    frame = pd.DataFrame({"review": ["refuse 1", "refuse 2", "filter", "fine", None]})

    with pytest.warns(dfllm.RowsFailedWarning) as warned:
        frame.llm.complete(PROMPT, model=ECHO)

    assert ["3 of 5 rows have no answer (Refused 2, ContentFiltered 1); see 'completion_error'."] == [
        str(one.message) for one in warned
    ]
    assert "frame.llm.complete(PROMPT, model=ECHO)" == called_at(warned[0])


def awaited(frame: pd.DataFrame) -> None:
    """Await a call in a coroutine."""

    async def main() -> None:
        await frame.llm.acomplete(PROMPT, model=ECHO)  # here

    asyncio.run(main())


def in_a_loop(frame: pd.DataFrame) -> None:
    """Go through the iterator."""
    for _ in frame.llm.iter_completions(PROMPT, model=ECHO):  # here
        pass


def in_an_async_loop(frame: pd.DataFrame) -> None:
    """Go through the async iterator."""

    async def main() -> None:
        async for _ in frame.llm.aiter_completions(PROMPT, model=ECHO):  # here
            pass

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda frame: frame.llm.complete(PROMPT, model=ECHO),  # here
        lambda frame: frame["review"].llm.complete("<{{ value }}>", model=ECHO),  # here
        lambda frame: dfllm.llm(frame).complete(PROMPT, model=ECHO),  # here
        lambda frame: frame.llm.plan(PROMPT, model=ECHO).run(),  # here
        lambda frame: asyncio.run(frame.llm.acomplete(PROMPT, model=ECHO)),  # here
        awaited,
        in_a_loop,
        in_an_async_loop,
    ],
    ids=["frame", "series", "llm", "plan", "asyncio.run", "awaited", "iterator", "async iterator"],
)
def test_warning_points_at_the_line_that_called(refusing, call):
    """Through whichever door: a warning that names our own file helps nobody."""
    with pytest.warns(dfllm.RowsFailedWarning) as warned:
        call(MIXED)

    assert ["here"] == [called_at(one).partition("# ")[2] for one in warned]


def test_errors_can_be_raised_when_all_is_done(refusing):
    """on_error="raise" asks every row first; the exception has the frame, and there is no warning."""
    with pytest.raises(dfllm.RowsFailed, match=r"^2 of 3 rows have no answer \(Refused 1, ServerError 1\)") as caught:
        MIXED.llm.complete(PROMPT, model=ECHO, on_error="raise")

    assert ["<fine>", None, None] == values(caught.value.frame["completion"])
    assert 3 == refusing.bill.requests


def test_first_error_can_stop_the_run(refusing):
    """on_error="stop" sends nothing after a failed row; what is not sent says why, and is asked next time."""
    frame = pd.DataFrame({"review": ["fine", "refuse", *map(str, range(20))]})

    with pytest.raises(dfllm.RowsFailed, match="stopped early") as caught:
        frame.llm.complete(PROMPT, model=ECHO, on_error="stop", limits=dfllm.Limits(concurrency=1))

    errors = values(caught.value.frame["completion_error"])
    assert (None, "Refused") == (errors[0], errors[1].split(":")[0])
    assert {"NotSent: a row failed and on_error='stop'"} == set(errors[2:])
    assert 2 == refusing.bill.requests


def test_call_that_is_stopped_before_any_answer_raises(simulator):
    """A dead key is an exception, with what is known in its frame."""
    server = simulator()
    MIXED.head(1).llm.complete(PROMPT, model=ECHO)
    server.faults = Faults(rates={"401": 1.0})

    with pytest.raises(dfllm.AuthFailed, match=r"1 rows were known, see \.frame") as caught:
        MIXED.llm.complete(PROMPT, model=ECHO, limits=dfllm.Limits(concurrency=1))

    assert ["<fine>", None, None] == values(caught.value.frame["completion"])
    assert 2 == server.bill.requests


def test_call_that_is_stopped_later_returns_its_frame(simulator):
    """What was answered before is not thrown away with the key: one warning, and the rest is asked next time."""
    bill = simulator(faults=Faults(by_text={"refuse": "quota"})).bill

    with pytest.warns(dfllm.RowsFailedWarning, match="The run was stopped early: QuotaExhausted: .* Run again"):
        made = MIXED.llm.complete(PROMPT, model=ECHO, limits=dfllm.Limits(concurrency=1))

    assert ["<fine>", None, None] == values(made["completion"])
    assert ["QuotaExhausted", "NotSent"] == [error.split(":")[0] for error in made["completion_error"][1:]]
    assert 2 == bill.requests


def test_error_that_is_known_stops_the_run_too(refusing):
    """Nothing is sent behind an error that the store has."""
    with pytest.warns(dfllm.RowsFailedWarning):
        MIXED.head(2).llm.complete(PROMPT, model=ECHO)

    with pytest.raises(dfllm.RowsFailed):
        MIXED.llm.complete(PROMPT, model=ECHO, on_error="stop")

    assert 2 == refusing.bill.requests


@pytest.mark.parametrize("on_error", ["keep", "raise", "stop"])
def test_skipped_rows_are_no_failures(bill, on_error):
    """A missing value is nobody's fault: no warning, no exception, no stop."""
    made = REVIEWS.llm.complete(PROMPT, model=ECHO, on_error=on_error)

    assert ["<good>", None, "<bad>", "<good>"] == values(made["completion"])


def test_answer_that_takes_too_long_fails_its_row(simulator):
    """`timeout` is for one answer."""
    simulator(faults=Faults(by_text={"slow": "stall"}, stall_seconds=20))
    frame = pd.DataFrame({"review": ["fine", "slow"]})
    dfllm.configure(resend_ambiguous=0)

    with pytest.warns(dfllm.RowsFailedWarning, match="Timeout 1"):
        made = frame.llm.complete(PROMPT, model=ECHO, timeout=1)

    assert ["<fine>", None] == values(made["completion"])


def test_limits_bound_what_is_in_flight(simulator):
    """No more requests at once than the call allows."""
    bill = simulator(latency_seconds=0.01).bill
    frame = pd.DataFrame({"review": list(map(str, range(30)))})

    frame.llm.complete(PROMPT, model=ECHO, limits=dfllm.Limits(concurrency=3))

    assert (3, 30) == (bill.most_in_flight, bill.requests)


# Settings and the record.


def test_model_comes_from_wherever_it_is_named(bill, monkeypatch):
    """Argument before `options` before `configure` before the environment."""
    frame = REVIEWS.head(1)

    def served(**options: Any) -> str:
        return frame.llm.complete(PROMPT, details=True, **options)["completion_model"].iloc[0]

    monkeypatch.setenv("DFLLM_MODEL", "simulator/echo")
    from_environment = served()
    dfllm.configure(model="simulator/small")
    from_configure = served()
    with dfllm.options(model="simulator/large"):
        from_options, from_argument = served(), served(model="simulator/echo")

    assert ["echo", "small", "large", "echo"] == [from_environment, from_configure, from_options, from_argument]
    assert "small" == served()


def test_tag_is_in_the_record(bill):
    """A word of the user's for the call."""
    REVIEWS.llm.complete(PROMPT, model=ECHO, tag="nightly")

    assert "nightly" == dfllm.last_run().to_dict()["tag"]


# The plan.


def test_plan_counts_and_sends_nothing(bill):
    """What is known, missing, skipped and cannot be sent, and the first prompts; nothing is stored either."""
    REVIEWS.head(1).llm.complete(PROMPT, model=ECHO)
    frame = pd.DataFrame({"review": ["good", "good", "bad", None, b"x", "ugly", "new"]})

    plan = frame.llm.plan(PROMPT, model=ECHO)

    assert (7, 4, 1, 3, 1, 1) == (plan.rows, plan.distinct, plan.known, plan.missing, plan.skipped, plan.failed)
    assert ["<good>", "<good>", "<bad>"] == [messages[0].content for messages in plan.previews]
    assert ((4, "BadInput: bytes cannot be sent in column 'review'"),) == plan.problems
    assert plan == frame.llm.plan(PROMPT, model=ECHO)
    assert 1 == bill.requests


def test_plan_takes_a_store_that_is_named_from_here(bill, tmp_path, monkeypatch):
    """A relative path is as good as a whole one."""
    monkeypatch.chdir(tmp_path)

    with dfllm.options(store="answers.db"):
        plan = REVIEWS.llm.plan(PROMPT, model=ECHO)

    assert 0 == plan.pending
    assert plan.missing > 0


def test_plan_is_carried_out_as_the_call_would_be(bill):
    """Its run() gives the frame, and pays what the plan said."""
    plan = REVIEWS.llm.plan(PROMPT, model=ECHO, into="x")

    made = plan.run()

    assert ["<good>", None, "<bad>", "<good>"] == values(made["x"])
    assert plan.missing == bill.requests


def test_plan_can_be_awaited(bill):
    """The twin gives the same."""
    assert REVIEWS.llm.plan(PROMPT, model=ECHO) == asyncio.run(REVIEWS.llm.aplan(PROMPT, model=ECHO))


# Series.


def test_series_gives_a_frame_of_the_new_columns(bill):
    """Under its own index, in its own order; its name plays no part."""
    made = REVIEWS["review"].llm.complete("<{{ value }}>", model=ECHO)

    assert ["completion", "completion_error"] == list(made.columns)
    assert ["<good>", None, "<bad>", "<good>"] == values(made["completion"])
    assert [4, 4, 2, 9] == made.index.tolist()


def test_series_has_the_frames_doors(bill):
    """Plan, iterator and async twin ask the same questions."""
    series = REVIEWS["review"].rename(("any", "label"))
    options = {"model": ECHO, "into": "x"}

    made = asyncio.run(series.llm.acomplete("<{{ value }}>", **options))
    plan = series.llm.plan("<{{ value }}>", **options)
    rows = list(series.llm.iter_completions("<{{ value }}>", **options))

    assert ["x", "x_error"] == list(made.columns)
    assert (2, 2) == (plan.known, bill.requests)
    assert values(made["x"]) == [row.value for row in rows]


def test_series_shares_its_answers_with_frames(bill):
    """The question is what counts, not the door."""
    REVIEWS["review"].llm.complete("<{{ value }}>", model=ECHO)
    REVIEWS.llm.complete(PROMPT, model=ECHO)

    assert 2 == bill.requests


# Event loops, threads and Ctrl-C.


def test_awaited_call_is_the_call(bill):
    """The same frame comes back."""
    made = asyncio.run(REVIEWS.llm.acomplete(PROMPT, model=ECHO))

    pd.testing.assert_frame_equal(REVIEWS.llm.complete(PROMPT, model=ECHO), made)
    assert 2 == bill.requests


def test_call_works_inside_a_running_loop(bill):
    """As in Jupyter, whose cells run in one: there is a loop of our own, and no need to patch anybody's."""

    async def cell() -> pd.DataFrame:
        return REVIEWS.llm.complete(PROMPT, model=ECHO)

    assert ["<good>", None, "<bad>", "<good>"] == values(asyncio.run(cell())["completion"])


def test_awaited_call_leaves_the_loop_free(simulator):
    """Others go on while it waits."""
    simulator(latency_seconds=0.2)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await REVIEWS.llm.acomplete(PROMPT, model=ECHO)
        ticking.cancel()

    asyncio.run(main())

    assert ticks > 5


def test_calls_at_once_on_one_loop_pay_once(simulator):
    """Two runs of the same questions share them."""
    bill = simulator(latency_seconds=0.02).bill
    frame = pd.DataFrame({"review": list(map(str, range(20)))})

    async def main() -> list[pd.DataFrame]:
        return await asyncio.gather(*(frame.llm.acomplete(PROMPT, model=ECHO) for _ in range(3)))

    made = asyncio.run(main())

    assert 20 == bill.requests
    assert [[f"<{n}>" for n in range(20)]] * 3 == [values(one["completion"]) for one in made]


def test_calls_in_many_threads_pay_once(simulator):
    """Threads share a loop, a store and every question."""
    bill = simulator(latency_seconds=0.02).bill
    frame = pd.DataFrame({"review": list(map(str, range(20)))})

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: frame.llm.complete(PROMPT, model=ECHO), range(8)))

    assert 20 == bill.requests
    assert [[f"<{n}>" for n in range(20)]] * 8 == [values(one["completion"]) for one in made]


MANY = pd.DataFrame({"review": list(map(str, range(60)))})
FEW = dfllm.Limits(concurrency=4)


def check_resumed(bill: Bill) -> None:
    """Check a run that was broken off while requests were in flight, and carry it on to its end."""
    run = dfllm.last_run()
    facts = run.to_dict()
    assert ("interrupted", 60) == (facts["state"], facts["rows"])
    assert 0 < bill.requests < 60
    assert bill.requests == facts["ok"] == run.frame["completion"].notna().sum()
    assert {"Cancelled: interrupted; run again to go on"} == set(run.frame["completion_error"].dropna())

    made = MANY.llm.complete(PROMPT, model=ECHO)

    assert [f"<{n}>" for n in range(60)] == values(made["completion"])
    assert 60 == bill.requests


def test_cancelled_call_keeps_what_was_in_flight(simulator):
    """Nothing more is sent, what is under way arrives and is stored, and the next run pays for the rest alone."""
    bill = simulator(latency_seconds=0.05).bill

    async def main() -> None:
        call = asyncio.create_task(MANY.llm.acomplete(PROMPT, model=ECHO, limits=FEW))
        await asyncio.to_thread(until, lambda: bill.in_flight >= 4)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())

    check_resumed(bill)


def test_call_that_times_out_is_cancelled(simulator):
    """The loop's own timeout ends it the same way."""
    bill = simulator(latency_seconds=0.05).bill

    async def expire(limit: asyncio.Timeout) -> None:
        await asyncio.to_thread(until, lambda: bill.in_flight >= 4)
        limit.reschedule(asyncio.get_running_loop().time())

    async def main() -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            group.create_task(expire(limit))
            await MANY.llm.acomplete(PROMPT, model=ECHO, limits=FEW)

    with pytest.raises(TimeoutError):
        asyncio.run(main())

    check_resumed(bill)


@pytest.fixture
def listening() -> Iterator[None]:
    """Hear Ctrl-C, also where a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(bill: Bill) -> threading.Thread:
    """Press Ctrl-C once requests are in flight."""

    def press() -> None:
        until(lambda: bill.in_flight >= 4)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


@pytest.mark.usefixtures("listening")
def test_interrupted_call_keeps_what_was_in_flight(simulator):
    """Ctrl-C says how much is saved, and to run again."""
    bill = simulator(latency_seconds=0.05).bill
    presser = interrupting(bill)

    with pytest.raises(KeyboardInterrupt) as caught:
        MANY.llm.complete(PROMPT, model=ECHO, limits=FEW)

    presser.join()
    assert re.match(r"\d+ of 60 rows are done and saved; run again to go on", str(caught.value))
    assert str(dfllm.last_run().to_dict()["ok"]) == str(caught.value).split()[0]
    check_resumed(bill)


# The accessors themselves.


@pytest.mark.parametrize("door", DOORS)
def test_doors_have_the_signature_they_take(door):
    """Help and tab completion show each option, though most doors pass them on."""
    whole = inspect.signature(DataFrameLLM.complete).parameters

    assert whole == inspect.signature(getattr(DataFrameLLM, door)).parameters
    assert {"model", "into", "schema", "cache", "progress"} <= set(whole)


@pytest.mark.parametrize("door", ["complete", "acomplete", "plan", "iter_completions"])
def test_doors_of_series_have_the_signature_of_frames(door):
    """A series takes the same options."""
    assert inspect.signature(DataFrameLLM.complete).parameters == inspect.signature(getattr(SeriesLLM, door)).parameters


def test_llm_gives_the_accessor_with_its_type():
    """The function is the attribute, for those who check types."""
    assert (DataFrameLLM, SeriesLLM) == (type(dfllm.llm(REVIEWS)), type(dfllm.llm(REVIEWS["review"])))
    assert (DataFrameLLM, SeriesLLM) == (type(REVIEWS.llm), type(REVIEWS["review"].llm))


def test_accessor_is_for_frames():
    """An accessor that does not fit raises AttributeError, as hasattr expects."""
    with pytest.raises(AttributeError, match="found list"):
        DataFrameLLM([1])


def test_column_of_the_accessors_name_is_still_there(bill):
    """`df.llm` is the accessor, `df["llm"]` the column, which a template reads like any other."""
    frame = pd.DataFrame({"llm": ["a"]})

    assert ["a"] == values(frame.llm.complete("{{ llm }}", model=ECHO)["completion"])


def test_registering_again_is_silent():
    """A module that is loaded anew takes its own place; warnings are errors here."""
    register()

    assert pd.DataFrame.llm is DataFrameLLM


def test_foreign_accessor_is_replaced_with_a_warning(monkeypatch):
    """It is named, so that its owner can be imported later."""
    foreign = type("Foreign", (), {"__module__": "pandas_llm.accessor", "__init__": lambda self, frame: None})
    monkeypatch.setattr(pd.DataFrame, "llm", foreign)

    with pytest.warns(dfllm.AccessorWarning, match="DataFrame.llm belonged to pandas_llm.accessor") as warned:
        register()

    assert 1 == len(warned)
    assert pd.DataFrame.llm is DataFrameLLM
