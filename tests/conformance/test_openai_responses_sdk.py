"""OpenAI's own client takes the simulator's Responses for the real thing."""

import httpx
import openai
import pydantic
import pytest
from openai.types.responses import Response

from dfllm.simulator import FAULTS, Faults, Simulator


class Review(pydantic.BaseModel):
    """What a guest thinks."""

    hotel: str
    stars: int
    again: bool


@pytest.fixture(scope="module")
def simulator():
    """Return a simulator on which each fault strikes where its name is in the prompt."""
    faults = Faults(by_text={f"<{name}>": name for name in FAULTS}, stall_seconds=0.05)
    with Simulator(key="sk-right", faults=faults) as running:
        yield running


@pytest.fixture(scope="module")
def client(simulator):
    """Return a client that does not try again by itself."""
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-right", max_retries=0) as opened:
        yield opened


def ask(client, text="Where is Oslo?", **options):
    """Ask for a response."""
    return client.responses.create(**{"model": "small", "input": text} | options)


def test_plain_text_is_answered(client):
    """A plain question gets a text and an account."""
    said = ask(client, instructions="Be brief.", store=False)

    assert "Oslo" in said.output_text
    assert ("completed", "small") == (said.status, said.model)
    assert said.usage.total_tokens == said.usage.input_tokens + said.usage.output_tokens


def test_a_talk_is_answered(client):
    """Items with roles, their contents as text or as parts."""
    turns = [
        {"role": "user", "content": "Where is Oslo?"},
        {"role": "assistant", "content": "In the north."},
        {"role": "user", "content": [{"type": "input_text", "text": "Where is Lima?"}]},
    ]

    assert "Lima" in ask(client, turns).output_text


def test_models_are_parsed(client):
    """A pydantic model comes back as itself, and twice the same."""
    parsed, again = (
        client.responses.parse(model="small", input="Rate Hotel Oslo.", text_format=Review).output_parsed
        for _ in range(2)
    )

    assert isinstance(parsed, Review)
    assert parsed == again


def test_allowance_cuts(client):
    """A small allowance is used up."""
    said = ask(client, max_output_tokens=2)

    assert ("incomplete", "max_output_tokens", 2) == (
        said.status,
        said.incomplete_details.reason,
        said.usage.output_tokens,
    )


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", openai.BadRequestError),
        ("401", openai.AuthenticationError),
        ("404", openai.NotFoundError),
        ("rate429", openai.RateLimitError),
        ("quota", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("drop_mid", openai.APIConnectionError),
    ],
)
def test_faults_become_errors(client, fault, error):
    """Each fault is raised as the client's own exception for it."""
    with pytest.raises(error):
        ask(client, f"<{fault}>")


@pytest.mark.parametrize(("fault", "kind"), [("refusal", "refusal"), ("blank", "output_text")])
def test_parts_are_told(client, fault, kind):
    """What a part is stands in it."""
    assert kind == ask(client, f"<{fault}>").output[0].content[0].type


def test_failures_inside_a_200_are_told(client):
    """The status is the response's own."""
    said = ask(client, "<failed200>")

    assert ("failed", "server_error") == (said.status, said.error.code)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "gpt"}, openai.NotFoundError),
        ({"input": []}, openai.BadRequestError),
        ({"extra_body": {"seed": 1}}, openai.BadRequestError),
        ({"extra_body": {"stop": ["x"]}}, openai.BadRequestError),
        ({"temperature": 3}, openai.BadRequestError),
    ],
)
def test_broken_requests_become_errors(client, options, error):
    """What the vendor would not take is not taken here."""
    with pytest.raises(error):
        ask(client, **options)


@pytest.mark.parametrize("text", ["Where is Oslo?", "<refusal>", "<fncall>", "<length>", "<filter>"])
def test_responses_are_valid(simulator, text):
    """The bytes fit the client's own type."""
    headers = {"Authorization": "Bearer sk-right"}
    sent = httpx.post(f"{simulator.base_url}/responses", json={"model": "small", "input": text}, headers=headers)

    said = Response.model_validate_json(sent.content)

    assert "small" == said.model
