"""Embeddings from a frame to its vectors: packs on the wire, and yet each text has its own answer, price and fate."""

import asyncio
import inspect
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfllm
from dfllm._core.types import Response
from dfllm._embedding import EmbedOptions
from dfllm._run.prices import pricer
from dfllm.simulator import Faults, RateLimits, Simulator
from dfllm.simulator.vectors import Texts, vector_of

MODEL = "simulator/embed-small"


def frame(count, **more):
    """Return a frame of different texts."""
    return pd.DataFrame({"t": [f"text {number}" for number in range(count)], **more})


def wanted(text, dimensions=256, task=""):
    """Return the vector that the simulator has for a text."""
    return np.frombuffer(vector_of(Texts("embed-small", (), dimensions, task=task), text).tobytes(), "f4")


def same(found, texts, **more):
    """Return whether these are the texts' vectors, bit by bit."""
    return all(np.array_equal(one, wanted(text, **more)) for one, text in zip(found, texts, strict=True))


def kinds(out):
    """Return each row's type of error."""
    return [None if pd.isna(error) else error.partition(":")[0] for error in out["embedding_error"]]


def paid(started):
    """Return how often each text was billed that was."""
    return [entry.billed for entry in started.bill.entries().values() if entry.billed]


# Rows.


def test_each_row_gets_its_vector(simulator):
    """As it was received, in float32, to keep and to change; and a thousand texts are a handful of requests."""
    started = simulator()

    out = frame(1_000).llm.embed("{{ t }}", model=MODEL)

    assert same(out["embedding"], out["t"])
    assert {("float32", 1, True)} == {(str(v.dtype), v.ndim, v.flags.writeable) for v in out["embedding"]}
    assert out["embedding_error"].isna().all()
    assert (1_000, True) == (started.bill.billed, started.bill.requests <= 4)


def test_a_vector_can_be_changed_without_another():
    """Rows with equal texts have a vector each."""
    out = pd.DataFrame({"t": ["a", "a", "b"]}).llm.embed("{{ t }}", model=MODEL)

    out["embedding"][0][:] = 0

    assert same(out["embedding"][1:], ["a", "b"])


@given(
    st.lists(st.sampled_from(["a", "b", "c", "ä \U0001f600", None, " ", "x\x00"]), max_size=12),
    st.sampled_from([range, lambda count: [0] * count, lambda count: list("zyxwvutsrqpo")[:count]]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_vectors_find_their_rows(own_home, texts, index):
    """Whatever repeats, is missing or cannot be sent, and whatever the index."""
    df = pd.DataFrame({"t": pd.Series(texts, dtype=object)}).set_axis(list(index(len(texts))))

    with warnings.catch_warnings(action="ignore", category=dfllm.RowsFailedWarning):
        out = df.llm.embed("{{ t }}", model=MODEL)

    ends = {None: "Skipped", " ": "BadInput", "x\x00": "BadInput"}
    assert [ends.get(text) for text in texts] == kinds(out)
    assert [text in ends for text in texts] == [one is None for one in out["embedding"]]
    good = [(vector, text) for vector, text in zip(out["embedding"], texts, strict=True) if text not in ends]
    assert same([vector for vector, _ in good], [text for _, text in good])
    assert out.index.equals(df.index)


def test_equal_texts_are_sent_once(simulator):
    """Three hundred rows of three texts."""
    started = simulator()

    pd.DataFrame({"t": ["a", "b", "c"] * 100}).llm.embed("{{ t }}", model=MODEL)

    assert (3, 1) == (started.bill.billed, started.bill.requests)


def test_a_known_text_is_not_sent_again(simulator):
    """Nothing at all the second time, and of a longer frame only what is new."""
    started = simulator()
    frame(100).llm.embed("{{ t }}", model=MODEL)
    before = started.bill.requests

    again = frame(100).llm.embed("{{ t }}", model=MODEL)
    same_again = started.bill.requests
    longer = frame(101).llm.embed("{{ t }}", model=MODEL, details=True)

    assert (before, before + 1, 101) == (same_again, started.bill.requests, started.bill.billed)
    assert same(again["embedding"], again["t"])
    assert ["store"] * 100 + ["live"] == longer["embedding_source"].tolist()


@pytest.mark.parametrize("change", [{"dimensions": 8}, {"model": "simulator/embed-large"}, {"extra": {"user": "me"}}])
def test_another_question_is_another_vector(simulator, change):
    """What decides the vector is part of the question."""
    started = simulator()
    frame(1).llm.embed("{{ t }}", model=MODEL)

    frame(1).llm.embed("{{ t }}", **{"model": MODEL, **change})

    assert 2 == started.bill.requests


def test_dimensions_are_asked_for():
    """And come."""
    out = frame(2).llm.embed("{{ t }}", model=MODEL, dimensions=8)

    assert same(out["embedding"], out["t"], dimensions=8)


def test_details_add_up_to_the_bill(simulator):
    """Each text has its share of the tokens, and the cost of them."""
    started = simulator()
    dfllm.configure(prices={MODEL: {"input": 1.0, "output": 0.0}})

    out = frame(1_000).llm.embed("{{ t }} {{ t * 3 }}", model=MODEL, details=True)

    assert started.bill.prompt_tokens == out["embedding_tokens_in"].sum() == dfllm.last_run().to_dict()["tokens_in"]
    assert (out["embedding_tokens_in"] > 0).all()
    assert out["embedding_cost"].sum() == pytest.approx(started.bill.prompt_tokens / 1e6)
    assert {"embed-small"} == set(out["embedding_model"])
    assert out["embedding_finish"].isna().all()


def test_rows_that_are_not_sent_say_why(simulator):
    """A missing value is skipped or printed, and a prompt that may not be missing refuses the call."""
    started = simulator()
    df = pd.DataFrame({"t": ["a", None]})

    skipped = df.llm.embed("{{ t }}", model=MODEL)
    rendered = df.llm.embed("is {{ t }}", model=MODEL, missing="render", into="other")
    with pytest.raises(dfllm.TemplateError, match="Row 1"):
        df.llm.embed("{{ t }}", model=MODEL, missing="raise")

    assert [None, "Skipped"] == kinds(skipped)
    assert 2 == rendered["other"].notna().sum()
    assert 3 == started.bill.billed


def test_an_empty_frame_has_the_columns():
    """Nothing is asked."""
    out = frame(0).llm.embed("{{ t }}", model=MODEL, details=True)

    assert (0, ["t", "embedding", "embedding_error", "embedding_key"]) == (len(out), list(out.columns)[:4])
    assert "object" == str(out["embedding"].dtype)


def test_a_series_needs_no_template():
    """Its values are the texts."""
    out = pd.Series(["a", "b"], index=[7, 7]).llm.embed(model=MODEL)

    assert same(out["embedding"], ["a", "b"])
    assert ([7, 7], ["embedding", "embedding_error"]) == (out.index.tolist(), list(out.columns))


def test_the_async_twins_do_the_same():
    """From a loop of the user's own."""
    made = asyncio.run(frame(3).llm.aembed("{{ t }}", model=MODEL))
    of_series = asyncio.run(pd.Series(["a"]).llm.aembed(model=MODEL))

    assert same(made["embedding"], made["t"])
    assert same(of_series["embedding"], ["a"])


def test_vectors_go_through_parquet(tmp_path):
    """As lists of float32, and back."""
    out = pd.DataFrame({"t": ["a", None]}).llm.embed("{{ t }}", model=MODEL)

    out.to_parquet(tmp_path / "out.parquet")
    back = pd.read_parquet(tmp_path / "out.parquet")

    assert same(back["embedding"][:1], ["a"])
    assert back["embedding"][1] is None


# What goes wrong.


@pytest.mark.parametrize("place", [0, 511, 700, 999])
def test_one_bad_text_fails_alone(simulator, place):
    """A refused pack goes round again in halves: a thousand rows, and 999 vectors, each paid once."""
    started = simulator(faults=Faults(by_text={"is bad": "400"}))
    df = frame(1_000)
    df.loc[place, "t"] = "this is bad"

    with pytest.warns(dfllm.RowsFailedWarning, match="BadRequest 1"):
        out = df.llm.embed("{{ t }}", model=MODEL)

    assert [place] == [row for row, error in enumerate(kinds(out)) if error]
    assert same(out["embedding"].drop(place), df["t"].drop(place))
    assert [1] * 999 == paid(started)
    assert started.bill.requests <= 4 + 2 * 10


def test_many_bad_texts_fail_alone(simulator):
    """Also where they stand together and are all refused in the same words."""
    started = simulator(faults=Faults(by_text={"is bad": "400"}))
    df = frame(400)
    df.loc[100:150, "t"] = [f"{number} is bad" for number in range(51)]

    with pytest.warns(dfllm.RowsFailedWarning, match="BadRequest 51"):
        out = df.llm.embed("{{ t }}", model=MODEL)

    assert 349 == out["embedding"].notna().sum()
    assert [1] * 349 == paid(started)


def test_a_text_too_long_fails_alone(simulator):
    """By the provider's own count."""
    started = simulator()
    df = frame(50)
    df.loc[7, "t"] = "long " * 7_000

    with pytest.warns(dfllm.RowsFailedWarning, match="ContextTooLong 1"):
        out = df.llm.embed("{{ t }}", model=MODEL)

    assert [None] * 7 + ["ContextTooLong"] == kinds(out)[:8]
    assert 49 == started.bill.billed


def test_a_request_that_is_wrong_for_all_ends_the_call(simulator):
    """Two texts refused on their own, and none taken: it is not the texts. Nothing was billed, and few were asked."""
    started = simulator()

    with pytest.raises(dfllm.BadRequest, match="dimensions"):
        frame(2_000).llm.embed("{{ t }}", model=MODEL, dimensions=9_999)

    assert 0 == started.bill.billed
    assert started.bill.requests <= 24


def test_long_texts_make_smaller_packs(simulator):
    """A request stays within the provider's tokens, so none is refused."""
    started = simulator()
    df = pd.DataFrame({"t": [f"{number} " + "word " * 5_000 for number in range(60)]})

    out = df.llm.embed("{{ t }}", model=MODEL)

    assert 60 == out["embedding"].notna().sum()
    assert {200} == {status for entry in started.bill.entries().values() for status in entry.statuses}
    assert 5 <= started.bill.requests <= 8


@pytest.mark.parametrize("fault", ["rate429", "500", "503", "529", "html", "drop_before", "drop_mid", "trunc_json"])
def test_trouble_that_passes_is_waited_for(simulator, fault):
    """As with completions: asked again, and all is well."""
    simulator(faults=Faults(by_text={"text 5": f"{fault}*1"}))

    out = frame(20).llm.embed("{{ t }}", model=MODEL)

    assert same(out["embedding"], out["t"])


@pytest.mark.parametrize(
    ("fault", "says"),
    [("vec_few", "9 vectors for 10 texts"), ("vec_twice", "index"), ("vec_short", "numbers")],
)
def test_an_answer_that_does_not_fit_is_not_believed(simulator, fault, says):
    """Nobody knows which vector is whose, so no row gets one; it was paid for, and is not asked again by itself."""
    started = simulator(faults=Faults(by_text={"text 5": f"{fault}*1"}))

    with pytest.warns(dfllm.RowsFailedWarning, match="BadResponse 10"):
        out = frame(10).llm.embed("{{ t }}", model=MODEL)
    again = frame(10).llm.embed("{{ t }}", model=MODEL)

    assert all(says in error and "paid" in error for error in out["embedding_error"])
    assert same(again["embedding"], again["t"])
    assert [2] * 10 == paid(started)


def test_one_odd_vector_costs_one_row(simulator):
    """NaN in one vector says nothing of the others, which were paid for."""
    started = simulator(faults=Faults(by_text={"text 5": "vec_nan"}))

    with pytest.warns(dfllm.RowsFailedWarning, match="BadResponse 1"):
        out = frame(10).llm.embed("{{ t }}", model=MODEL)
    started.faults = Faults()
    frame(10).llm.embed("{{ t }}", model=MODEL)

    assert [5] == [row for row, error in enumerate(kinds(out)) if error]
    assert same(out["embedding"].drop(5), out["t"].drop(5))
    assert [1] * 9 + [2] == sorted(paid(started))


def test_vectors_may_come_in_any_order(simulator):
    """They are joined by their index."""
    simulator(faults=Faults(by_text={"text 5": "vec_mixed"}))

    out = frame(10).llm.embed("{{ t }}", model=MODEL)

    assert same(out["embedding"], out["t"])


def test_what_may_have_been_billed_is_sent_once_more(simulator):
    """A lost answer is asked for again once; then each row says that it may have been paid."""
    started = simulator(faults=Faults(by_text={"text 5": "drop_before_billed"}))

    with pytest.warns(dfllm.RowsFailedWarning, match="ConnectionLost 10"):
        out = frame(10).llm.embed("{{ t }}", model=MODEL)

    assert all("maybe" in error for error in out["embedding_error"])
    assert [2] * 10 == paid(started)
    assert 2 == started.bill.requests


def test_limits_are_kept(simulator):
    """A pack is charged with the tokens of all its texts, and none is refused."""
    started = simulator(limits=RateLimits(rpm=6_000, tpm=10_000_000))

    out = frame(2_000).llm.embed("{{ t }}", model=MODEL)

    assert 2_000 == out["embedding"].notna().sum()
    assert {200} == {status for entry in started.bill.entries().values() for status in entry.statuses}


def test_a_pack_too_large_for_a_minute_goes_in_parts(simulator):
    """Where a minute's tokens are fewer than a pack has."""
    simulator(limits=RateLimits(tpm=1_500, kind="bucket"))
    df = pd.DataFrame({"t": [f"{number} " + "word " * 79 for number in range(14)]})

    out = df.llm.embed("{{ t }}", model=MODEL, limits=dfllm.Limits(tpm=1_000))

    assert 14 == out["embedding"].notna().sum()


def test_a_wrong_key_costs_one_call(monkeypatch, simulator):
    """And says which variable to look at."""
    started = simulator(key="sk-right")
    monkeypatch.setenv("OPENAI_BASE_URL", started.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")

    with pytest.raises(dfllm.AuthFailed, match="OPENAI_API_KEY"):
        frame(2_000).llm.embed("{{ t }}", model="openai/embed-small")

    assert 1 == started.bill.requests


# Options.


def test_cache_modes(simulator):
    """As with completions."""
    started = simulator()
    first = frame(3).llm.embed("{{ t }}", model=MODEL)

    with pytest.warns(dfllm.RowsFailedWarning):
        only = frame(4).llm.embed("{{ t }}", model=MODEL, cache="only")
    off = frame(3).llm.embed("{{ t }}", model=MODEL, cache="off")
    after_off = started.bill.billed
    fresh = frame(3).llm.embed("{{ t }}", model=MODEL, cache="refresh")
    retried = frame(3).llm.embed("{{ t }}", model=MODEL, cache="retry")

    assert [None, None, None, "NotSent"] == kinds(only)
    assert (6, 9) == (after_off, started.bill.billed)
    assert all(same(out["embedding"], first["t"]) for out in (off, fresh, retried))


def test_errors_end_the_call_where_asked(simulator):
    """After all is done, or at the first."""
    simulator(faults=Faults(by_text={"text 5": "policy400"}))

    for how in ("raise", "stop"):
        with pytest.raises(dfllm.RowsFailed) as raised:
            frame(10).llm.embed("{{ t }}", model=MODEL, on_error=how)
        assert 9 >= raised.value.frame["embedding"].notna().sum() >= (9 if how == "raise" else 0)


def test_a_budget_is_kept(simulator):
    """Each text reserves what it can cost at most; a larger budget goes on with the rest."""
    started = simulator()
    dfllm.configure(prices={MODEL: {"input": 1000.0, "output": 0.0}})

    with pytest.warns(dfllm.RowsFailedWarning, match="BudgetExceeded"):
        cut = frame(600).llm.embed("{{ t }}", model=MODEL, budget=1.0)
    spent = started.bill.prompt_tokens / 1_000
    rest = frame(600).llm.embed("{{ t }}", model=MODEL, budget=100.0)

    assert 0.9 < spent <= 1.0
    assert {None, "BudgetExceeded"} == set(kinds(cut))
    assert 600 == rest["embedding"].notna().sum() == started.bill.billed


def test_a_budget_is_kept_in_trouble(simulator):
    """What may have been billed stays reserved, and each further attempt reserves anew."""
    started = simulator(faults=Faults(by_text={"text 5": "drop_before_billed*1"}))
    dfllm.configure(prices={MODEL: {"input": 1000.0, "output": 0.0}})

    with warnings.catch_warnings(action="ignore", category=dfllm.RowsFailedWarning):
        frame(100).llm.embed("{{ t }}", model=MODEL, budget=20.0)

    assert started.bill.prompt_tokens / 1_000 <= 20.0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "text-embedding-3-small"),
        ("google", "gemini-embedding-001"),
        ("mistral", "mistral-embed"),
        ("cohere", "embed-v4.0"),
        ("voyageai", "voyage-3.5"),
    ],
)
def test_prices_are_of_input_alone(provider, model):
    """The price data knows them, and twice the tokens cost twice as much."""
    price = pricer(provider, model)

    one, two = (price(Response("", tokens_in=tokens, tokens_out=0)) for tokens in (1_000_000, 2_000_000))

    assert 0 < 2 * one == two


def test_a_budget_without_a_price_is_refused():
    """Nobody could keep it."""
    with pytest.raises(dfllm.OptionError, match="price"):
        frame(1).llm.embed("{{ t }}", model=MODEL, budget=1.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dimensions": 0}, "dimensions takes"),
        ({"dimensions": True}, "dimensions takes"),
        ({"dimensions": 2.0}, "dimensions takes"),
        ({"task": "poetry"}, "task='poetry'"),
        ({"task": "query"}, "simulator has no word for it"),
        ({"extra": {"input": "mine"}}, "extra must not set input"),
        ({"cache": "never"}, "cache='never'"),
        ({"into": "t_error", "overwrite": False}, None),
        ({"model": "anthropic/claude"}, "anthropic has no embeddings"),
        ({"model": "openai-responses/x"}, "These have: openai"),
    ],
)
def test_what_does_not_fit_is_refused(simulator, options, says):
    """Before anything is sent."""
    started = simulator()

    if says is None:
        frame(1).llm.embed("{{ t }}", **{"model": MODEL, **options})
        return
    with pytest.raises(dfllm.OptionError, match=says):
        frame(1).llm.embed("{{ t }}", **{"model": MODEL, **options})
    assert 0 == started.bill.requests


@pytest.mark.parametrize(
    "text",
    [[{"role": "user", "content": "{{ t }}"}], dfllm.prompts.summarize("t"), None, 7],
    ids=["list", "task", "none", "number"],
)
def test_what_is_no_template_is_no_text(text):
    """One text makes one vector."""
    with pytest.raises(dfllm.OptionError, match="one template"):
        frame(1).llm.embed(text, model=MODEL)


def test_a_text_may_be_in_a_file(tmp_path):
    """As a prompt may."""
    (tmp_path / "text.j2").write_text("{{ t }}")

    out = frame(1).llm.embed(tmp_path / "text.j2", model=MODEL)

    assert same(out["embedding"], ["text 0"])


@pytest.mark.parametrize("data", [pd.DataFrame({"t": ["a"]}), pd.Series(["a"])], ids=["frame", "series"])
@pytest.mark.parametrize("door", ["embed", "aembed"])
def test_a_misspelt_option_is_met_with_the_nearest(data, door):
    """On every door."""
    with pytest.raises(dfllm.OptionError, match="Did you mean 'dimensions'"):
        getattr(data.llm, door)("{{ t }}", model=MODEL, dimension=8)


@pytest.mark.parametrize("door", ["embed", "aembed"])
def test_every_door_shows_its_options(door):
    """In help and for tab completion; the series' template has a default."""
    of_frame, of_series = (inspect.signature(getattr(data.llm, door)) for data in (frame(1), frame(1)["t"]))

    assert inspect.Parameter.empty is of_frame.parameters["text"].default
    assert "{{ value }}" == of_series.parameters["text"].default
    assert {*EmbedOptions.__annotations__, "text"} == set(of_frame.parameters) == set(of_series.parameters)


@pytest.mark.parametrize("provider", ["cohere", "voyage"])
def test_who_has_embeddings_alone_says_so(provider):
    """A completion is refused before a key is looked for."""
    with pytest.raises(dfllm.OptionError, match=r"df\.llm\.embed"):
        frame(1).llm.complete("{{ t }}", model=f"{provider}/x")


def test_a_missing_column_is_refused():
    """As with completions."""
    with pytest.raises(dfllm.TemplateError, match="asks for 'u'"):
        frame(1).llm.embed("{{ u }}", model=MODEL)


# Many at once, and sudden ends.


def test_eight_threads_pay_once(simulator):
    """Each text is claimed on its own, whatever packs it comes in."""
    started = simulator(latency_seconds=0.02, latency_spread=0.9)
    made = []

    def work(number):
        df = frame(600).iloc[number * 20 :]
        made.append(df.llm.embed("{{ t }}", model=MODEL, progress=False))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1] * 600 == paid(started)
    assert all(same(out["embedding"], out["t"]) for out in made)
    assert 8 == len(made)


PROGRAM = """
import os, sys
import pandas as pd, dfllm
df = pd.DataFrame({"t": [f"text {number}" for number in range(int(sys.argv[1]))]})
sys.stdin.readline()
out = df.llm.embed("{{ t }}", model="simulator/embed-small", dimensions=8, progress=False)
print(int(out["embedding"].notna().sum()))
"""


def process(rows):
    """Start a process that embeds so many texts once it is told to."""
    command = [sys.executable, "-c", PROGRAM, str(rows)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_pay_once(simulator):
    """On one frame, at one moment."""
    started = simulator(latency_seconds=0.02, latency_spread=0.9)
    two = [process(3_000), process(3_000)]
    for one in two:
        one.stdin.write("go\n")
        one.stdin.flush()

    said = [one.communicate(timeout=120)[0].strip() for one in two]

    assert ["3000", "3000"] == said
    assert [1] * 3_000 == paid(started)


def test_a_kill_loses_no_vector_that_was_on_disk(simulator):
    """SIGKILL in the middle; the same call goes on, and pays again for no more than was in flight."""
    started = simulator(latency_seconds=0.05, latency_spread=0.9)
    killed = process(8_000)
    killed.stdin.write("go\n")
    killed.stdin.flush()
    while started.bill.billed < 3_000:
        with pytest.raises(subprocess.TimeoutExpired):  # else it was done before it was killed
            killed.wait(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    with closing(sqlite3.connect(os.environ["DFLLM_STORE"])) as db:
        (kept,) = db.execute("SELECT count(*) FROM entries").fetchone()

    out = frame(8_000).llm.embed("{{ t }}", model=MODEL, dimensions=8)

    assert 8_000 == out["embedding"].notna().sum() == len(paid(started))
    assert 0 < kept <= paid(started).count(1)
    assert max(paid(started)) <= 2


def test_cancelled_goes_on(simulator):
    """What was in flight is saved, and the next call sends the rest."""
    started = simulator(latency_seconds=0.2)

    async def cancelled():
        task = asyncio.ensure_future(frame(5_000).llm.aembed("{{ t }}", model=MODEL, dimensions=8))
        while not started.bill.billed:
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    partial = dfllm.last_run().frame
    out = frame(5_000).llm.embed("{{ t }}", model=MODEL, dimensions=8)

    assert {None, "Cancelled"} == set(kinds(partial))
    assert 5_000 == out["embedding"].notna().sum() == started.bill.billed
    assert [1] * 5_000 == paid(started)


def test_the_store_holds_bytes_and_a_line(simulator):
    """A kept vector is as many bytes as its numbers take, and a short line before them."""
    simulator()
    frame(1).llm.embed("{{ t }}", model=MODEL, dimensions=8)

    with closing(sqlite3.connect(os.environ["DFLLM_STORE"])) as db:
        ((body,),) = db.execute("SELECT body FROM entries").fetchall()

    assert b'{"dimensions":8,"tokens":2,"model":"embed-small"}\n' + wanted("text 0", 8).tobytes() == body


def test_another_simulator_is_not_needed_to_know():
    """The store alone answers, wherever the provider is."""
    with Simulator() as started:
        os.environ["DFLLM_SIMULATOR_URL"] = started.base_url
        frame(5).llm.embed("{{ t }}", model=MODEL)

    out = frame(5).llm.embed("{{ t }}", model=MODEL)

    assert same(out["embedding"], out["t"])


@pytest.mark.parametrize(("column", "written"), [("t", "{{ t }}"), ("last visit", '{{ row["last visit"] }}')])
def test_the_bare_name_of_a_column_is_refused(column, written):
    """As a template it reads nothing, so every row would silently have the vector of that one word."""
    texts = frame(3).rename(columns={"t": column})

    with pytest.raises(dfllm.TemplateError, match=re.escape(written)):
        texts.llm.embed(column, model=MODEL, cache="only")
    with pytest.warns(dfllm.RowsFailedWarning):
        texts.llm.embed(written, model=MODEL, cache="only")


def test_dimensions_may_be_a_number_of_numpy():
    """It is the same question as with a plain one."""
    texts = frame(2)
    texts.llm.embed("{{ t }}", model=MODEL, dimensions=4)

    again = texts.llm.embed("{{ t }}", model=MODEL, dimensions=np.int64(4), cache="only")

    assert same(again["embedding"], texts["t"], dimensions=4)
