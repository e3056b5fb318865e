"""Whole runs as others see them: in the log, in traces and in the report, over real sockets."""

import asyncio
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import dfllm
from dfllm._core import retry
from dfllm._run import engine, log, sending
from dfllm.simulator import Faults

# The calls here warn of failed rows, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::dfllm.RowsFailedWarning")

ROOT = Path(__file__).parents[1]
ECHO = "simulator/echo"
CANARY = "Canary/7d+1-c0ffee=="
SAID = "the-patient-is-called-Ada"
SYSTEM = "you are her doctor"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait for nothing, and know no secret of another test's."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    monkeypatch.setattr(log, "_secrets", ())


@pytest.fixture
def spans(monkeypatch):
    """Trace into memory, and return a function to the spans that have ended, by name."""
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    def ended(name):
        return [span for span in memory.get_finished_spans() if span.name == name]

    ended.tracer = provider.get_tracer("mine")
    return ended


def frame(*texts):
    """Return a frame of these rows."""
    return pd.DataFrame({"text": list(texts)})


def complete(*texts, **options):
    """Ask about these rows."""
    return frame(*texts).llm.complete("{{ text }}", model=ECHO, **options)


def iterate(*texts):
    """Ask about these rows, one by one."""
    return list(frame(*texts).llm.iter_completions("{{ text }}", model=ECHO))


def await_(*texts):
    """Ask about these rows within an event loop."""
    return asyncio.run(frame(*texts).llm.acomplete("{{ text }}", model=ECHO))


# Traces.


@pytest.mark.parametrize("ask", [complete, iterate, await_])
def test_run_and_its_requests_are_one_tree(simulator, spans, ask):
    """Below the span of whoever called, though the requests are made by another thread's event loop."""
    simulator()

    with spans.tracer.start_as_current_span("nightly") as mine:
        ask("a", "b", "a")

    (run,) = spans("dfllm.complete")
    assert mine.get_span_context().span_id == run.parent.span_id
    assert {run.context.span_id} == {span.parent.span_id for span in spans("chat echo")}
    assert 2 == len(spans("chat echo"))
    assert (3, 3, 2) == tuple(run.attributes[f"dfllm.{name}"] for name in ("rows", "ok", "requests"))


def test_each_attempt_is_a_span(simulator, spans):
    """With its try, its error and what it cost; the run counts them all."""
    simulator(faults=Faults(by_text={"busy": "503*2"}))

    complete("busy")

    found = sorted((span.attributes for span in spans("chat echo")), key=lambda attributes: attributes["dfllm.try"])
    assert [
        (1, "Overloaded", 503, "free", None),
        (2, "Overloaded", 503, "free", None),
        (3, None, 200, "paid", ("stop",)),
    ] == [
        (
            one["dfllm.try"],
            one.get("error.type"),
            one["http.response.status_code"],
            one["dfllm.billing"],
            one.get("gen_ai.response.finish_reasons"),
        )
        for one in found
    ]
    assert 1 == len({one["dfllm.key"] for one in found})
    assert 2 == spans("dfllm.complete")[0].attributes["dfllm.retries"]


def test_tokens_of_the_spans_are_those_of_the_bill(simulator, spans):
    """Also for an answer that was paid for and is none."""
    bill = simulator(faults=Faults(by_text={"no": "refusal"})).bill

    complete("a", "no", "b")

    for name, billed in (("input", bill.prompt_tokens), ("output", bill.completion_tokens)):
        assert billed == sum(span.attributes[f"gen_ai.usage.{name}_tokens"] for span in spans("chat echo"))


def test_known_rows_make_no_request_and_no_span_of_one(simulator, spans):
    """The run's own says that they were known."""
    simulator()
    complete("a")

    complete("a")

    assert 1 == len(spans("chat echo"))
    assert [0, 1] == [span.attributes["dfllm.known"] for span in spans("dfllm.complete")]


def test_request_that_was_dropped_is_a_span_too(simulator, spans, monkeypatch):
    """It may have been billed, and took as long as it took."""
    monkeypatch.setattr(engine, "_GRACE_SECONDS", 0.01)
    simulator(latency_seconds=30.0, faults=Faults(by_text={}))
    told = frame("a", "a").llm.iter_completions("{{ text }}", model=ECHO)
    told.close()  # before it began: nothing is sent
    with pytest.raises(KeyboardInterrupt):
        _interrupted("b")

    (dropped,) = spans("chat echo")
    assert ("Cancelled", "maybe") == (dropped.attributes["error.type"], dropped.attributes["dfllm.billing"])
    assert 0 < dropped.end_time - dropped.start_time < 20e9
    assert "interrupted" == spans("dfllm.complete")[-1].attributes["dfllm.state"]


def _interrupted(text):
    """Ask, and press Ctrl-C when the question is under way."""
    import signal
    import threading

    def press():
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.5, press).start()
    complete(text)


def test_run_that_raises_has_an_end(simulator, spans, caplog):
    """A key that is rejected stops the run; a template that fails on every row ends it before anything is sent."""
    caplog.set_level(logging.INFO, "dfllm")
    simulator(faults=Faults(by_text={"a": "401"}))

    with pytest.raises(dfllm.AuthFailed):
        complete("a")
    with pytest.raises(dfllm.TemplateError):
        frame("b").llm.complete("{{ 1 / 0 }}{{ text }}", model=ECHO)

    assert ["AuthFailed", "TemplateError"] == [span.attributes["error.type"] for span in spans("dfllm.complete")]
    assert [True, True] == [
        f"state stopped by {why}" in record.getMessage()
        for why, record in zip(("AuthFailed", "TemplateError"), caplog.records, strict=True)
    ]


# The log.


def test_run_is_one_line(simulator, caplog):
    """At INFO, whatever it came to."""
    caplog.set_level(logging.INFO)
    simulator(faults=Faults(by_text={"busy": "503*2", "no": "refusal"}))

    complete("a", "busy", "no", None, "a")

    ours = [record for record in caplog.records if record.name.startswith("dfllm")]
    assert 1 == len(ours)
    said = ours[0].getMessage()
    assert "rows 5, ok 3, failed 1, skipped 1, known 0, requests 5, retries Overloaded 2, maybe_billed 0" in said
    assert said.endswith(f"store {os.environ['DFLLM_STORE']}")


def test_request_is_one_line(simulator, caplog):
    """At DEBUG, with what it came to; the bill agrees."""
    caplog.set_level(logging.DEBUG, "dfllm")
    bill = simulator(faults=Faults(by_text={"busy": "503*2", "drop": "drop_mid*1"})).bill

    complete("a", "busy", "drop")

    requests = [record for record in caplog.records if record.getMessage().startswith("request.ended")]
    assert {("ok", "paid"): 3, ("Overloaded", "free"): 2, ("ConnectionLost", "maybe"): 1} == pd.Series(
        [(record.outcome, record.billing) for record in requests]
    ).value_counts().to_dict()
    assert bill.requests == len(requests)
    assert bill.prompt_tokens >= sum(record.tokens_in or 0 for record in requests)
    assert {dfllm.last_run().frame is not None} == {True}


@pytest.mark.parametrize("fault", [None, "401", "404", "400", "refusal", "html", "drop_mid"])
def test_neither_keys_nor_prompts_are_in_any_log(simulator, caplog, monkeypatch, fault):
    """At DEBUG for the whole process, the HTTP library's own loggers among it, come what may."""
    caplog.set_level(logging.DEBUG)
    url = simulator(faults=Faults(by_text={"patient": fault} if fault else {})).base_url
    dfllm.register_provider("lab", base_url=url, api_key_env="LAB_API_KEY")
    monkeypatch.setenv("LAB_API_KEY", CANARY)

    try:
        frame(SAID, SAID + " again").llm.complete("{{ text }}", model="lab/echo", system=SYSTEM)
    except dfllm.RunStopped as error:
        logging.getLogger("dfllm").error("it said %s", error, exc_info=error)

    said = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert "request.ended" in said
    for secret in (CANARY, SAID, SYSTEM):
        assert secret not in said


def test_prompts_are_in_the_log_that_is_for_them(simulator, caplog):
    """Once its own level is set."""
    caplog.set_level(logging.DEBUG, "dfllm.content")
    simulator()

    complete(SAID)

    (record,) = [record for record in caplog.records if record.name == "dfllm.content"]
    assert SAID in record.asked
    assert SAID in record.answered


def test_where_nobody_looks_nothing_is_made(simulator, monkeypatch):
    """Not even the facts that would be shown."""
    monkeypatch.setattr(sending, "Attempt", lambda *facts: pytest.fail("somebody looks"))
    simulator()

    assert ["a"] == complete("a")["completion"].tolist()


# The report.


def test_report_says_how_long_answers_took(simulator):
    """From sending to the last byte, each answer once; what was refused is no answer."""
    simulator(latency_seconds=0.05, faults=Faults(by_text={"busy": "503*1"}))

    complete("a", "b", "busy")

    run = dfllm.last_run()
    assert 0.049 < run.latency.p50 <= run.latency.p95 <= run.latency.max < 20
    assert {"Overloaded": 1} == run.retries
    assert 3 == run._ending.tally.latencies.counts.total()


def test_example_of_the_page_traces(tmp_path):
    """The page's program, run as it stands, prints the spans it promises."""
    pytest.importorskip("opentelemetry.sdk")
    fences = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "observability.md").read_text("utf-8"), re.M | re.S)
    (program,) = [fence for fence in fences if "ConsoleSpanExporter" in fence]

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        env={**os.environ, "DFLLM_STORE": str(tmp_path / "answers.db")},
    )

    assert ['"name": "chat echo"', '"name": "dfllm.complete"'] == re.findall(r'"name": "[^"]+"', ended.stdout)
