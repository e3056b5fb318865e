"""The official clients take the simulator's vectors for the real thing."""

import base64
import contextlib
import struct

import httpx
import numpy as np
import openai
import pytest
from google import genai
from google.genai import errors, types

from dfllm.simulator import FAULTS, Faults, RateLimits, Simulator
from dfllm.simulator.vector_faults import VECTOR_FAULTS
from dfllm.simulator.vectors import Texts, vector_of

TEXTS = ["Oslo", "Lima"]


@pytest.fixture(scope="module")
def simulator():
    """Return a simulator on which each fault strikes where its name is in a text."""
    names = [*FAULTS, *VECTOR_FAULTS]
    with Simulator(key="sk-right", faults=Faults(by_text={f"<{n}>": n for n in names}, stall_seconds=0.05)) as running:
        yield running


@pytest.fixture(scope="module")
def client(simulator):
    """Return OpenAI's client, which does not try again by itself."""
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-right", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def google(simulator):
    """Return Google's client."""
    root = simulator.base_url.removesuffix("/v1")
    with genai.Client(api_key="sk-right", vertexai=False, http_options=types.HttpOptions(base_url=root)) as opened:
        yield opened


def wanted(text, dimensions=256, task=""):
    """Return the vector of a text."""
    return vector_of(Texts("embed-small", (), dimensions, task=task), text).tolist()


@pytest.mark.parametrize("form", ["float", "base64", openai.omit])
@pytest.mark.parametrize("dimensions", [openai.omit, 8])
def test_openai_reads_vectors(client, form, dimensions):
    """In both encodings, and without one the client asks for base64 by itself."""
    said = client.embeddings.create(model="embed-small", input=TEXTS, encoding_format=form, dimensions=dimensions)

    size = 8 if dimensions == 8 else 256
    found = [one.embedding for one in said.data]
    if form == "base64":  # the client then leaves it to its user
        found = [np.frombuffer(base64.b64decode(one), "<f4").tolist() for one in found]
    assert [wanted(text, size) for text in TEXTS] == found
    assert ([0, 1], "embed-small", 2, 2) == (
        [one.index for one in said.data],
        said.model,
        said.usage.prompt_tokens,
        said.usage.total_tokens,
    )


def test_openai_takes_one_text(client):
    """A text is a list of one."""
    assert 1 == len(client.embeddings.create(model="embed-small", input="Oslo").data)


def test_vectors_have_length_one():
    """As OpenAI's have."""
    assert 1.0 == pytest.approx(float(np.linalg.norm(wanted("Oslo"))), abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"input": ["Oslo", ""]}, "empty string"),
        ({"input": ["x"] * 2_049}, "array too long"),
        ({"input": ["long " * 9_000]}, "maximum context length is 8192 tokens"),
        ({"input": ["long " * 6_000] * 41}, "max 300000 tokens per request"),
        ({"input": []}, "expected one of"),
        ({"dimensions": 257}, "dimensions"),
        ({"extra_body": {"colour": "red"}}, "Unknown parameter: 'colour'"),
    ],
)
def test_openai_is_refused_as_by_the_vendor(client, asked, says):
    """What is too many, too long or unknown is a 400 with the vendor's words."""
    with pytest.raises(openai.BadRequestError, match=says):
        client.embeddings.create(**{"model": "embed-small", "input": TEXTS} | asked)


def test_openai_knows_no_other_model(client):
    """A model for chat makes no vectors."""
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="small", input=TEXTS)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate429", openai.RateLimitError),
        ("ra_date", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("401", openai.AuthenticationError),
        ("400", openai.BadRequestError),
        ("drop_before", openai.APIConnectionError),
    ],
)
def test_openai_meets_faults(client, fault, error):
    """As with completions."""
    with pytest.raises(error):
        client.embeddings.create(model="embed-small", input=[f"<{fault}>"])


def test_openai_meets_vectors_gone_wrong(client):
    """What the client does not look at is for us to find."""
    made = {
        name: client.embeddings.create(model="embed-small", input=["a", "b", f"<{name}>"]).data
        for name in VECTOR_FAULTS
    }

    assert 2 == len(made["vec_few"])
    assert [0, 1, 0] == [one.index for one in made["vec_twice"]]
    assert [256, 256, 255] == [len(one.embedding) for one in made["vec_short"]]
    assert [False, False, True] == [bool(np.isnan(one.embedding).any()) for one in made["vec_nan"]]
    assert [2, 1, 0] == [one.index for one in made["vec_mixed"]]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_breaks_the_simulator(simulator, fault):
    """Each is an answer, a refusal or a lost connection, and never trouble of the server's own making."""
    answer = None
    with contextlib.suppress(httpx.TransportError):
        body = {"model": "embed-small", "input": ["a", f"<{fault}>"]}
        headers = {"Authorization": "Bearer sk-right"}
        answer = httpx.post(f"{simulator.base_url}/embeddings", json=body, headers=headers)

    assert answer is None or b"Server got itself in trouble" not in answer.content


def test_each_text_is_on_the_bill(simulator, client):
    """The request is a call; each text is billed on its own, whatever request it comes in."""
    simulator.bill.reset()
    client.embeddings.create(model="embed-small", input=["a", "b"])
    client.embeddings.create(model="embed-small", input=["b", "cccccccc"])

    assert (2, 4, 5) == (simulator.bill.requests, simulator.bill.billed, simulator.bill.prompt_tokens)
    assert [1, 1, 2] == sorted(entry.billed for entry in simulator.bill.entries().values() if entry.billed)


def test_google_reads_vectors(google):
    """Many at once, with a task and a number of dimensions."""
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=8)

    said = google.models.embed_content(model="embed-small", contents=TEXTS, config=config)

    assert [wanted(text, 8, "RETRIEVAL_QUERY") for text in TEXTS] == [one.values for one in said.embeddings]


def test_google_is_refused_as_by_the_vendor(google):
    """In Google's words."""
    with pytest.raises(errors.ClientError) as raised:
        google.models.embed_content(model="embed-small", contents=["x"] * 101)

    assert (400, "INVALID_ARGUMENT") == (raised.value.code, raised.value.status)


def test_limits_count_the_tokens_of_all_texts():
    """And are told in the vendor's headers."""
    with Simulator(limits=RateLimits(rpm=100, tpm=1_000)) as limited:
        client = openai.OpenAI(base_url=limited.base_url, api_key="x", max_retries=0)
        with client:
            raw = client.embeddings.with_raw_response.create(model="embed-small", input=["word " * 8] * 10)
            with pytest.raises(openai.RateLimitError):
                client.embeddings.create(model="embed-small", input=["word " * 80] * 10)

    assert ("99", "900") == tuple(raw.headers[f"x-ratelimit-remaining-{what}"] for what in ("requests", "tokens"))


def test_numbers_are_little_endian(client):
    """Whatever the machine."""
    said = client.embeddings.create(model="embed-small", input="Oslo", dimensions=2, encoding_format="base64")

    raw = base64.b64decode(said.data[0].embedding)
    assert list(struct.unpack("<2f", raw)) == wanted("Oslo", 2)
