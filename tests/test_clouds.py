"""Clouds from a frame to its columns: tokens and signatures, over real sockets, by the vendors' own libraries."""

import json
import logging
import sys

import pandas as pd
import pytest

import dfllm
from dfllm._core.keys import keyer
from dfllm._work import Work
from dfllm.simulator import Faults, Simulator

PROMPT = "Where is {{ city }}?"
PNG, PDF = b"\x89PNG\r\n\x1a\npixels", b"%PDF-1.7 pages"
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCY"
SESSION = "FwoGZXIvYXdzEBYaDKz-session-token-of-the-test"


@pytest.fixture
def frame():
    """Return a small frame."""
    return pd.DataFrame({"city": ["Oslo", "Lima", "Quito"]})


@pytest.fixture
def vertex(monkeypatch, simulator, google):
    """Return a function that starts a simulator as Google's cloud, which gives out these tokens and takes the last."""

    def start(*tokens: str, seconds: int = 3600, **options) -> Simulator:
        started = simulator(key=tokens[-1], **options)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", started.base_url.removesuffix("/v1"))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", google(*tokens, seconds=seconds))
        return started

    return start


@pytest.fixture
def bedrock(monkeypatch, simulator):
    """Return a function that starts a simulator as Bedrock, which takes signatures made with a secret."""
    pytest.importorskip("botocore")

    def start(**options) -> Simulator:
        started = simulator(key=SECRET, **options)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", started.base_url.removesuffix("/v1"))
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        return started

    return start


@pytest.mark.parametrize("model", ["vertex/small", "vertex/claude-small"])
def test_one_token_serves_all_rows_and_models(model, vertex, google, frame):
    """It is fetched once, and another call of the process takes the same."""
    started = vertex("ya29.right-token-of-google")

    first, second = (frame.llm.complete(f"{PROMPT} {turn}", model=model) for turn in "ab")

    assert 6 == first["completion"].notna().sum() + second["completion"].notna().sum()
    assert (6, 1) == (started.bill.billed, google.server.asked)


def test_claude_is_asked_in_its_own_words(vertex, frame):
    """With a schema, a system message and a budget to think, as at its maker."""
    vertex("ya29.right-token-of-google")

    out = frame.llm.complete(
        PROMPT,
        model="vertex/claude-small",
        system="Be brief.",
        reasoning="2048",
        schema={"mood": ["good", "bad"], "stars": int},
    )

    assert 3 == out["completion_error"].isna().sum()
    assert "Int64" == str(out["completion_stars"].dtype)


def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def look_up(query: str) -> str:
    """Look something up."""
    raise AssertionError("nothing is ever called")


@pytest.mark.parametrize("model", ["vertex/small", "vertex/claude-small"])
@pytest.mark.parametrize(
    ("prompt", "choice", "calls"),
    [
        ("What is the weather in {{ city }}?", None, ["weather"]),
        ("First the weather, then look_up {{ city }}.", "auto", ["weather", "look_up"]),
        (PROMPT, "look_up", ["look_up"]),
        ("What is the weather in {{ city }}?", "none", None),
    ],
    ids=["one", "two", "named", "none"],
)
def test_google_has_tools_called(model, prompt, choice, calls, vertex, frame):
    """By the models of either maker, as each has it."""
    started = vertex("ya29.right-token-of-google")

    out, again = (
        frame.llm.complete(prompt, model=model, tools=[weather, look_up], tool_choice=choice) for _ in range(2)
    )

    found = [[call["name"] for call in json.loads(row)] if pd.notna(row) else None for row in out["completion_calls"]]
    assert [calls] * 3 == found
    assert out["completion_error"].isna().all()
    pd.testing.assert_frame_equal(out, again)
    assert 3 == started.bill.billed


def test_aws_has_tools_called_by_what_is_signed(bedrock, frame):
    """The signature covers the tools."""
    started = bedrock()

    out = frame.llm.complete("What is the weather in {{ city }}?", model="bedrock/small", tools=[weather])

    assert [["weather"]] * 3 == [[call["name"] for call in json.loads(row)] for row in out["completion_calls"]]
    assert 3 == started.bill.billed


def shown(image=PNG, file=PDF):
    """Return a frame with an image and a file."""
    return pd.DataFrame({"photo": pd.Series([image], dtype=object), "report": pd.Series([file], dtype=object)})


@pytest.mark.parametrize("model", ["vertex/echo", "vertex/claude-echo"])
def test_google_sees_images_and_files(model, vertex):
    """As bytes, whoever made the model."""
    vertex("ya29.right-token-of-google")

    out = shown().llm.complete("See?", images="photo", files="report", model=model)

    assert ["See?", "[application/pdf 14 bytes", "[image/png 14 bytes"] == [
        line.rpartition(" ")[0] or line for line in out["completion"].iloc[0].splitlines()
    ]


@pytest.mark.parametrize(
    ("model", "cells", "why"),
    [
        ("vertex/echo", {"image": "https://example.com/a.png"}, "BadInput: vertex fetches no images"),
        ("vertex/claude-echo", {"image": "https://example.com/a.png"}, "BadInput: vertex fetches no images"),
        ("vertex/claude-echo", {"file": "https://example.com/a.pdf"}, "BadInput: vertex fetches no files"),
        ("vertex/claude-echo", {"image": PNG.ljust(3_750_003, b"0")}, "TooLarge: image of 3.8 MB, vertex takes 3.8 MB"),
    ],
    ids=["address for Gemini", "address for Claude", "address of a file", "large"],
)
def test_google_takes_less_of_what_is_shown_than_the_makers(model, cells, why, vertex):
    """Its row says so, unsent."""
    started = vertex("ya29.right-token-of-google")

    with pytest.warns(dfllm.RowsFailedWarning):
        out = shown(**cells).llm.complete("See?", images="photo", files="report", model=model)

    assert out["completion_error"].iloc[0].startswith(why)
    assert 0 == started.bill.requests


def test_a_token_that_was_refused_is_renewed_once_for_all_rows(vertex, google, frame):
    """Nobody hears of it, and the rows that were in flight share the new one."""
    vertex("ya29.stale-token-of-google", "ya29.right-token-of-google")
    wide = pd.concat([frame] * 10, ignore_index=True).assign(turn=range(30))

    out = wide.llm.complete(PROMPT + " {{ turn }}", model="vertex/small")

    assert 30 == out["completion"].notna().sum()
    assert 2 == google.server.asked


def test_an_account_that_gives_no_token_stops_the_call(vertex, monkeypatch, google, frame):
    """Nothing is sent to the models, and Google's own word is told."""
    started = vertex("ya29.right-token-of-google")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", google("x", status=400))

    with pytest.raises(dfllm.AuthFailed, match=r"no access token from Google: .*invalid_grant"):
        frame.llm.complete(PROMPT, model="vertex/small")
    assert 0 == started.bill.requests


def test_tokens_are_shown_nowhere(vertex, frame, caplog):
    """Not in what is logged, not in an error's text, not where a server repeats them."""
    vertex("ya29.right-token-of-google", faults=Faults(by_text={"Lima": "policy400"}))

    with caplog.at_level(logging.DEBUG), pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete(PROMPT, model="vertex/small", limits=dfllm.Limits(concurrency=1))

    assert "ya29.right" not in caplog.text + out.to_csv()


def test_signatures_are_taken(bedrock, frame):
    """Each body has its own, and the simulator computes it anew."""
    started = bedrock()

    out = frame.llm.complete(PROMPT, model="bedrock/small", schema=["good", "bad"])

    assert set(out["completion"]) <= {"good", "bad"}
    assert 3 == started.bill.billed


def test_a_sessions_token_is_signed_and_shown_nowhere(bedrock, monkeypatch, frame, caplog):
    """Not even by the library that signs, where somebody debugs."""
    bedrock()
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)

    with caplog.at_level(logging.DEBUG):
        out = frame.llm.complete(PROMPT, model="bedrock/small")

    assert 3 == out["completion"].notna().sum()
    assert not any(secret in caplog.text for secret in (SESSION, SECRET))


def test_another_secret_is_refused_with_what_to_check(bedrock, monkeypatch, frame):
    """After one request."""
    started = bedrock()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret-than-the-right-one")

    with pytest.raises(dfllm.AuthFailed, match="Check AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID"):
        frame.llm.complete(PROMPT, model="bedrock/small")
    assert 1 == started.bill.requests


@pytest.mark.parametrize("model", ["us.vendor.model-v1:0", "arn:aws:bedrock:eu-central-1:1:inference-profile/a.b-v1:0"])
def test_names_of_models_are_signed_as_they_travel(model, bedrock, frame):
    """With their colons and slashes: the signature is right, and the model is what is not known."""
    bedrock()

    with pytest.raises(dfllm.ModelNotFound, match="model identifier"):
        frame.llm.complete(PROMPT, model=f"bedrock/{model}")


def test_a_key_of_bedrock_needs_no_library(monkeypatch, simulator, frame):
    """It goes as any other key does."""
    started = simulator(key="bedrock-api-key")
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", started.base_url.removesuffix("/v1"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key")

    out = frame.llm.complete(PROMPT, model="bedrock/small")

    assert 3 == out["completion"].notna().sum()


@pytest.mark.parametrize(
    ("model", "library", "extra", "error"),
    [
        ("vertex/small", "google.auth", "vertex", dfllm.OptionError),
        ("bedrock/small", "botocore", "bedrock", dfllm.KeyMissing),
    ],
)
def test_a_missing_library_names_its_extra(model, library, extra, error, monkeypatch, frame):
    """Before anything is sent."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    with pytest.raises(error, match=rf"pip install 'dfllm\[{extra}\]'"):
        frame.llm.complete(PROMPT, model=model)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("vertex/small", "GOOGLE_CLOUD_PROJECT is not set: which project"),
        ("bedrock/small", "AWS_REGION or AWS_DEFAULT_REGION is not set: which region"),
    ],
)
def test_a_missing_place_names_its_variables(model, says, frame):
    """A cloud is at many."""
    with pytest.raises(dfllm.OptionError, match=says):
        frame.llm.complete(PROMPT, model=model)


@pytest.mark.parametrize(
    ("model", "places"),
    [
        ("vertex/small", {"GOOGLE_CLOUD_PROJECT": ("a", "b"), "GOOGLE_CLOUD_LOCATION": ("us-east1", "europe-west4")}),
        ("bedrock/small", {"AWS_REGION": ("us-east-1", "eu-central-1")}),
    ],
)
def test_where_a_question_was_asked_is_not_in_its_key(model, places, monkeypatch, frame):
    """Another project or region has the same answer, and so has a machine that only reads."""
    keys = []
    for turn in (0, 1):
        for name, values in places.items():
            monkeypatch.setenv(name, values[turn])
        keys.append(keyer(Work(frame, PROMPT, {"model": model}, sends=False).order.terms)(()))
    for name in places:
        monkeypatch.delenv(name)
    keys.append(keyer(Work(frame, PROMPT, {"model": model}, sends=False).order.terms)(()))

    assert 1 == len(set(keys))
