"""The run report: the same counts as a line, as a mapping and as HTML that a notebook nobody trusts shows whole."""

import html.parser
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dfllm
from dfllm import report
from dfllm._core import retry
from dfllm._core.meter import LimitUse
from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled
from dfllm._run.tally import Tally
from dfllm._running import Ending
from dfllm.simulator import Faults, Simulator

# The calls here warn of failed rows, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::dfllm.RowsFailedWarning")

ECHO = "simulator/echo"
PROMPT = "<{{ review }}>"
TEXT = pd.Series([], dtype="str").dtype
MARKUP = "<script>alert(1)</script><svg id=x onload=y>&\"'"
MEASURED = (
    *("tokens_in", "tokens_out", "tokens_cached", "cached_share", "seconds", "store"),
    *("rows_per_second", "tokens_per_second", "latency", "limits"),
)
FORBIDDEN = {"script", "style", "svg", "iframe", "object", "link", "img", "form"}


@pytest.fixture
def run(simulator: Callable[..., Simulator]) -> Callable[..., report.Run]:
    """Return a function that makes a call with these faults and returns its record, whatever came of the call."""

    def call(reviews: list[Any], faults: dict[str, str] | None = None, index: Any = None, **options: Any) -> report.Run:
        simulator(faults=Faults(by_text=faults or {}))
        frame = pd.DataFrame({"review": pd.Series(reviews, dtype=object)}).set_axis(index or range(len(reviews)))
        with suppress(dfllm.RunStopped):
            frame.llm.complete(PROMPT, **{"model": ECHO, **options})
        return dfllm.last_run()

    return call


class Page(html.parser.HTMLParser):
    """Collects the tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.widths: list[float] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "br":
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
        style = dict(attrs).get("style") or ""
        if style.startswith("width:"):
            self.widths.append(float(style.removeprefix("width:").partition("%")[0]))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_before_the_first_call_there_is_no_run():
    """A new process has nothing to report."""
    program = "import dfllm; print(dfllm.last_run())"

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "None" == told.strip()


def test_counts_are_plain_values(run):
    """Fit for JSON, and each row counted once."""
    facts = run(["a", "a", None, "b", "refuse", b"x"], {"refuse": "refusal"}, tag="nightly").to_dict()

    assert facts == json.loads(json.dumps(facts))
    assert {
        "model": ECHO,
        "tag": "nightly",
        "state": "finished",
        "rows": 6,
        "ok": 3,
        "failed": 2,
        "skipped": 1,
        "known": 0,
        "shared": 1,
        "sent": 3,
        "requests": 3,
        "maybe_billed": 0,
        "maybe_usd": 0.0,
        "saved_store_usd": 0.0,
        "saved_dedupe_usd": 0.0,
        "cost_usd": None,
        "errors": {"Refused": 1, "BadInput": 1},
        "retries": {},
        "stopped": None,
    } == {name: fact for name, fact in facts.items() if name not in MEASURED}
    assert facts["tokens_in"] > 0 < facts["tokens_out"]
    assert facts["seconds"] > 0
    assert facts["rows_per_second"] > 0 < facts["tokens_per_second"]


def test_tokens_are_those_on_the_bill(simulator):
    """What the provider charged for is what the report says, also for an answer that is none."""
    bill = simulator(faults=Faults(by_text={"c": "refusal"})).bill

    pd.DataFrame({"review": ["a", "bb" * 40, "c"]}).llm.complete(PROMPT, model=ECHO)

    facts = dfllm.last_run().to_dict()
    assert (bill.prompt_tokens, bill.completion_tokens) == (facts["tokens_in"], facts["tokens_out"])
    assert (bill.requests, bill.billed) == (facts["requests"], facts["sent"])


def test_store_is_named(run, tmp_path: Path):
    """Where the answers are is part of the report."""
    facts = run(["a"])

    assert str(tmp_path / "store" / "answers.db") == facts.to_dict()["store"]


def test_run_that_sent_nothing_cost_nothing(run):
    """A second run is free, and its cost a number."""
    run(["a"])

    again = run(["a"])

    assert (0, 0, 0.0) == tuple(again.to_dict()[name] for name in ("sent", "requests", "cost_usd"))
    assert "$0" in repr(again)
    assert "nothing paid" in again._repr_html_()


def test_line_says_the_essentials(run):
    """One line for a terminal."""
    line = repr(run(["a", None, "refuse"], {"refuse": "refusal"}))

    assert line.startswith("Run(simulator/echo, finished: 3 rows: 1 ok, 1 failed, 0 known, 1 skipped, 2 sent, ")
    assert "price unknown" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("faults", "options", "state"),
    [({}, {}, "finished"), ({"a": "401"}, {}, "stopped"), ({"a": "refusal"}, {"on_error": "stop"}, "stopped")],
)
def test_state_is_how_it_ended(run, faults, options, state):
    """A run that was stopped is remembered, too."""
    found = run(["a"], faults, **options)

    assert state == found.to_dict()["state"]
    assert state in repr(found)
    assert (state == "stopped") == (found.to_dict()["stopped"] is not None)


def test_frame_is_the_one_that_was_returned(run):
    """The very same, so that a call whose result was not kept is not lost."""
    found = run(["a", None])

    assert ["<a>", None] == [None if pd.isna(one) else one for one in found.frame["completion"]]
    assert ["review", "completion", "completion_error"] == list(found.frame.columns)


def test_failures_are_rows_with_their_labels(run):
    """Position, type and text, under the frame's own index, whose labels may repeat; skipped rows are none."""
    found = run(["a", "refuse", None, "refuse", b"x"], {"refuse": "refusal"}, index=list("uvvvw")).failures

    assert ["v", "v", "w"] == found.index.tolist()
    assert [1, 3, 4] == found["position"].tolist()
    assert ["Refused", "Refused", "BadInput"] == found["type"].tolist()
    assert "BadInput: bytes cannot be sent in column 'review'" == found["error"].iloc[2]
    assert ["int64", TEXT, TEXT] == found.dtypes.tolist()


@pytest.mark.parametrize("reviews", [[], ["a"], [None]])
def test_no_failures_are_an_empty_frame(run, reviews):
    """Of the same columns and dtypes."""
    found = run(reviews).failures

    assert (0, ["position", "type", "error"]) == (len(found), list(found.columns))
    assert ["int64", TEXT, TEXT] == found.dtypes.tolist()


FAULTS = {
    "refuse": "refusal",
    "filter": "filter",
    "cut": "length",
    "blank": "blank",
    "call": "fncall",
    "5": "xsr_false",
}


@pytest.mark.parametrize("reviews", [[], ["a"], ["a", None, *FAULTS, b"x"]], ids=["empty", "one", "many"])
def test_page_survives_a_notebook_nobody_trusts(run, reviews):
    """No script, style sheet, drawing or id; well-formed, with no colour of paper, and short."""
    page = run(reviews, FAULTS)._repr_html_()

    found = Page(page)
    assert set() == FORBIDDEN & set(found.tags)
    assert {"style", "title"} >= found.attributes
    assert [] == found.open
    assert len(page.encode()) < 10_000
    assert "background:transparent" in page
    assert "color:inherit" in page


def test_page_shows_the_counts(run):
    """Rows, answers, failures with one example of each kind."""
    page = Page(run(["a", "refuse 1", "refuse 2", b"x"], {"refuse": "refusal"})._repr_html_())

    said = " ".join(" ".join(page.texts).split())
    for part in ("simulator/echo · finished", "4 rows", "1 ok", "3 failed", "0 known", "3 sent", "price unknown"):
        assert part in said
    assert "3 rows without an answer 2 Refused: I'm sorry, but I can't help with that. (paid)" in said
    assert "1 BadInput: bytes cannot be sent in column 'review'" in said


def test_bar_is_never_longer_than_the_whole(run):
    """Rows that are known and failed are counted in one of its parts."""
    reviews = ["a", "refuse", "cut it", "b"]
    run(reviews, FAULTS)

    again = run([*reviews, "new", None], FAULTS)

    known_ok, new, failed = 2 / 6, 1 / 6, 2 / 6
    assert [round(100 * share, 2) for share in (new, known_ok, failed)] == Page(again._repr_html_()).widths
    assert (4, 2) == (again.to_dict()["known"], again.to_dict()["failed"])


def test_page_escapes_what_others_wrote(run):
    """A model's name, a column's label and an error's text are shown as text."""
    frame = pd.DataFrame([[b"x"]], columns=[MARKUP])
    frame.llm.complete(f"{{{{ row[{MARKUP!r}] }}}}", model=f"simulator/{MARKUP}")

    page = dfllm.last_run()._repr_html_()

    found = Page(page)
    assert "<script" not in page
    assert set() == FORBIDDEN & set(found.tags)
    assert any("<script>alert(1)</script>" in text for text in found.texts)


@pytest.mark.parametrize("mark", ["x", "'", "\U0001f600"])
def test_page_with_a_failure_of_every_kind_stays_short(run, mark):
    """Forty kinds of errors at 300 characters each: as many are shown as ten kilobytes hold, the commonest first."""
    tally = Tally(400)
    for number in range(40):
        failures = [Settled(None, Failure(f"Type{number}", mark * 300), None)] * (number + 1)
        tally.count(failures)
    found = report.Run(run(["a"])._ending._replace(tally=tally))

    page = found._repr_html_()

    assert len(page.encode()) < 10_000
    shown = page.count("Type")
    assert f"{40 - shown} kinds more; see .failures" in page
    assert "Type39" in page
    assert 1 <= shown < 40


def test_retries_and_doubts_are_shown(simulator, monkeypatch):
    """What was sent twice, and what may have been billed for nothing."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    simulator(faults=Faults(by_text={"drop": "drop_mid*1", "busy": "503*2"}))

    pd.DataFrame({"review": ["a", "drop", "busy"]}).llm.complete(PROMPT, model=ECHO)

    found = dfllm.last_run()
    assert ({"Overloaded": 2, "ConnectionLost": 1}, 1) == (found.to_dict()["retries"], found.to_dict()["maybe_billed"])
    assert "6 requests, retried 2 after Overloaded, 1 after ConnectionLost" in found._repr_html_()
    assert "1 attempts may have been billed without an answer" in found._repr_html_()


def test_cost_is_shown_where_a_price_is_known(run):
    """In dollars; where only some answers have a price, it is said how many have none."""
    ending = run(["a", "b"])._ending
    ending.tally.cost, ending.tally.unpriced = 1_234_567_890, 0
    known = report.Run(ending)
    assert 1.23456789 == known.to_dict()["cost_usd"]
    assert "$1.2346" in repr(known)

    ending.tally.unpriced = 1

    assert "$1.2346 and 1 answers of unknown price" in repr(report.Run(ending))


# How fast it went, and what held it up.


def paid(tally: Tally, seconds: float) -> report.Run:
    """Return the record of a run of this tally that took so long."""
    ending = Ending(
        frame=pd.DataFrame(),
        tally=tally,
        model="openai/gpt-mini",
        error_column="error",
        seconds=seconds,
        stopped=None,
        began=True,
        interrupted=False,
        store="answers.db",
        tag=None,
    )
    return report.Run(ending)


@pytest.fixture
def tally() -> Tally:
    """Return what a hundred paid answers came to, in one to a hundred hundredths of a second, within ten seconds."""
    tally = Tally(200, ok=200, known=100, known_ok=100, asked=100, requests=104)
    for number in range(1, 101):
        tally.pay(Response("a", tokens_in=70, tokens_out=30), 0, number / 100)
    return tally


def test_latency_is_that_of_the_answers(tally):
    """Half, nineteen of twenty, the longest; as attributes and as plain values."""
    found = paid(tally, 10.0)

    assert (0.5, 0.95, 1.0) == pytest.approx(found.latency, rel=0.022)
    assert 1.0 == found.latency.max
    assert {"p50": 0.5, "p95": 0.95, "max": 1.0} == pytest.approx(found.to_dict()["latency"], rel=0.022)


def test_rates_are_those_of_the_whole_call(tally):
    """Rows that were known count among the rows, their tokens not among those that were paid."""
    found = paid(tally, 10.0)

    assert (20.0, 1_000.0) == (found.rows_per_second, found.tokens_per_second)
    assert "10.0 s, 20 rows/s, 1,000 tokens/s, answers in 0.5" in repr(found)
    assert "104 requests · 7,000 + 3,000 tokens · $0.0000" in found._repr_html_()
    assert "20 rows/s · 1,000 tokens/s · answers in 0.5" in found._repr_html_()


def test_run_that_took_no_time_has_no_rate(tally):
    """Clocks are coarse on some machines."""
    found = paid(tally, 0.0)

    assert (None, None) == (found.rows_per_second, found.tokens_per_second)
    assert (None, None) == (found.to_dict()["rows_per_second"], found.to_dict()["tokens_per_second"])
    assert "rows/s" not in repr(found)


def test_run_that_sent_nothing_has_nothing_to_say_of_it():
    """Known rows took no provider's time, and met no limit."""
    found = paid(Tally(5, ok=5, known=5, known_ok=5), 10.0)

    assert (None, None, {}) == (found.latency, found.limits, found.retries)
    assert (None, None) == (found.to_dict()["latency"], found.to_dict()["limits"])
    assert repr(found).endswith("0 sent, 0 + 0 tokens, $0, 10.0 s)")


def test_retries_are_counted_by_cause(tally):
    """As a mapping of its own: who changes it does not change the record."""
    tally.retries.update({"Overloaded": 3, "RateLimited": 1})
    found = paid(tally, 10.0)

    found.retries.clear()

    assert {"Overloaded": 3, "RateLimited": 1} == found.retries
    assert repr(found).endswith(", retried 3 after Overloaded, 1 after RateLimited)")
    assert "104 requests, retried 3 after Overloaded, 1 after RateLimited" in found._repr_html_()


def test_limits_and_their_use_are_shown(tally):
    """What is allowed, how much of it was used, how often the answer was 429 and how long that held the run."""
    tally.limits = LimitUse(600.0, 90_000.0, 8_000.0, "stated", 0.9876, 3, 12.34567)
    found = paid(tally, 10.0)

    parts = [
        "limit 600 requests and 90,000 tokens and 8,000 output tokens a minute",
        "99% of it used",
        "3 x 429",
        "held 12.3 s",
    ]
    assert ", ".join(parts) in repr(found)
    assert " · ".join(parts) in found._repr_html_()
    assert {**tally.limits._asdict(), "held_seconds": 12.3457} == found.to_dict()["limits"]
    assert found.to_dict() == json.loads(json.dumps(found.to_dict()))


def test_limits_that_nobody_knows_are_left_out(tally):
    """Neither a share of nothing nor a count of none."""
    tally.limits = LimitUse()

    found = paid(tally, 10.0)

    assert [] == [word for word in ("limit", "used", "429", "held", "minute") if word in repr(found)]
    assert None is found.to_dict()["limits"]["requests"]


def test_attributes_are_documented():
    """Each says what it is, and when there is none."""
    public = [name for name in vars(report.Run) if not name.startswith("_")]

    assert [
        *("agreement", "cached_share", "causes", "failures", "latency", "limits", "retries"),
        *("rows_per_second", "to_dict", "tokens_per_second"),
    ] == sorted(public)
    assert [] == [name for name in public if not inspect.getdoc(getattr(report.Run, name))]


def test_line_has_no_control_codes(run):
    """A terminal shows what others wrote, and does not obey it."""
    ending = run(["a"])._ending._replace(model="lab/\x1b[2Jm\u202e")

    assert "lab/[2Jm, finished" in repr(report.Run(ending))
