"""Tools from a frame to its columns: what the model asks to be called is told, kept, and never done."""

import asyncio
import json
import warnings

import jsonschema
import pandas as pd
import pytest
from click.testing import CliRunner

import dfllm
from dfllm._core.keys import keyer, text_of
from dfllm._work import Work
from dfllm.cli import main
from dfllm.simulator import Faults

MODEL = "simulator/small"
PROMPT = "What is the weather in {{ city }}?"
LOOK = {
    "name": "look_up",
    "description": "Look something up.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
done = []


def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Args:
        city: where.
        days: how far ahead.
    """
    done.append(city)
    return "sunny"


@pytest.fixture
def frame():
    """Return a frame of three cities."""
    return pd.DataFrame({"city": ["Oslo", "Lima", "Quito"]})


@pytest.fixture(autouse=True)
def nothing_is_done():
    """See to it that no test here has called the tool."""
    yield
    assert [] == done


def key(frame, prompt=PROMPT, **options):
    """Return the key of the first row's question."""
    work = Work(frame, prompt, {"model": MODEL, **options}, sends=False)
    return keyer(work.order.terms)(())


def test_calls_have_a_column_of_their_own(frame):
    """JSON text beside the text, missing where there were none."""
    out = frame.llm.complete("{{ city }}" + ", weather?" * 2, model=MODEL, tools=[weather, LOOK])
    none = frame.llm.complete("{{ city }}?", model=MODEL, tools=[weather, LOOK])

    assert ["city", "completion", "completion_calls", "completion_error"] == list(out.columns) == list(none.columns)
    assert [True] * 3 == out["completion"].isna().tolist() == none["completion_calls"].isna().tolist()
    assert [["weather"] * 2] * 3 == [[call["name"] for call in json.loads(calls)] for calls in out["completion_calls"]]
    assert out["completion_error"].isna().all()
    assert none["completion"].notna().all()
    assert pd.Series([], dtype="str").dtype == out["completion_calls"].dtype


def test_arguments_fit_the_tool(frame):
    """So that whoever calls the function can pass them on."""
    out = frame.llm.complete(PROMPT, model=MODEL, tools=[weather, LOOK])

    for city, calls in zip(out["city"], out["completion_calls"], strict=True):
        (call,) = json.loads(calls)
        assert {"city", "days"} == set(call["arguments"])
        assert city == call["arguments"]["city"]
        assert isinstance(call["arguments"]["days"], int)


def test_known_calls_are_read_from_the_store(simulator, frame):
    """A second call asks nobody, and has the same columns."""
    started = simulator()

    first, second = (frame.llm.complete(PROMPT, model=MODEL, tools=[weather]) for _ in range(2))

    assert 3 == started.bill.requests
    pd.testing.assert_frame_equal(first, second)
    assert 3 == dfllm.last_run().to_dict()["known"]


def test_a_run_replaces_its_own_columns(frame):
    """The cell can be run again on its own result."""
    once = frame.llm.complete(PROMPT, model=MODEL, tools=[weather])

    again = once.llm.complete(PROMPT, model=MODEL, tools=[weather])

    pd.testing.assert_frame_equal(once, again)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (["completion_calls"], {}, "already has 'completion_calls'"),
        ([], {"schema": {"calls": int}}, "would make the column 'completion_calls'"),
        (["x_calls"], {"into": "x", "overwrite": False}, "already has 'x_calls'"),
        ([], {"tool_choice": "wether"}, "Did you mean 'weather'"),
        ([], {"tools": []}, "at least one"),
        ([], {"tools": None, "tool_choice": "auto"}, "there are none"),
        ([], {"tools": [lambda city: city]}, "lambda"),
        ([], {"extra": {"tools": []}}, "extra must not set tools"),
        ([], {"model": "embedders/x"}, "embedders takes no tools"),
        ([], {"tools": [{**LOOK, "description": "\ud83d"}]}, "tools holds a lone surrogate"),
    ],
)
def test_what_does_not_fit_is_refused(simulator, monkeypatch, frame, columns, options, said):
    """Before anything is sent."""
    from dataclasses import replace

    from dfllm._run import settings

    started = simulator()
    no_tools = replace(settings.PROVIDERS["ollama"], name="embedders", takes_tools=False)
    monkeypatch.setitem(settings.PROVIDERS, "embedders", no_tools)

    with pytest.raises(dfllm.OptionError, match=said):
        frame.assign(**dict.fromkeys(columns, "mine")).llm.complete(
            PROMPT, **{"model": MODEL, "tools": [weather], **options}
        )
    assert 0 == started.bill.requests


def test_a_prompt_that_reads_the_calls_is_refused(frame):
    """What it reads would be overwritten."""
    with pytest.raises(dfllm.OptionError, match="reads 'completion_calls'"):
        frame.assign(completion_calls="x").llm.complete("{{ completion_calls }}", model=MODEL, tools=[weather])


def test_tools_are_part_of_the_question(frame):
    """Their names, words, arguments and order, and what is to be called; without them no key changes."""
    other = {**LOOK, "description": "Find it."}
    keys = [
        key(frame),
        key(frame, tools=[LOOK]),
        key(frame, tools=[other]),
        key(frame, tools=[weather]),
        key(frame, tools=[weather, LOOK]),
        key(frame, tools=[LOOK, weather]),
        *(key(frame, tools=[LOOK], tool_choice=choice) for choice in ("auto", "required", "none", "look_up")),
    ]

    assert len(keys) == len(set(keys))
    assert keys[0] == key(frame, tools=None, tool_choice=None)
    assert keys[1] == key(frame, tools=[{"type": "function", "function": LOOK}])


def test_the_key_of_a_question_with_tools_is_the_same_for_ever(frame):
    """Released keys never change: this one stands in people's stores."""
    assert "k12df24ce19e334556bc3a292feee20ebbdf1eabfc" == text_of(key(frame, tools=[LOOK], tool_choice="required"))


def test_a_schema_holds_for_what_is_said(frame):
    """A call instead of it is an answer too, in columns of the same kinds."""
    schema = {"mood": ["good", "bad"], "stars": int}

    said, called = (
        frame.llm.complete(prompt, model=MODEL, tools=[weather], schema=schema) for prompt in ("{{ city }}?", PROMPT)
    )

    assert (said.dtypes == called.dtypes).all()
    assert ["completion_mood", "completion_stars", "completion_calls", "completion_error"] == list(said.columns[1:])
    assert [(3, 3, 0, 0), (0, 0, 3, 0)] == [tuple(out.count()[1:]) for out in (said, called)]


def test_broken_arguments_are_kept_and_not_asked_again(simulator, frame):
    """The row says what is wrong; neither a second run nor mending pays for it once more."""
    started = simulator(faults=Faults(by_text={"Lima": "badargs"}))

    for _ in range(2):
        with pytest.warns(dfllm.RowsFailedWarning):
            out = frame.llm.complete(PROMPT, model=MODEL, tools=[weather], schema={"mood": str})

    assert "InvalidOutput: the arguments of a call: not JSON (paid)" == out["completion_error"][1]
    assert [True, False, True] == out["completion_calls"].notna().tolist()
    assert 3 == started.bill.requests


def test_a_call_without_tools_is_none(simulator, frame):
    """Nobody offered any."""
    simulator(faults=Faults(by_text={"Lima": "fncall"}))

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete(PROMPT, model=MODEL)

    assert "InvalidOutput: function call (paid)" == out["completion_error"][1]


def test_no_function_is_ever_called(frame):
    """Neither by what a model says nor by a run, a plan, a known answer, an iterator or a report."""
    called = []

    def weather(city: str) -> str:
        """Tell the weather."""
        called.append(city)
        return "sunny"

    for _ in range(2):
        out = frame.llm.complete(PROMPT, model=MODEL, tools=[weather], tool_choice="weather")
    frame.llm.plan(PROMPT, model=MODEL, tools=[weather])
    list(frame.llm.iter_completions(PROMPT, model=MODEL, tools=[weather]))
    dfllm.last_run()._repr_html_()

    assert out["completion_calls"].notna().all()
    assert [] == called


def test_rows_come_with_their_calls(frame):
    """From the iterators too, sync and async."""

    async def listed():
        return [one async for one in frame.llm.aiter_completions(PROMPT, model=MODEL, tools=[weather])]

    for rows in (list(frame.llm.iter_completions(PROMPT, model=MODEL, tools=[weather])), asyncio.run(listed())):
        assert [(None, "weather")] * 3 == [(one.value, json.loads(one.calls)[0]["name"]) for one in rows]

    (plain, *_) = frame.llm.iter_completions(PROMPT, model=MODEL)
    assert None is plain.calls


def test_the_twins_and_series_take_tools(frame):
    """Every door has the option."""
    out = asyncio.run(frame.llm.acomplete(PROMPT, model=MODEL, tools=[weather]))
    series = frame["city"].llm.complete("weather {{ value }}", model=MODEL, tools=[weather])

    assert out["completion_calls"].notna().all()
    assert ["completion", "completion_calls", "completion_error"] == list(series.columns)


def test_a_plan_counts_the_tools(frame):
    """They are read with every prompt."""
    less, more = (frame.llm.plan(PROMPT, model=MODEL, tools=tools).tokens_in for tools in ([LOOK], [LOOK, weather]))

    assert less.likely < more.likely
    assert less.high < more.high


def test_a_budget_reserves_what_providers_say_of_tools(frame):
    """A thousand tokens a request, since they explain tools to the model in words that no body shows."""
    dfllm.configure(prices={MODEL: {"input": 1.0, "output": 4.0}}, resend_ambiguous=0)
    same = json.loads(Work(frame, PROMPT, {"model": MODEL, "tools": [LOOK]}, sends=False).order.terms.tools)

    plain, reserved = (
        frame.llm.plan(PROMPT, model=MODEL, max_tokens=50, **tools).cost.high
        for tools in ({"extra": {"tools": same}}, {"tools": [LOOK]})
    )

    assert 3 * 1_000 <= (reserved - plain) / 1_000


def test_a_schema_may_be_asked_for_by_a_tool(simulator, frame):
    """Where an Anthropic model or gateway has no structured output: the same columns, and other questions."""
    started = simulator(key="sk-right")
    root = started.base_url.removesuffix("/v1")
    schema = {"mood": ["good", "bad"], "stars": int, "topic": str | None}
    frames, keys = [], []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAB_KEY", "sk-right")
        for by_tool in (False, True):
            dfllm.register_provider(
                "lab", base_url=root, dialect="anthropic", api_key_env="LAB_KEY", schema_by_tool=by_tool
            )
            options = {"model": "lab/small", "schema": schema}
            frames.append(frame.llm.complete("Rate {{ city }}.", **options))
            keys.append(keyer(Work(frame, "{{ city }}", options).order.terms)(()))
            with warnings.catch_warnings(action="error"):
                frame.llm.complete("Rate {{ city }}.", **options, cache="only")  # which reads them from the store

    native, by_tool = frames
    assert (native.dtypes == by_tool.dtypes).all()
    assert (native.count() == by_tool.count()).all()
    assert by_tool["completion_error"].isna().all()
    assert keys[0] != keys[1]
    assert 6 == started.bill.requests


def test_labels_may_be_asked_for_by_a_tool(simulator, frame):
    """And a text is a text: without a schema nothing is forced."""
    root = simulator().base_url.removesuffix("/v1")
    dfllm.register_provider("lab", base_url=root, dialect="anthropic", schema_by_tool=True)

    out = frame.llm.complete("{{ city }}?", model="lab/small", schema=["good", "bad"])
    text = frame.llm.complete("{{ city }}?", model="lab/small", tools=[weather])

    assert set(out["completion"]) <= {"good", "bad"}
    assert text["completion"].notna().all()


def test_an_answer_by_a_tool_that_does_not_fit_is_mended(simulator, frame):
    """As one that was said."""
    started = simulator(faults=Faults(by_text={"Lima": "prose*1"}))
    root = started.base_url.removesuffix("/v1")
    dfllm.register_provider("lab", base_url=root, dialect="anthropic", schema_by_tool=True)

    out = frame.llm.complete("{{ city }}?", model="lab/small", schema=["good", "bad"])

    assert out["completion_error"].isna().all()
    assert 4 == started.bill.requests


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dialect": "openai"}, "schema_by_tool is for the dialect 'anthropic'"),
        ({"dialect": "gemini"}, "schema_by_tool is for the dialect 'anthropic'"),
    ],
)
def test_only_anthropics_dialect_answers_by_tools(options, said):
    """The others have a place for schemas."""
    with pytest.raises(dfllm.OptionError, match=said):
        dfllm.register_provider("lab", base_url="http://127.0.0.1:9/v1", schema_by_tool=True, **options)


def test_a_schema_by_a_tool_and_tools_do_not_go_together(simulator, frame):
    """The one tool must be called."""
    root = simulator().base_url.removesuffix("/v1")
    dfllm.register_provider("lab", base_url=root, dialect="anthropic", schema_by_tool=True)

    with pytest.raises(dfllm.OptionError, match="Leave tools= or schema= out"):
        frame.llm.complete(PROMPT, model="lab/small", schema=["good", "bad"], tools=[weather])


def test_the_command_takes_tools(frame, tmp_path, monkeypatch):
    """From a file, as JSON."""
    monkeypatch.chdir(tmp_path)
    frame.to_csv("cities.csv", index=False)
    (tmp_path / "tools.json").write_text(json.dumps([LOOK]), "utf-8")
    asked = ["cities.csv", "-p", "look_up {{ city }}", "-m", MODEL, "--tools", "tools.json"]

    ended = CliRunner().invoke(main, ["run", *asked, "-o", "out.jsonl"])
    forced = CliRunner().invoke(main, ["run", *asked, "--tool-choice", "look_up", "-o", "forced.csv"])
    planned = CliRunner().invoke(main, ["plan", *asked])

    assert [0, 0, 0] == [ended.exit_code, forced.exit_code, planned.exit_code]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        (call,) = json.loads(row["completion_calls"])
        jsonschema.validate(call["arguments"], LOOK["parameters"])
    assert 3 == pd.read_csv("forced.csv")["completion_calls"].notna().sum()


@pytest.mark.parametrize(("given", "said"), [('{"name": "a"}', "a list of objects"), ("[", "no JSON")])
def test_the_command_refuses_what_are_no_tools(given, said, tmp_path):
    """Called wrongly."""
    table = tmp_path / "cities.csv"
    table.write_text("city\nOslo\n", "utf-8")

    ended = CliRunner().invoke(main, ["plan", str(table), "-p", "{{ city }}", "-m", MODEL, "--tools", given])

    assert 2 == ended.exit_code
    assert said in ended.stderr
