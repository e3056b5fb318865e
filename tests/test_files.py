"""File columns: what a user does with them, over real sockets, and what a hostile cell cannot do."""

import hashlib
import json

import pandas as pd
import pytest

import dfllm
from dfllm._core.files import file_url

DOCUMENT = b"%PDF-1.7 pages"
PNG = b"\x89PNG\r\n\x1a\npixels"
PROMPT = "What is in {{ name }}?"
MODEL = "simulator/echo"
TOLD = f"[application/pdf {len(DOCUMENT)} bytes {hashlib.sha256(DOCUMENT).hexdigest()[:8]}]"
PRICES = {"simulator/echo": {"input": 1.0, "output": 1.0}}


def reports(*cells):
    """Return a frame with a name and a report in each row."""
    return pd.DataFrame({"name": [f"file {n}" for n in range(len(cells))], "report": pd.Series(cells, dtype=object)})


def errors(done):
    """Return the error column, None where there is none."""
    return [None if pd.isna(error) else error for error in done["completion_error"]]


def test_same_bytes_under_another_name_are_the_same_question(simulator, tmp_path):
    """The name is in no question and no key; other bytes are another."""
    started = simulator()
    path = tmp_path / "salaries of all.pdf"
    path.write_bytes(DOCUMENT)

    for frame in (reports(str(path)), reports(path), reports(DOCUMENT), reports(file_url(DOCUMENT)), reports([path])):
        done = frame.llm.complete(PROMPT, files="report", model=MODEL)
        assert [f"What is in file 0?\n{TOLD}"] == done["completion"].tolist()
    assert 1 == started.bill.requests
    reports(DOCUMENT + b"!").llm.complete(PROMPT, files="report", model=MODEL)

    assert 2 == started.bill.requests


def test_files_and_images_go_together(simulator):
    """Files stand first, then images, then the text; several columns in their order."""
    simulator()
    frame = reports(DOCUMENT).assign(photo=[PNG], other=[DOCUMENT + b"!"])

    done = frame.llm.complete(PROMPT, files=["other", "report"], images="photo", model=MODEL)

    kinds = [line.split()[0] for line in done["completion"].iloc[0].splitlines()[1:]]
    assert ["[application/pdf", "[application/pdf", "[image/png"] == kinds
    assert TOLD == done["completion"].iloc[0].splitlines()[2]


def test_a_secret_does_not_leave_by_a_cell(simulator, tmp_path):
    """A stranger's table names paths and addresses; what is no PDF stays, in a conversation too."""
    started = simulator()
    secret = tmp_path / ".env"
    secret.write_text("API_KEY=sk-1")
    parts = [{"type": "file", "file": str(secret)}, {"type": "text", "text": "See?"}]
    talk = json.dumps([{"role": "user", "content": parts}])
    cells = [str(secret), "http://169.254.169.254/latest", "file:///etc/passwd", 7]

    with pytest.warns(dfllm.RowsFailedWarning):
        done = reports(*cells).llm.complete(PROMPT, files="report", model=MODEL)
    with pytest.warns(dfllm.RowsFailedWarning):
        talked = pd.DataFrame({"talk": [talk]}).llm.complete(messages="talk", model=MODEL)

    path = "BadInput: path to no PDF: a text file goes as pathlib.Path or bytes in column 'report'"
    address = "BadInput: address not allowed: files are https:// or data: URLs, paths or bytes in column 'report'"
    wrong = "BadInput: int is no file, path or URL in column 'report'"
    assert [path, address, address, wrong] == errors(done)
    assert [path.replace("report", "talk")] == errors(talked)
    assert 0 == started.bill.requests


def test_a_cell_that_names_a_file_very_often_is_not_read_to_its_end(simulator, monkeypatch, tmp_path):
    """No more is held than a request may have, in a column and in a conversation."""
    from dfllm._run.pictures import Pictures

    started = simulator()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-none")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", started.base_url)
    path = tmp_path / "a.pdf"
    path.write_bytes(DOCUMENT.ljust(6_000_000, b" "))
    parts = [{"type": "file", "file": str(path)}] * 100
    frame = reports([path] * 100).assign(talk=[[{"role": "user", "content": parts}]])
    read = []
    one = Pictures.one
    monkeypatch.setattr(Pictures, "one", lambda self, cell: read.append(1) or one(self, cell))
    why = "BadInput: more than the 32 MB that anthropic takes a request in column"

    for column, options in (("report", {"files": "report"}), ("talk", {"messages": "talk"})):
        with pytest.warns(dfllm.RowsFailedWarning):
            done = frame.llm.complete(PROMPT, model="anthropic/echo", **options)
        assert [f"{why} {column!r}"] == errors(done)

    assert (8, 0) == (len(read), started.bill.requests)


@pytest.mark.parametrize("provider", ["deepseek", "groq"])
def test_provider_that_takes_no_files_is_not_asked(simulator, monkeypatch, provider):
    """It is known before anything is sent."""
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "sk-none")

    with pytest.raises(dfllm.OptionError, match=f"{provider} takes no files; leave files= out"):
        reports(DOCUMENT).llm.complete(PROMPT, files="report", model=f"{provider}/any")


def test_missing_file_is_a_missing_value(simulator):
    """The row is skipped; on demand it goes without."""
    simulator()

    skipped = reports(None).llm.complete(PROMPT, files="report", model=MODEL)
    rendered = reports(None).llm.complete(PROMPT, files="report", model=MODEL, missing="render")

    assert ["Skipped: column 'report' is missing"] == errors(skipped)
    assert ["What is in file 0?"] == rendered["completion"].tolist()


def test_budget_reserves_the_most_a_file_can_cost(simulator):
    """An image and a file count as what the provider bills for one, not as their bytes."""
    started = simulator()
    frame = reports(*(DOCUMENT + bytes([n]) for n in range(3))).assign(photo=[PNG] * 3)
    ask = {"files": "report", "images": "photo", "model": MODEL, "max_tokens": 100}
    dfllm.configure(prices=PRICES)
    try:
        # About 1,085 tokens for what is shown, and some hundred for the rest.
        plan = frame.llm.plan(PROMPT, **ask)
        whole = frame.llm.complete(PROMPT, budget=0.01, **ask)
        with pytest.warns(dfllm.RowsFailedWarning):
            none = frame.llm.complete(PROMPT + "!", budget=0.001, **ask)
    finally:
        dfllm.configure(prices=None)

    assert 3 * 1_085 < plan.tokens_in.high < 3 * 2_000
    assert 3 == whole["completion"].notna().sum()
    assert ["BudgetExceeded"] * 3 == [error.split(":")[0] for error in errors(none)]
    assert 3 == started.bill.requests


def test_budget_without_a_bound_is_refused(simulator):
    """Nobody says what a file costs at a server of one's own; its plan says so."""
    started = simulator()
    dfllm.register_provider("lab", base_url=started.base_url)
    dfllm.configure(prices={"lab/echo": PRICES["simulator/echo"]})
    ask = {"files": "report", "model": "lab/echo", "max_tokens": 10}
    talk = pd.DataFrame({"talk": [[{"role": "user", "content": [{"type": "file", "file": DOCUMENT}]}]]})
    try:
        with pytest.raises(dfllm.OptionError, match="nothing bounds what a file costs"):
            reports(DOCUMENT).llm.complete(PROMPT, budget=1.0, **ask)
        with pytest.warns(dfllm.RowsFailedWarning):
            talked = talk.llm.complete(messages="talk", budget=1.0, model="lab/echo", max_tokens=10)
        plan = reports(DOCUMENT).llm.plan(PROMPT, **ask)
        talk_plan = talk.llm.plan(messages="talk", model="lab/echo", max_tokens=10)
    finally:
        dfllm.configure(prices=None)

    assert ["BadInput: there is a budget, and nothing bounds what a file costs"] == errors(talked)
    assert [(None, None)] * 2 == [(one.tokens_in.high, one.cost.high) for one in (plan, talk_plan)]
    assert "no upper bound: nobody says what an image or a file is counted at most" in str(plan)
    assert 0 == started.bill.requests


def test_plan_says_what_is_shown(simulator):
    """A preview names images and files and does not print them."""
    simulator()
    frame = reports([DOCUMENT, DOCUMENT + b"!"]).assign(photo=[PNG])

    plan = frame.llm.plan(PROMPT, files="report", images="photo", model=MODEL)

    assert "[user] (2 files, 1 image) What is in file 0?" in str(plan)
    assert "(2 files, 1 image)" in plan._repr_html_()


def test_refresh_hears_of_files(simulator):
    """Another column is another call."""
    started = simulator()
    frame = reports(DOCUMENT).assign(other=[DOCUMENT + b"!"])

    for column in ("report", "other", "report"):
        frame.llm.complete("What?", files=column, model=MODEL, cache="refresh")

    assert 3 == started.bill.requests


def test_fetched_files_are_sent_as_bytes(simulator, monkeypatch):
    """Where that is asked for, by the way that reaches nothing of one's own."""
    from dfllm._run.pictures import Pictures

    simulator()
    monkeypatch.setattr(Pictures, "__init__", _resolving(Pictures.__init__))
    monkeypatch.setattr(Pictures, "_download", lambda self, url, host: DOCUMENT)
    with dfllm.options(fetch_files=True):
        done = reports("https://example.com/a.pdf").llm.complete(PROMPT, files="report", model=MODEL)

    assert [f"What is in file 0?\n{TOLD}"] == done["completion"].tolist()


def _resolving(init):
    def made(self, *arguments, **options):
        init(self, *arguments, resolve=lambda host, port: ["93.184.216.34"], **options)

    return made


def test_command_line_reads_paths(simulator, tmp_path):
    """A CSV with paths to PDFs is a table like any other."""
    from click.testing import CliRunner

    from dfllm.cli import main

    simulator()
    (tmp_path / "a.pdf").write_bytes(DOCUMENT)
    (tmp_path / "in.csv").write_text(f"name,report\nreport,{tmp_path / 'a.pdf'}\n")
    asked = ["run", str(tmp_path / "in.csv"), "-p", PROMPT, "-m", MODEL, "--files", "report", "-o", "-"]

    done = CliRunner().invoke(main, asked)

    assert 0 == done.exit_code, done.output
    assert TOLD in done.stdout
