"""Provider and network trouble, seen from the door: what the row gets, what the run does, what the store keeps.

Real sockets against the simulator, whose bill says what was asked and what it cost; each test runs the call again to
see what the store made of it.
"""

import os
import re
import socket
import sqlite3
import threading
import time
import warnings
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies

import dfllm
from dfllm._core import health, retry
from dfllm._run import pace
from dfllm._run import runtime as process
from dfllm._run.pace import Pace
from dfllm._run.runtime import runtime
from dfllm.simulator import Faults, RateLimits, Simulator

PROMPT = "row {{ n }}."
ROWS = 10
STRUCK = 3
KEY = "sk-proj-canary-0123456789-abcdefghij"
QUICK = dfllm.Limits(concurrency=3)
ONE = dfllm.Limits(concurrency=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch, own_home):
    """Wait for milliseconds where a user waits for seconds, and forget what earlier tests learnt of their ports."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    monkeypatch.setattr(pace, "_FIRST_HOLD_SECONDS", 0.01)
    monkeypatch.setattr(pace, "_MANY", 1_000_000)  # these refusals are no limit that could be found
    monkeypatch.setattr(health, "_LONGEST_WAIT_SECONDS", 0.02)
    runtime()._lanes.clear()


class Leaping(Pace):
    """A pace whose clock leaps over each hold, however long, and notes how long it was."""

    def __init__(self, **options):
        self.now = 1_000.0
        self.holds = []
        super().__init__(lambda: self.now, **options)

    def limited(self, wait_seconds):
        since = super().limited(wait_seconds)
        self.holds.append(self._tempo.held_until - self.now)
        self.now += self.holds[-1]
        return since


@pytest.fixture
def leaping(monkeypatch):
    """Let an hour's hold take no time; gives the paces that were made."""
    made = []

    def make(**options):
        made.append(Leaping(**options))
        return made[-1]

    monkeypatch.setattr(process, "Pace", make)
    return made


def frame(rows=ROWS, start=0):
    """Return a frame of numbers, each asking a question of its own."""
    return pd.DataFrame({"n": range(start, start + rows)})


class Came(NamedTuple):
    """What a call came to: the frame, what it raised, what it warned of, and what its run counted."""

    frame: pd.DataFrame
    raised: Exception | None
    warned: list[str]
    facts: dict

    @property
    def answers(self):
        return [None if pd.isna(text) else text for text in self.frame["completion"]]

    @property
    def errors(self):
        return [None if pd.isna(text) else text for text in self.frame["completion_error"]]

    @property
    def kinds(self):
        return [text and text.partition(":")[0] for text in self.errors]


def called(df, model="simulator/echo", limits=QUICK, **options):
    """Make the call, take what it returns or raises, and check that each row has one answer or one error."""
    raised = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            done = df.llm.complete(PROMPT, model=model, limits=limits, **options)
        except dfllm.RunStopped as error:
            raised, done = error, error.frame
    came = Came(done, raised, [str(one.message) for one in caught], dfllm.last_run().to_dict())
    assert df.index.equals(done.index)
    for answer, error, kind in zip(came.answers, came.errors, came.kinds, strict=True):
        assert (answer is None) != (error is None) or kind == "Truncated"
        assert error is None or (len(error) <= 300 and "\n" not in error and KEY not in error)
    return came


def test_a_storm_of_refusals_costs_no_row(simulator, monkeypatch):
    """Forty at once where one second's worth is ten: all are answered in the end, and few are refused twice."""
    monkeypatch.setattr(pace, "_MANY", 20)
    provider = simulator(limits=RateLimits(rpm=6_000, kind="shallow", depth_seconds=0.1, headers="none"))

    came = called(frame(60), limits=dfllm.Limits(concurrency=40))

    assert [None] * 60 == came.kinds
    assert 0 < came.facts["retries"]["RateLimited"] < 120
    assert 60 == provider.bill.billed


def test_prompt_that_no_window_holds_is_not_sent(simulator, monkeypatch):
    """The row says so, whole words long; the others are sent."""
    provider = simulator()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    df = pd.DataFrame({"n": ["some words " * 300_000, "a few"]})

    plan = df.llm.plan(PROMPT, model="openai/gpt-4o-mini")
    first = called(df.iloc[:1], model="openai/gpt-4o-mini")

    error = "ContextTooLong: 3,300,005 bytes of text, the model takes 128,000 tokens (free)"
    assert (1, 1, [(0, error)]) == (plan.missing, plan.failed, list(plan.problems))
    assert [error] == first.errors
    assert 0 == provider.bill.requests


def test_another_model_than_was_asked_is_said_once(simulator):
    """Every answer is kept; one warning has the count, and a later run of known rows has none."""
    simulator(faults=Faults(by_text={"row": "othermodel"}))

    first, second = called(frame(30)), called(frame(30))

    said = "simulator/echo was asked, and other models answered: another-model 30. The answers are kept."
    assert [said] == first.warned
    assert [] == second.warned
    assert [None] * 30 == first.kinds


@pytest.mark.parametrize(
    ("fault", "schema", "advice"),
    [
        ("length", None, "a larger max_tokens is a new question"),
        ("prose", ["yes", "no"], "do not hold what schema asks for"),
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_trouble_of_many_rows_is_about_the_call(simulator, fault, schema, advice, share):
    """Over a fifth of them, and the one warning says what to do."""
    struck = [n for n in range(20) if n < 20 * share]
    simulator(faults=Faults(by_text={f"row {n}.": fault for n in struck}))
    dfllm.configure(repair_attempts=0)

    came = called(frame(20), model="simulator/small", schema=schema)

    assert [(share > 0.2)] == [advice in said for said in came.warned]
    assert len(struck) == came.facts["failed"]


@pytest.mark.parametrize("fault", ["empty", "nochoices", "blank"])
def test_empty_answer_to_a_schema_is_asked_for_once_more(simulator, fault):
    """As any answer that does not hold what was asked for; the second one counts, and nobody is asked a third time."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": f"{fault}*1"}))

    options = {"model": "simulator/small", "schema": ["yes", "no"]}
    first, second = called(frame(), **options), called(frame(), **options)

    assert [None] * ROWS == first.kinds
    assert (ROWS, ROWS + 1) == (first.facts["sent"], provider.bill.requests)
    assert first.answers == second.answers


def journal():
    """Return what was journalled: billing, the error's type, and whether bytes were kept."""
    with closing(sqlite3.connect(os.environ["DFLLM_STORE"])) as connection:
        found = connection.execute("SELECT billing, error, body IS NOT NULL FROM attempts ORDER BY id").fetchall()
    return [(billing, error.partition(":")[0], bool(kept)) for billing, error, kept in found]


def texts(rows=ROWS, start=0):
    """Return what the echo answers to `frame`."""
    return [f"row {number}." for number in range(start, start + rows)]


# One row strikes trouble, for good; the others do not notice.

SERVER = "ServerError: The server had an error while processing your request. Sorry about that!"
LOST = ("maybe", "ConnectionLost", False)
JUNK = ("maybe", "BadResponse", True)
# Fault: the row's error, requests for that row, those of them billed, requests of a second run, the journal.
FOR_GOOD = {
    "400": (
        "BadRequest: Unsupported value: 'temperature' does not support 0.2 with this model. "
        "Only the default (1) value is supported. (http 400, unsupported_value, free)",
        *(1, 0, 1, []),
    ),
    "408": (
        "ServerError: Request timed out. (http 408, timeout, try 2, maybe)",
        *(2, 0, 2, [("maybe", "ServerError", True)] * 2),
    ),
    "409": (
        "ServerError: The request conflicted with another request. (http 409, conflict_error, try 4, free)",
        *(4, 0, 4, []),
    ),
    "413": ("ContextTooLong: the request is too large (http 413, request_too_large, free)", *(1, 0, 1, [])),
    "ctx": (
        "ContextTooLong: the prompt does not fit the model's context (http 400, context_length_exceeded, free)",
        *(1, 0, 1, []),
    ),
    "policy400": (
        "ContentFiltered: prompt refused by policy (http 400, content_policy_violation, free)",
        *(1, 0, 1, []),
    ),
    "500": (f"{SERVER} (http 500, server_error, try 4, free)", *(4, 0, 4, [])),
    "502": (f"{SERVER} (http 502, server_error, try 4, free)", *(4, 0, 4, [])),
    "503": ("Overloaded: the provider is overloaded (http 503, server_error, try 4, free)", *(4, 0, 4, [])),
    "504": (
        "ServerError: Gateway timeout. (http 504, timeout, try 2, maybe)",
        *(2, 0, 2, [("maybe", "ServerError", True)] * 2),
    ),
    "529": ("Overloaded: the provider is overloaded (http 529, overloaded_error, try 4, free)", *(4, 0, 4, [])),
    "slowdown": ("Overloaded: the provider asks to slow down (http 503, slow_down, try 4, free)", *(4, 0, 4, [])),
    "html": ("ServerError: text/html, 503 (http 503, try 4, free)", *(4, 0, 4, [])),
    "xsr_false": (f"{SERVER} (http 500, server_error, free)", *(1, 0, 1, [])),
    "xsr_true": ("BadRequest: Try that again. (http 400, invalid_request_error, try 4, free)", *(4, 0, 4, [])),
    "drop_before": ("ConnectionLost: no answer came (try 2, maybe)", *(2, 0, 2, [LOST] * 2)),
    "drop_before_billed": ("ConnectionLost: no answer came (try 2, maybe)", *(2, 2, 2, [LOST] * 2)),
    "drop_mid": ("ConnectionLost: body cut at 286 bytes (try 2, maybe)", *(2, 2, 2, [LOST] * 2)),
    "reset_mid": ("ConnectionLost: body cut at 286 bytes (try 2, maybe)", *(2, 2, 2, [LOST] * 2)),
    "chunk_cut": ("ConnectionLost: body cut at 286 bytes (try 2, maybe)", *(2, 2, 2, [LOST] * 2)),
    "html200": ("BadResponse: text/html, not JSON (try 2, maybe)", *(2, 0, 2, [JUNK] * 2)),
    "trunc_json": ("BadResponse: not JSON at 281 (try 2, maybe)", *(2, 2, 2, [JUNK] * 2)),
    "bomb": ("BadResponse: packed tighter than 100 to 1 (paid)", *(1, 1, 1, [("paid", "BadResponse", False)])),
    "err200": ("ServerError: Provider returned error (http 502, 502, try 4, free)", *(4, 0, 4, [])),
    "empty": ("EmptyResponse: no choices (paid)", *(1, 1, 1, [("paid", "EmptyResponse", True)])),
    "nochoices": ("EmptyResponse: no choices (maybe)", *(1, 1, 1, [("maybe", "EmptyResponse", True)])),
    # From here on the provider's word is the row's for good.
    "blank": ("EmptyResponse: blank (paid)", *(1, 1, 0, [])),
    "refusal": ("Refused: I'm sorry, but I can't help with that. (paid)", *(1, 1, 0, [])),
    "filter": ("ContentFiltered: answer withheld by the provider's filter (paid)", *(1, 1, 0, [])),
    "length": ("Truncated: 1 output tokens (paid)", *(1, 1, 0, [])),
    "think_out": ("Truncated: all 2048 tokens were reasoning (paid)", *(1, 1, 0, [])),
    "fncall": ("InvalidOutput: function call (paid)", *(1, 1, 0, [])),
}


@pytest.mark.parametrize("fault", FOR_GOOD)
def test_trouble_of_one_row_stays_its_own(simulator, fault):
    """The row's error, what was sent and billed for it, what a second run sends, and what was journalled."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": fault}))

    first = called(frame())
    calls, billed, noted = provider.bill.requests, provider.bill.billed, journal()
    second = called(frame())

    expected = [f"row {number}." for number in range(ROWS)]
    expected[STRUCK] = {"length": "row"}.get(fault)
    errors = [None] * ROWS
    errors[STRUCK] = FOR_GOOD[fault][0]
    found = calls - (ROWS - 1), billed - (ROWS - 1), provider.bill.requests - calls, noted
    assert (expected, errors) == (first.answers, first.errors)
    assert (expected, errors) == (second.answers, second.errors)
    assert FOR_GOOD[fault][1:] == found
    assert None is first.raised
    assert 1 == len(first.warned) == len(second.warned)
    assert f"1 of {ROWS} rows have no answer ({errors[STRUCK].partition(':')[0]} 1)" in first.warned[0]


@pytest.mark.parametrize(
    ("fault", "again"),
    [(fault, "free") for fault in ("409", "500", "502", "503", "529", "slowdown", "html", "xsr_true", "err200")]
    + [(fault, "maybe") for fault in ("408", "504", "drop_before", "drop_before_billed", "drop_mid", "reset_mid")]
    + [(fault, "maybe") for fault in ("chunk_cut", "html200", "trunc_json")],
)
def test_trouble_that_passes_costs_one_more_request(simulator, fault, again):
    """What strikes once is asked once more, and the row has its answer; what may have been billed is journalled."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": f"{fault}*1"}))

    first = called(frame())
    calls = provider.bill.requests
    called(frame())

    assert texts() == first.answers
    assert [] == first.warned
    assert ROWS + 1 == calls == provider.bill.requests == first.facts["requests"]
    assert (again == "maybe") == (1 == len(journal()) == first.facts["maybe_billed"])
    assert 1 == sum(first.facts["retries"].values())


@pytest.mark.parametrize("fault", ["xsr_true", "500", "drop_mid", "trunc_json"])
def test_trouble_of_the_very_first_request_passes_too(simulator, fault):
    """The request that goes alone has the same tries as every other."""
    provider = simulator(faults=Faults(by_text={"row 0.": f"{fault}*1"}))

    first = called(frame(), limits=ONE)

    assert texts() == first.answers
    assert ROWS + 1 == provider.bill.requests


@pytest.mark.parametrize("strikes", [2, 3])
def test_tries_are_four_and_the_last_may_succeed(simulator, strikes):
    """Two or three server errors on one row use up none of the others' tries, nor the row's fourth."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": f"500*{strikes}"}))

    first = called(frame())

    assert texts() == first.answers
    assert ROWS + strikes == provider.bill.requests
    assert {"ServerError": strikes} == first.facts["retries"]


@pytest.mark.parametrize("resend", [0, 1, 3])
def test_resends_of_what_may_be_billed_are_counted_by_the_setting(simulator, resend):
    """Nothing that may have been billed is sent again more often than `resend_ambiguous` says."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": "drop_before_billed"}))
    dfllm.configure(resend_ambiguous=resend)

    first = called(frame())

    assert ROWS - 1 + 1 + resend == provider.bill.billed
    assert resend + 1 == len(journal()) == first.facts["maybe_billed"]


def test_page_of_a_proxy_is_never_shown(simulator):
    """An HTML page is named by its type; nothing of it reaches the error, the warning or the report."""
    simulator(faults=Faults(by_text={"row 3.": "html", "row 4.": "html200"}))

    first = called(frame())

    shown = " ".join([str(first.errors), *first.warned, str(first.facts), dfllm.last_run()._repr_html_()])
    assert "Service Unavailable" not in shown
    assert "<h1>" not in shown


@pytest.mark.parametrize("fault", ["stall", "drip"])
def test_an_answer_that_comes_too_late_is_a_timeout(simulator, fault):
    """The total deadline counts, also while bytes drip in; it may have been billed, so it is sent once more."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": fault}, stall_seconds=0.6))

    first = called(frame(), timeout=0.2)
    calls = provider.bill.requests
    second = called(frame(), timeout=5.0)

    reason = {"stall": "0.2 s", "drip": "total deadline"}[fault]
    assert f"Timeout: {reason} (try 2, maybe)" == first.errors[STRUCK]
    assert ROWS + 1 == calls
    assert [("maybe", "Timeout", False)] * 2 == journal()
    assert texts() == second.answers
    assert calls + 1 == provider.bill.requests


def test_answers_that_are_only_odd_are_answers(simulator):
    """No usage, another model, a lone surrogate, markup, a closing connection: kept, shown, not asked again."""
    odd = {"row 1.": "nousage", "row 2.": "othermodel", "row 3.": "surrogate", "row 4.": "xss", "row 5.": "stale"}
    provider = simulator(faults=Faults(by_text=odd))

    first = called(frame(), details=True)
    second = called(frame(), details=True)

    assert [None] * ROWS == first.errors
    assert first.answers == second.answers
    assert "row 3. \ufffd" == first.answers[3]
    assert first.answers[4].startswith('=HYPERLINK("http://127.0.0.1:9/","open")\t<script>')
    assert pd.isna(first.frame["completion_tokens_in"][1])
    assert "another-model" == first.frame["completion_model"][2]
    assert ROWS == provider.bill.requests


# Where a schema is asked for.

INVALID = {
    "prose": "InvalidOutput: not JSON (paid)",
    "badshape": "InvalidOutput: $.answer: 'None' not in enum (paid)",
    "weirdjson": "InvalidOutput: NaN is not JSON (paid)",
    "length": "Truncated: 2 output tokens (paid)",
}


LABELS = {"model": "simulator/small", "schema": ["good", "bad"]}
TOLD = "This answer cannot be used"


@pytest.mark.parametrize("fault", INVALID)
def test_answers_that_do_not_fit_the_schema_are_errors_and_kept(simulator, fault):
    """They were paid for and would come again: the row has an error and no value, and a second run sends nothing."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": fault}))

    with dfllm.options(repair_attempts=0):
        first = called(frame(), **LABELS)
        calls = provider.bill.requests
        second = called(frame(), **LABELS)
        third = called(frame(), cache="retry", **LABELS)

    assert INVALID[fault] == first.errors[STRUCK] == second.errors[STRUCK] == third.errors[STRUCK]
    assert None is first.answers[STRUCK]
    assert 1 == sum(error is not None for error in first.errors)
    assert ROWS == calls
    assert calls + 1 == provider.bill.requests
    assert [] == journal()


@pytest.mark.parametrize("fault", ["prose", "badshape", "weirdjson", "blank", "empty"])
def test_an_answer_that_does_not_fit_the_schema_is_asked_for_once_more(simulator, fault):
    """The model is told what is wrong; what it says then is the row's, both answers are paid, neither is lost."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": fault}))

    first = called(frame(), **LABELS)
    calls, attempts = provider.bill.requests, journal()
    second = called(frame(), **LABELS)

    assert [None] * ROWS == first.errors == second.errors
    assert {"good", "bad"} >= set(first.answers)
    assert first.answers == second.answers
    assert ROWS + 1 == calls == provider.bill.requests == provider.bill.billed
    assert [("paid", True)] == [(billing, bool(body)) for billing, _, body in attempts]
    assert {"EmptyResponse" if fault in ("blank", "empty") else "InvalidOutput": 1} == first.facts["retries"]


@pytest.mark.parametrize("fault", ["prose", "badshape", "blank"])
def test_an_answer_is_mended_no_more_than_once(simulator, fault):
    """What does not fit the second time either is the row's error, and no later run pays for it again."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": fault, TOLD: fault}))

    first = called(frame(), **LABELS)
    calls = provider.bill.requests
    second = called(frame(), **LABELS)

    assert first.kinds == second.kinds
    assert ["EmptyResponse" if fault == "blank" else "InvalidOutput"] == [kind for kind in first.kinds if kind]
    assert ROWS + 1 == calls == provider.bill.requests


def test_an_answer_stands_where_no_better_one_can_be_had(simulator):
    """The second request fails: the row has the error of the first, which was paid for and is not asked again."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": "prose", TOLD: "ctx"}))

    first = called(frame(), **LABELS)
    calls = provider.bill.requests
    second = called(frame(), **LABELS)

    assert "InvalidOutput: not JSON (paid)" == first.errors[STRUCK] == second.errors[STRUCK]
    assert ROWS + 1 == calls == provider.bill.requests
    assert ROWS == provider.bill.billed


def test_a_text_is_never_mended(simulator):
    """Without a schema there is nothing that an answer could fail to fit."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": "blank"}))

    first = called(frame())

    assert "EmptyResponse" == first.kinds[STRUCK]
    assert ROWS == provider.bill.requests


def test_fenced_json_is_an_answer(simulator):
    """A fence and some talk around the JSON are taken off."""
    simulator(faults=Faults(by_text={f"row {STRUCK}.": "fenced"}))

    first = called(frame(), model="simulator/small", schema=["good", "bad"])

    assert [None] * ROWS == first.errors
    assert {"good", "bad"} >= set(first.answers)


# What stops the run.


def timeless(text):
    """Return an error text without the time that it names."""
    return re.sub(r"retry at 20\d\d-\d\d-\d\dT\d\d:\d\dZ", "retry at TIME", text)


FATAL = {
    "401": (dfllm.AuthFailed, "AuthFailed: key rejected (http 401, invalid_api_key, free)"),
    "403": (
        dfllm.PermissionDenied,
        "PermissionDenied: Country, region, or territory not supported "
        "(http 403, unsupported_country_region_territory, free)",
    ),
    "404": (
        dfllm.ModelNotFound,
        "ModelNotFound: The model `echo` does not exist or you do not have access to it. "
        "(http 404, model_not_found, free)",
    ),
    "quota": (
        dfllm.QuotaExhausted,
        "QuotaExhausted: the account has no quota left (http 429, insufficient_quota, free)",
    ),
    "quota402": (
        dfllm.QuotaExhausted,
        "QuotaExhausted: the account has no quota left (http 402, invalid_request_error, free)",
    ),
    "day429": (dfllm.RateLimited, "RateLimited: retry at TIME (http 429, rate_limit_exceeded, free)"),
    "ra_huge": (dfllm.RateLimited, "RateLimited: rate limit (http 429, rate_limit_exceeded, free)"),
}
FIRST = {
    **FATAL,
    "400": (dfllm.BadRequest, FOR_GOOD["400"][0]),
    "redirect": (dfllm.ProviderError, "ProviderError: unexpected redirect, status 307 (http 307, free)"),
}


@pytest.mark.parametrize("fault", FIRST)
def test_what_can_never_work_costs_one_request(simulator, fault):
    """Trouble of the whole call on its first request: one request, however many may be in flight, and an exception."""
    kind, text = FIRST[fault]
    provider = simulator(faults=Faults(by_text={"row": fault}))

    first = called(frame(200), limits=dfllm.Limits(concurrency=100))
    calls = provider.bill.requests
    provider.faults = Faults()
    second = called(frame(200), limits=dfllm.Limits(concurrency=100))

    assert 1 == calls == first.facts["requests"]
    assert kind is type(first.raised)
    assert text == timeless(first.errors[0]) == timeless(str(first.raised.failure))
    assert text in timeless(str(first.raised))
    assert ["NotSent"] * 199 == first.kinds[1:]
    assert [None] * 200 == first.answers
    assert texts(200) == second.answers
    assert 201 == provider.bill.requests
    assert [] == journal()


@pytest.mark.parametrize("fault", [fault for fault in FATAL if fault != "401"])
def test_what_can_work_no_longer_returns_what_there_is(simulator, fault):
    """In mid-run: a frame, the rest not sent, one warning; the next run sends one request, and later only the rest."""
    kind, text = FATAL[fault]
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": f"{fault}*2"}))

    first = called(frame(), limits=ONE)
    calls = provider.bill.requests
    second = called(frame(), limits=QUICK)
    third = called(frame(), limits=QUICK)

    stopped = kind.__name__
    assert None is first.raised
    assert STRUCK + 1 == calls
    assert texts(STRUCK) == first.answers[:STRUCK]
    assert [None] * STRUCK + [stopped] + ["NotSent"] * (ROWS - STRUCK - 1) == first.kinds
    assert text == timeless(first.errors[STRUCK])
    assert f"NotSent: {stopped}: " in first.errors[-1]
    assert 1 == len(first.warned)
    assert f"The run was stopped early: {stopped}: " in first.warned[0]
    assert kind is type(second.raised)
    assert texts(STRUCK) == second.answers[:STRUCK]
    assert texts() == third.answers
    assert ROWS + 2 == provider.bill.requests
    assert ROWS == provider.bill.billed


@pytest.mark.parametrize(("probes", "lost"), [([9, 8], 0), ([9, 8, 7], ROWS - STRUCK)])
def test_a_key_refused_in_mid_run_gets_three_probes(simulator, monkeypatch, probes, lost):
    """A gateway's outage is outlasted; a key that stays refused ends the run, and the next one asks the rest."""
    monkeypatch.setattr(health, "_KEY_WAITS_SECONDS", (0.01, 0.02, 0.03))
    # The last rows are those that probe.
    provider = simulator(faults=Faults(by_text={f"row {number}.": "401*1" for number in (STRUCK, *probes)}))

    first = called(frame(), limits=ONE)
    kinds = [kind for kind in first.kinds if kind]
    second = called(frame(), limits=ONE)

    assert None is first.raised
    assert lost == len(kinds)
    assert {"AuthFailed", "NotSent"} >= set(kinds)
    assert texts() == second.answers
    assert ROWS == provider.bill.billed
    assert ROWS + 1 + len(probes) == provider.bill.requests


def test_known_rows_come_with_the_exception(simulator):
    """What the store knows is in `.frame`, though nothing could be sent."""
    provider = simulator()
    called(frame(4))
    provider.faults = Faults(by_text={"row": "401"})

    stopped = called(frame(6))

    assert dfllm.AuthFailed is type(stopped.raised)
    assert [*texts(4), None, None] == stopped.answers
    assert "4 rows were known, see .frame" in str(stopped.raised)


def test_the_nearest_model_is_named(simulator):
    """A misspelt model is answered with the one that may be meant."""
    provider = simulator()

    first = called(frame(), model="simulator/ecko")

    assert dfllm.ModelNotFound is type(first.raised)
    assert "Did you mean 'echo'?" in str(first.raised)
    assert 1 == provider.bill.requests


def test_the_same_complaint_on_twenty_rows_running_stops(simulator):
    """Twenty bad requests in a row are about the request, not the rows; the first rows' answers stay."""
    provider = simulator(faults=Faults(by_text={f"row {number}.": "400" for number in range(2, 60)}))

    first = called(frame(60), limits=ONE)

    assert [None] * 2 + ["BadRequest"] * 20 + ["NotSent"] * 38 == first.kinds
    assert 22 == provider.bill.requests
    assert None is first.raised
    assert 1 == len(first.warned)


def test_complaints_with_answers_between_them_do_not_stop(simulator):
    """Many bad rows among good ones are the rows' own trouble."""
    provider = simulator(faults=Faults(by_text={f"row {number}.": "400" for number in range(1, 60, 2)}))

    first = called(frame(60), limits=ONE)

    assert [None, "BadRequest"] * 30 == first.kinds
    assert 60 == provider.bill.requests


@pytest.mark.parametrize("on_error", ["raise", "stop"])
def test_on_error_decides_whether_rows_raise(simulator, on_error):
    """`raise` goes on to the end and then raises; `stop` sends nothing after the first failed row."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": "refusal"}))

    first = called(frame(), limits=ONE, on_error=on_error)
    calls = provider.bill.requests
    called(frame(), limits=ONE)

    assert dfllm.RowsFailed is type(first.raised)
    assert {"raise": ROWS, "stop": STRUCK + 1}[on_error] == calls
    assert ROWS == provider.bill.requests
    assert texts(STRUCK) == first.answers[:STRUCK]


# The first request goes alone.


def until(is_so, seconds=20.0):
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.002)


@contextmanager
def beside(*doings):
    """Do things in threads of their own, all at once; their exceptions are raised here."""
    raised = []
    ready = threading.Barrier(len(doings))

    def do(doing):
        try:
            ready.wait(20)
            doing()
        except Exception as error:  # noqa: BLE001  # whatever it was is what the test looks at
            raised.append(error)

    threads = [threading.Thread(target=do, args=[doing]) for doing in doings]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)
    if raised:
        raise raised[0]


def test_first_request_goes_alone(simulator):
    """Until the first answer there is one request in flight; then there are many."""
    provider = simulator(latency_seconds=0.15)
    done = []

    with beside(lambda: done.append(called(frame(40), limits=dfllm.Limits(concurrency=40)))):
        until(lambda: provider.bill.in_flight)
        time.sleep(0.05)
        alone = provider.bill.requests, provider.bill.most_in_flight

    assert (1, 1) == alone
    assert texts(40) == done[0].answers
    assert 30 < provider.bill.most_in_flight <= 40


def test_a_dead_key_costs_one_request_in_two_threads(simulator, monkeypatch):
    """Two runs at one gate: the answer of the first that goes is the answer of both."""
    provider = simulator(key="sk-another-key-altogether", latency_seconds=0.4)
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    raised = []

    def run(start):
        try:
            frame(50, start).llm.complete(PROMPT, model="openai/echo", limits=dfllm.Limits(concurrency=50))
        except dfllm.AuthFailed as error:
            raised.append(str(error))

    with beside(lambda: run(0), lambda: run(1_000)):
        pass

    assert 1 == provider.bill.requests
    assert 2 == len(raised)
    assert "openai/echo: AuthFailed: key rejected" in raised[0]
    assert "Check OPENAI_API_KEY." in raised[0]
    assert KEY[:7] not in raised[0] + raised[1]


def test_one_runs_bad_request_is_not_the_others(simulator):
    """A complaint about how one run asks stops that run; another one at the same gate goes on."""
    provider = simulator(faults=Faults(by_text={"row 0.": "400"}), latency_seconds=0.3)
    came = {}

    def ask(name, start):
        came[name] = called(frame(5, start))

    with beside(lambda: ask("bad", 0)):
        until(lambda: provider.bill.in_flight)
        ask("good", 1_000)

    assert dfllm.BadRequest is type(came["bad"].raised)
    assert texts(5, 1_000) == came["good"].answers
    assert 1 + 5 == provider.bill.requests


def test_the_gate_shuts_again_for_the_next_run(simulator):
    """A key that dies in mid-run costs what is in flight; the next run finds the gate shut and sends one."""
    provider = simulator()
    called(frame(5))
    provider.faults = Faults(by_text={"row": "quota"})

    first = called(frame(100, 5), limits=dfllm.Limits(concurrency=8))
    calls = provider.bill.requests
    second = called(frame(100, 5), limits=dfllm.Limits(concurrency=8))

    assert dfllm.QuotaExhausted is type(first.raised) is type(second.raised)
    assert calls <= 5 + 8
    assert calls + 1 == provider.bill.requests


# Rate limits.


def test_a_rate_limit_uses_no_try(simulator, leaping):
    """A row may be told to wait far more often than it has tries."""
    provider = simulator(faults=Faults(by_text={f"row {STRUCK}.": "rate429*12"}, retry_after_seconds=3.0))

    first = called(frame(), limits=ONE)
    calls = provider.bill.requests
    called(frame())

    assert texts() == first.answers
    assert ROWS + 12 == calls == provider.bill.requests
    assert {"RateLimited": 12} == first.facts["retries"]
    assert [3.0] * 12 == leaping[0].holds
    assert [] == journal()


@pytest.mark.parametrize(
    ("fault", "holds"),
    [
        ("rate429", pytest.approx([7.5, 7.5])),  # retry-after-ms goes before retry-after
        ("ra_date", pytest.approx([8.0, 8.0], abs=1.0)),  # dates know whole seconds only
        ("ra_skew", pytest.approx([8.0, 8.0], abs=1.0)),
        ("ra_past", pytest.approx([0.01, 0.02])),
        ("ra_junk", pytest.approx([0.01, 0.02])),
        ("ra_negative", pytest.approx([0.01, 0.02])),
        ("ra_nan", pytest.approx([0.01, 0.02])),
    ],
)
def test_a_rate_limit_is_waited_for_as_it_says(simulator, leaping, fault, holds):
    """Milliseconds, seconds or a date by the server's own clock; what is unusable is a hold that doubles."""
    provider = simulator(faults=Faults(by_text={"row 0.": f"{fault}*2"}, retry_after_seconds=7.5))

    first = called(frame(1))

    assert texts(1) == first.answers
    assert 3 == provider.bill.requests
    assert holds == leaping[0].holds


def test_a_rate_limit_holds_every_sender(simulator):
    """While the first request is told to wait, nobody else sends one, though the gate is open."""
    provider = simulator(faults=Faults(by_text={"row 0.": "rate429*1"}, retry_after_seconds=0.5))
    done = []

    with beside(lambda: done.append(called(frame(40), limits=dfllm.Limits(concurrency=40)))):
        until(lambda: provider.bill.requests)
        time.sleep(0.2)
        held = provider.bill.requests

    assert 1 == held
    assert texts(40) == done[0].answers
    assert 41 == provider.bill.requests


@pytest.mark.parametrize("told", ["openai", "none"], ids=["by headers", "by the user"])
def test_a_known_limit_is_kept_to(simulator, told):
    """As fast as it allows, and never told to wait."""
    provider = simulator()
    provider.limits = RateLimits(rpm=1_200, kind="shallow", depth_seconds=3.0, headers=told)
    limits = dfllm.Limits(rpm=1_200 if told == "none" else None)

    began = time.monotonic()
    first = called(frame(110), limits=limits)
    took = time.monotonic() - began

    assert texts(110) == first.answers
    assert 110 == provider.bill.requests == provider.bill.billed
    assert {} == first.facts["retries"]
    assert 1.5 < took < 20.0


def test_a_question_larger_than_the_limit_is_never_sent(simulator):
    """It could never go; the others do."""
    provider = simulator()
    df = frame()
    df["n"] = df["n"].astype(object)
    df.loc[STRUCK, "n"] = "x" * 900_000

    first = called(df, limits=dfllm.Limits(tpm=9_000))

    assert "TooLarge" == first.kinds[STRUCK]
    assert "limit 9,000 per minute" in first.errors[STRUCK]
    assert ROWS - 1 == provider.bill.requests == sum(error is None for error in first.errors)


def test_patience_ends(simulator, leaping):
    """A provider that says nothing but "later" for longer than `patience` stops the run; nothing was billed."""
    provider = simulator(faults=Faults(by_text={"row": "rate429"}, retry_after_seconds=100.0))
    dfllm.configure(patience=1_000.0)

    first = called(frame(), limits=ONE)
    calls, holds = provider.bill.requests, list(leaping[0].holds)
    provider.faults = Faults()
    second = called(frame())

    assert dfllm.RateLimited is type(first.raised)
    assert ["NotSent"] * (ROWS - 1) + ["RateLimited"] == sorted(first.kinds)
    assert [100.0] * 12 == holds
    assert 12 == calls
    assert texts() == second.answers


# The network.


def free_port():
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_server_that_is_not_there_is_tried_four_times(monkeypatch):
    """Nothing was sent; the exception says where it looked, and a later run sends it all."""
    monkeypatch.setenv("DFLLM_SIMULATOR_URL", base_url := f"http://127.0.0.1:{free_port()}/v1")

    first = called(frame(50))

    assert dfllm.ConnectFailed is type(first.raised)
    assert isinstance(first.raised, ConnectionError)
    assert "ConnectFailed: connection refused (try 4, free)" == first.errors[0]
    assert f"Is {base_url} right, and is it up?" in str(first.raised)
    assert 4 == first.facts["requests"]
    assert {"ConnectFailed": 3} == first.facts["retries"]
    assert ["NotSent"] * 49 == first.kinds[1:]
    assert [] == journal()


def test_a_name_that_does_not_resolve_is_said(monkeypatch):
    """The resolver's failure is no more than that; nothing was sent."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    dfllm.register_provider("lab", base_url="https://llm.lab.invalid/v1")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    first = called(frame(), model="lab/any")

    assert dfllm.ConnectFailed is type(first.raised)
    assert "ConnectFailed: name does not resolve (try 4, free)" == first.errors[0]
    assert 4 == first.facts["requests"]


def test_a_server_that_comes_up_late_is_reached(simulator, monkeypatch):
    """The first request goes on knocking while nobody listens."""
    provider = simulator()
    provider.stop()
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.5)
    monkeypatch.setattr(process, "Live", _knocking(process.Live, lambda: provider.start()))

    first = called(frame())

    assert texts() == first.answers
    assert {"ConnectFailed": 1} == first.facts["retries"]


def _knocking(live, knocked):
    """Return a Live that calls `knocked` where it would wait at random, and then waits for next to nothing."""

    def uniform():
        knocked()
        return 0.001

    return lambda **given: live(**given, uniform=uniform)


def test_a_server_that_goes_away_in_mid_run_loses_no_answer(simulator):
    """After the patience the frame comes back, and a later run sends only what is missing."""
    provider = simulator(latency_seconds=0.02)
    dfllm.configure(patience=0.3)
    done = []

    with beside(lambda: done.append(called(frame(60), limits=dfllm.Limits(concurrency=4)))):
        until(lambda: provider.bill.requests >= 20)
        provider.stop()
    first = done[0]
    answered = sum(error is None for error in first.errors)
    provider.start()
    before = provider.bill.requests
    second = called(frame(60), limits=dfllm.Limits(concurrency=4))

    assert None is first.raised
    assert 10 < answered < 60
    assert {None, "ConnectFailed", "ConnectionLost", "NotSent"} >= set(first.kinds)
    assert "NotSent" in first.kinds
    assert 1 == len(first.warned)
    assert texts(60) == second.answers
    assert 60 - answered == provider.bill.requests - before


def test_a_server_that_comes_back_is_waited_for(simulator):
    """A run that meets a server's restart pauses, and goes on; only what was in flight may be asked twice."""
    provider = simulator(latency_seconds=0.02)
    done = []

    with beside(lambda: done.append(called(frame(60), limits=dfllm.Limits(concurrency=4)))):
        until(lambda: provider.bill.requests >= 20)
        provider.stop()
        time.sleep(0.3)
        provider.start()

    assert texts(60) == done[0].answers
    assert [] == done[0].warned
    assert 60 <= provider.bill.requests <= 64


def test_a_redirect_never_carries_the_key_on(simulator, monkeypatch):
    """The place a redirect points at hears nothing, not even a connection."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)  # noqa: FBT003  # as sockets have it
        target = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v1/chat/completions"
        provider = simulator(key=KEY, faults=Faults(by_text={"row": "redirect"}, redirect_to=target))
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)

        first = called(frame(), model="openai/echo")

        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert dfllm.ProviderError is type(first.raised)
    assert target not in str(first.raised)
    assert 1 == provider.bill.requests


# Whatever happens, together.

_TRANSIENT = ("409", "500", "502", "503", "529", "slowdown", "html", "err200", "xsr_true")
_AMBIGUOUS = ("408", "504", "drop_before", "drop_before_billed", "drop_mid", "reset_mid", "chunk_cut", "html200")
_NEVER = ("400", "413", "ctx", "policy400", "xsr_false", "empty", "nochoices")
_KEPT = ("blank", "refusal", "filter", "length", "think_out", "fncall")
_ODD = ("nousage", "othermodel", "surrogate", "xss", "fenced", "badshape", "prose", "weirdjson")
_LIMITED = ("rate429", "ra_junk", "ra_negative")
ALL = (*_TRANSIENT, *_AMBIGUOUS, "trunc_json", *_NEVER, *_KEPT, *_ODD, *_LIMITED)


def calls_for(fault, strikes):
    """Return how many requests a row makes at most that meets this fault at its first attempts.

    Where rows enough meet it, it is an outage, which uses up no tries.
    """
    if fault in _TRANSIENT:
        return strikes + 1
    if fault in (*_AMBIGUOUS, "trunc_json"):
        return min(2, strikes + 1)
    return 1 + strikes if fault in _LIMITED else 1


@given(
    chosen=strategies.lists(strategies.sampled_from(ALL), min_size=1, max_size=6, unique=True),
    trouble=strategies.floats(0.1, 1.0),
    strikes=strategies.integers(1, 5),
    seed=strategies.integers(0, 10_000),
    concurrency=strategies.sampled_from([1, 3, 40]),
    labels=strategies.booleans(),
)
@example(chosen=["drop_mid", "500", "rate429", "refusal"], trouble=1.0, strikes=5, seed=0, concurrency=40, labels=False)
@example(chosen=["400"], trouble=1.0, strikes=1, seed=0, concurrency=40, labels=False)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_invariants_hold_under_random_trouble(monkeypatch, chosen, trouble, strikes, seed, concurrency, labels):
    """One answer or one error each, in its place; no request too many; a second run sends only what is not kept."""
    rates = {name: trouble / len(chosen) for name in chosen}
    faults = Faults(rates, attempts=strikes, seed=seed)
    df = pd.DataFrame({"n": [number % 36 for number in range(40)]}, index=[number % 7 for number in range(40)])
    options = {"limits": dfllm.Limits(concurrency=concurrency)}
    if labels:
        options |= {"model": "simulator/small", "schema": ["good", "bad"]}

    with _anew(monkeypatch, faults) as provider, dfllm.options(repair_attempts=0):
        first = called(df, **options)
        entries, billed = provider.bill.entries(), provider.bill.billed
        provider.bill.reset()
        provider.faults = Faults()
        second = called(df, **options)
        again = provider.bill.requests, provider.bill.distinct

    calls = {one: entry.calls for one, entry in entries.items()}
    most = {one: calls_for(faults.choose(one, 1, ""), strikes) for one in entries}
    missing = [error is not None and not is_kept(error) for error in first.errors]
    if first.facts["stopped"] is None:
        assert 36 == len(calls)
    assert [] == [one for one, made in calls.items() if made > most[one]]
    assert sum(calls.values()) == first.facts["requests"]
    assert billed >= 36 - sum(missing[:36])
    assert (first.answers[:4], first.errors[:4]) == (first.answers[36:], first.errors[36:])
    assert (sum(missing[:36]),) * 2 == again
    kept = [place for place in range(40) if not missing[place]]
    assert [first.answers[place] for place in kept] == [second.answers[place] for place in kept]
    assert [first.errors[place] for place in kept] == [second.errors[place] for place in kept]
    assert [] == [place for place in range(40) if missing[place] and second.errors[place] is not None]
    if not labels:
        own = [(place % 36, text) for place, text in enumerate(second.answers) if str(text).startswith("row ")]
        assert [] == [(place, text) for place, text in own if not f"row {place}. \ufffd".startswith(text)]


def is_kept(error):
    """Whether an error is the row's for good, so that a second run does not ask again."""
    return error.endswith("paid)") and error.partition(":")[0] != "BadResponse" and "no choices" not in error


@contextmanager
def _anew(monkeypatch, faults):
    """Give a provider, a store and lanes that know nothing of the last example."""
    with TemporaryDirectory() as home, Simulator(faults=faults) as provider:
        monkeypatch.setenv("DFLLM_SIMULATOR_URL", provider.base_url)
        monkeypatch.setenv("DFLLM_STORE", f"{home}/answers.db")
        monkeypatch.setattr(process, "Pace", Leaping)
        runtime()._lanes.clear()
        yield provider
        runtime().close()
