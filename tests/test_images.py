"""Image columns: what a user does with them, over real sockets, and what a hostile cell cannot do."""

import base64
import json

import pandas as pd
import pytest

import dfllm
from dfllm._core.images import data_url

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
URL = "https://images.example.com/a.png"
PROMPT = "What is {{ name }}?"
MODEL = "simulator/echo"


@pytest.fixture
def bodies(simulator, monkeypatch):
    """Return the bodies that were sent, in their order, as JSON."""
    from dfllm._run.http import Http

    simulator()
    sent = []
    post = Http.post

    async def noting(self, target, body, *rest):
        sent.append(json.loads(body))
        return await post(self, target, body, *rest)

    monkeypatch.setattr(Http, "post", noting)
    return sent


def photos(*cells):
    """Return a frame with a name and a photo in each row."""
    return pd.DataFrame({"name": [f"thing {n}" for n in range(len(cells))], "photo": pd.Series(cells, dtype=object)})


def said(done):
    """Return what was answered, without what echo says of images."""
    return [text.splitlines()[0] for text in done["completion"]]


def test_images_stand_before_the_text_of_their_row(bodies):
    """Bytes as a data URL, a URL as it is, and several in their order; each row has its own."""
    done = photos(PNG, URL, [PNG, URL]).llm.complete(PROMPT, images="photo", model=MODEL)

    shown = {data_url(PNG): "bytes", URL: "url"}
    parts = {
        body["messages"][0]["content"][-1]["text"]: [
            shown[part["image_url"]["url"]] for part in body["messages"][0]["content"][:-1]
        ]
        for body in bodies
    }
    assert {"What is thing 0?": ["bytes"], "What is thing 1?": ["url"], "What is thing 2?": ["bytes", "url"]} == parts
    assert ["What is thing 0?", "What is thing 1?", "What is thing 2?"] == said(done)


def test_run_again_sends_nothing_and_other_bytes_are_another_question(bodies, tmp_path):
    """A file under another name is the same question, a changed one is another."""
    path = tmp_path / "one.png"
    path.write_bytes(PNG)
    photos(str(path)).llm.complete(PROMPT, images="photo", model=MODEL)
    path.rename(tmp_path / "two.png")

    photos(tmp_path / "two.png").llm.complete(PROMPT, images=["photo"], model=MODEL)
    (tmp_path / "two.png").write_bytes(PNG + b"!")
    photos(tmp_path / "two.png").llm.complete(PROMPT, images=["photo"], model=MODEL)

    assert 2 == len(bodies)


def test_image_that_cannot_go_out_costs_its_row(bodies):
    """A secret, a server of the cloud's and a number end as errors; the others are answered."""
    frame = photos("/etc/passwd", "http://169.254.169.254/latest", 7, PNG)
    with pytest.warns(dfllm.RowsFailedWarning):
        done = frame.llm.complete(PROMPT, images="photo", model=MODEL)

    assert [
        "BadInput: no PNG, JPEG, GIF or WebP image in column 'photo'",
        "BadInput: address not allowed: images are https:// or data: URLs, files or bytes in column 'photo'",
        "BadInput: int is no image, path or URL in column 'photo'",
        None,
    ] == [None if pd.isna(error) else error for error in done["completion_error"]]
    assert 1 == len(bodies)


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA, "", "  "], ids=["none", "nan", "na", "empty", "blank"])
def test_missing_image_is_a_missing_value(bodies, gap):
    """The row is skipped; on demand it goes without."""
    frame = photos(gap, PNG)

    skipped = frame.llm.complete(PROMPT, images="photo", model=MODEL)
    rendered = frame.llm.complete(PROMPT, images="photo", model=MODEL, missing="render")

    assert "Skipped: column 'photo' is missing" == skipped["completion_error"].iloc[0]
    assert ["What is thing 0?", "What is thing 1?"] == said(rendered)
    assert ["What is thing 0?"] == [
        body["messages"][0]["content"] for body in bodies if isinstance(body["messages"][0]["content"], str)
    ]
    with pytest.raises(dfllm.TemplateError, match="Row 0: column 'photo' is missing, and missing='raise'"):
        frame.llm.complete(PROMPT, images="photo", model=MODEL, missing="raise")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"images": "foto"}, dfllm.TemplateError, r"images= asks for 'foto'.*Did you mean 'photo'"),
        ({"images": 7}, dfllm.OptionError, "images takes a column's name or a list of them; found 7"),
        ({"images": "photo", "into": "photo"}, dfllm.OptionError, "reads 'photo'"),
        (
            {"images": "photo", "budget": 1.0, "max_tokens": 9, "model": "vllm/any"},
            dfllm.OptionError,
            "nothing bounds what an image costs",
        ),
        (
            {"images": "photo", "model": "deepseek/any"},
            dfllm.OptionError,
            "deepseek takes no images; leave images= out",
        ),
    ],
    ids=["no column", "no name", "overwritten", "budget", "none taken"],
)
def test_call_that_cannot_work_sends_nothing(bodies, monkeypatch, options, error, said):
    """The message says what was found and what to do."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-none")
    with pytest.raises(error, match=said):
        photos(PNG).llm.complete(PROMPT, **{"model": MODEL} | options)

    assert [] == bodies


def test_plan_counts_images_and_reads_no_network(bodies):
    """Rows that cannot be sent are known beforehand."""
    plan = photos(PNG, URL, PNG, "http://x/a.png", None).llm.plan("One image.", images="photo", model=MODEL)

    assert (5, 2, 2, 1, 1) == (plan.rows, plan.distinct, plan.missing, plan.failed, plan.skipped)
    assert [] == bodies


def test_many_large_images_are_not_all_in_memory_at_once(bodies, tmp_path, monkeypatch):
    """Rows are prepared a few at a time, so ten thousand photos need no more memory than some."""
    from dfllm._run.desk import Desk

    windows = []
    prepare = Desk.prepare

    def noting(self, start, stop):
        windows.append(stop - start)
        return prepare(self, start, stop)

    monkeypatch.setattr(Desk, "prepare", noting)
    cells = [PNG + str(n).encode() for n in range(40)]

    done = photos(*cells).llm.complete(PROMPT, images="photo", model=MODEL)

    assert [16, 16, 8] == windows
    assert 40 == int(done["completion"].notna().sum())


def test_command_line_reads_paths(bodies, tmp_path):
    """A CSV with paths is a table like any other."""
    from click.testing import CliRunner

    from dfllm.cli import main

    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "in.csv").write_text(f"name,photo\nkettle,{tmp_path / 'a.png'}\n")
    asked = ["run", str(tmp_path / "in.csv"), "-p", PROMPT, "-m", MODEL, "--images", "photo", "-o", "-"]

    done = CliRunner().invoke(main, asked)

    assert (0, '"What is kettle?') == (done.exit_code, done.stdout.splitlines()[1].split(",")[2])
    assert base64.b64encode(PNG).decode() in bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
