"""The observer: silent where nobody looks, one line and one span a request where somebody does, never in the way."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dfllm._core.types import Failure, Response, Terms
from dfllm._run import log
from dfllm._run import observe as module
from dfllm._run.observe import Attempt, Observer
from dfllm._run.secret import Secret
from dfllm._run.tally import Tally

TERMS = Terms("lab http://127.0.0.1:9000/v1", "openai", "small")
URL = "http://127.0.0.1:9000/v1"
OK = Response("the answer", "stop", 12, 5)
KEY = bytes(range(20))
KEY_TEXT = "k1" + KEY.hex()
CANARY = "canary-7d1c0ffee"


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


ATTEMPT = Attempt(KEY, 2, OK, 0.25, b"the prompt", Answer(200, {"x-request-id": "req_0123456789abcdef"}, b"the body"))


class Spans:
    """Stands where the spans of a run would be made."""

    def __init__(self) -> None:
        self.told = []

    def request(self, *facts):
        """Note an attempt."""
        self.told.append(facts)

    def end(self, *facts):
        """Note the end."""
        self.told.append(facts)


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch):
    """Know no secret, before and after."""
    monkeypatch.setattr(log, "_secrets", ())


@pytest.fixture
def level(caplog):
    """Return a function that sets the level of one of our loggers for this test."""
    return lambda level, name="dfllm": caplog.set_level(level, name)


def begun(monkeypatch=None, spans=None, **options) -> Observer:
    """Return an observer of a run that has begun, with these spans."""
    if monkeypatch is not None:
        monkeypatch.setattr(module, "run_span", lambda *given: spans)
    observer = Observer("r_1", TERMS, base_url=URL, store=Path("answers.db"), **options)
    observer.begin(5)
    return observer


def lines(caplog) -> list[str]:
    """Return what was logged."""
    return [f"{line.levelname} {line.name} {line.getMessage()}" for line in caplog.records]


# Who looks.


def test_nobody_looks(level, monkeypatch):
    """At INFO, and without a tracer, there is nothing to call after a request."""
    level(logging.INFO)

    assert None is begun(monkeypatch).attempt


@pytest.mark.parametrize("name", ["dfllm", "dfllm.content"])
def test_somebody_looks_at_the_log(level, monkeypatch, name):
    """Each of the two loggers is enough."""
    level(logging.WARNING)
    level(logging.DEBUG, name)

    assert None is not begun(monkeypatch).attempt


def test_somebody_looks_at_the_spans(level, monkeypatch):
    """Also where the log is off."""
    level(logging.WARNING)

    assert None is not begun(monkeypatch, Spans()).attempt


def test_what_is_wanted_is_asked_once(level, monkeypatch, caplog):
    """A level that is set while a run goes is the next run's."""
    level(logging.INFO)
    observer = begun(monkeypatch)

    level(logging.DEBUG)

    assert None is observer.attempt


# What they see.


def test_request_is_seen_in_the_log(level, caplog, monkeypatch):
    """Key, try, status, outcome, billing, seconds, tokens and the provider's id; neither prompt nor answer."""
    level(logging.DEBUG)
    observer = begun(monkeypatch)

    observer.attempt(ATTEMPT)

    assert [
        "DEBUG dfllm run.began r_1, rows 5",
        f"DEBUG dfllm request.ended {KEY_TEXT}, try 2, 200, ok, billing paid, 0.250 s, tokens 12 + 5, "
        "request id req_0123456789abcdef",
    ] == lines(caplog)


def test_prompts_and_answers_are_seen_where_asked_for(level, caplog, monkeypatch):
    """As they went over the wire, and on their own logger only."""
    level(logging.INFO)
    level(logging.DEBUG, "dfllm.content")
    observer = begun(monkeypatch)

    observer.attempt(ATTEMPT)

    assert [f"DEBUG dfllm.content request.content {KEY_TEXT}, try 2, asked the prompt, answered the body"] == lines(
        caplog
    )


def test_request_is_seen_as_a_span(level, monkeypatch):
    """With the same facts."""
    level(logging.INFO)
    spans = Spans()
    observer = begun(monkeypatch, spans)

    observer.attempt(ATTEMPT)

    assert [(KEY_TEXT, 2, OK, 200, 0.25, "req_0123456789abcdef")] == spans.told


@pytest.mark.parametrize("answer", [None, Failure("ConnectFailed", "connection refused", "free")])
def test_request_without_an_answer_has_no_status(level, caplog, monkeypatch, answer):
    """Dropped by the user, or lost on the way."""
    level(logging.DEBUG)
    level(logging.DEBUG, "dfllm.content")
    observer = begun(monkeypatch)

    observer.attempt(Attempt(KEY, 1, Failure("ConnectFailed", "connection refused", "free"), 0.1, b"q", answer))

    assert [
        f"DEBUG dfllm request.ended {KEY_TEXT}, try 1, None, ConnectFailed, billing free, 0.100 s, "
        "tokens None + None, request id None",
        f"DEBUG dfllm.content request.content {KEY_TEXT}, try 1, asked q, answered None",
    ] == lines(caplog)[1:]


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"request-id": "req_011CS"}, "req_011CS"),
        (
            {"x-request-id": "8f14e45f-ceea-467f-9f0b-1c2d3e4f5a6b", "request-id": "no"},
            "8f14e45f-ceea-467f-9f0b-1c2d3e4f5a6b",
        ),
        ({"x-request-id": f"for {CANARY}"}, "for ***"),
        ({"x-request-id": "Bearer sk-proj-0123456789"}, "Bearer ***"),
        ({"x-request-id": "x y " * 50}, ("x y " * 50)[:80]),
        ({"x-request-id": ""}, "None"),
        ({}, "None"),
    ],
)
def test_id_is_the_other_sides_word(level, caplog, monkeypatch, headers, shown):
    """It is looked at before it is shown: a server may send anything back."""
    level(logging.DEBUG)
    observer = begun(monkeypatch, secret=Secret(CANARY))

    observer.attempt(ATTEMPT._replace(answer=Answer(200, headers, b"")))

    assert lines(caplog)[1].endswith(f", request id {shown}")


# The end of a run.


def tally_of(**counts) -> Tally:
    """Return what a run came to."""
    tally = Tally(5, ok=3, failed=1, skipped=1, known=1, requests=5, tokens_in=70, tokens_out=30, **counts)
    tally.retries["Overloaded"] = 2
    return tally


@pytest.mark.parametrize(
    ("told", "state", "why"),
    [
        ({"stopped": None, "interrupted": False}, "finished", None),
        ({"stopped": Failure("QuotaExhausted", "pay, they say"), "interrupted": False}, "stopped", "QuotaExhausted"),
        ({"stopped": Failure("Cancelled", "by you"), "interrupted": True}, "interrupted", "Cancelled"),
        ({"stopped": None, "interrupted": False, "error": ValueError("x")}, "stopped", "ValueError"),
    ],
)
def test_end_is_one_line_and_the_end_of_the_span(level, caplog, monkeypatch, told, state, why):
    """Counts, retries by cause, tokens, cost, time, and where the store is; what others said of it is not there."""
    level(logging.INFO)
    spans, now = Spans(), iter([0.0, 10.0, 11.25])
    observer = begun(monkeypatch, spans, clock=lambda: next(now))

    observer.end(tally_of(cost=1_500_000_000), **told)

    said = state if why is None or state == "interrupted" else f"stopped by {why}"
    counts = "rows 5, ok 3, failed 1, skipped 1, known 1, requests 5, retries Overloaded 2, maybe_billed 0"
    assert [
        f"INFO dfllm run.ended run r_1, model lab/small, state {said}, {counts}, tokens_in 70, tokens_out 30, "
        "cost_usd 1.5, seconds 1.25, store answers.db"
    ] == lines(caplog)
    ((facts, error_type),) = spans.told
    assert (state, 2, 1.5, why) == (facts["state"], facts["retries"], facts["cost_usd"], error_type)


def test_cost_that_nobody_knows_is_not_guessed(level, caplog, monkeypatch):
    """Some answers without a price make the sum unknown."""
    level(logging.INFO)
    spans = Spans()
    observer = begun(monkeypatch, spans)

    observer.end(tally_of(cost=1, unpriced=1), stopped=None, interrupted=False)

    assert ", cost_usd unknown, " in lines(caplog)[0]
    assert None is spans.told[0][0]["cost_usd"]


# Trouble.


def test_trouble_with_looking_is_told_once_and_never_reaches_the_run(level, caplog, monkeypatch):
    """A processor or a filter of the user's may raise whatever it likes."""
    level(logging.DEBUG)
    spans = Spans()
    spans.request = spans.end = lambda *facts: 1 / 0
    observer = begun(monkeypatch, spans)

    for _ in range(3):
        observer.attempt(ATTEMPT)
    observer.end(tally_of(), stopped=None, interrupted=False)

    assert ["run.began", "request.ended", "observe.failed", "run.ended", "observe.failed"] == [
        line.getMessage().split()[0] for line in caplog.records
    ]


def test_trouble_at_the_beginning_never_reaches_the_run(level, caplog, monkeypatch):
    """The run goes on unseen."""
    level(logging.INFO)
    monkeypatch.setattr(module, "run_span", lambda *given: 1 / 0)

    observer = begun()

    assert None is observer.attempt
    assert ["observe.failed"] == [line.getMessage() for line in caplog.records]


def test_key_is_hidden_from_the_beginning(caplog):
    """Whoever makes an observer has the key out of every later record."""
    Observer("r_1", TERMS, base_url=URL, store=Path("answers.db"), secret=Secret(CANARY))

    log.logger.warning("sent %s", CANARY)

    assert ["WARNING dfllm sent ***"] == lines(caplog)


@pytest.mark.parametrize(
    "there", ["", "sys.modules['opentelemetry'] = None; os.environ['OTEL_PYTHON_TRACER_PROVIDER'] = 'sdk'"]
)
def test_without_the_extra_or_a_use_for_it_nothing_is_imported(there):
    """Neither is it missed where it is not installed."""
    program = f"""
import os, sys
from dfllm._core.types import Terms
from dfllm._run.spans import run_span
{there}
print(run_span("r_1", Terms("openai", "openai", "m"), "{URL}"), "opentelemetry.trace" in sys.modules)
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)

    assert "None False" == ended.stdout.strip()
