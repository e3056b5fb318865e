"""Anthropic's own client takes the simulator for the real thing."""

import anthropic
import httpx
import pydantic
import pytest
from anthropic.types import Message, ModelInfo
from tests.conformance.test_openai_sdk import unknown

from dfllm.simulator import FAULTS, Faults, Simulator

TALK = [
    {"role": "user", "content": "Where is Oslo?"},
    {"role": "assistant", "content": "In the north."},
    {"role": "user", "content": [{"type": "text", "text": "Is Hotel Oslo any good?"}]},
]


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
    root = simulator.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, api_key="sk-right", max_retries=0) as opened:
        yield opened


def ask(client, text="Where is Oslo?", **options):
    """Ask for a message."""
    messages = [{"role": "user", "content": text}]
    return client.messages.create(**{"model": "small", "max_tokens": 100, "messages": messages} | options)


def test_plain_text_is_answered(client):
    """A plain question gets a text and an account."""
    message = ask(client, system="Be brief.")

    (block,) = message.content
    assert ("assistant", "end_turn", "small") == (message.role, message.stop_reason, message.model)
    assert "Oslo" in block.text
    assert message.usage.input_tokens > 0 < message.usage.output_tokens
    assert message._request_id.startswith("req_")


def test_models_are_parsed(client):
    """A pydantic model comes back as itself, and twice the same."""
    parsed, again = (
        client.messages.parse(model="small", max_tokens=100, messages=TALK, output_format=Review).parsed_output
        for _ in range(2)
    )

    assert isinstance(parsed, Review)
    assert parsed == again


def test_allowance_cuts(client):
    """A small allowance is used up."""
    message = ask(client, max_tokens=2)

    assert ("max_tokens", 2) == (message.stop_reason, message.usage.output_tokens)


def test_models_are_listed(client):
    """The models can be listed, and each be fetched."""
    names = [model.id for model in client.models.list()]

    assert ["small", "large", "moody", "echo"] == names
    assert "large" == client.models.retrieve("large").id


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        ("400", anthropic.BadRequestError, "invalid_request_error"),
        ("ctx", anthropic.BadRequestError, "invalid_request_error"),
        ("credit400", anthropic.BadRequestError, "invalid_request_error"),
        ("401", anthropic.AuthenticationError, "authentication_error"),
        ("403", anthropic.PermissionDeniedError, "permission_error"),
        ("404", anthropic.NotFoundError, "not_found_error"),
        ("409", anthropic.ConflictError, "conflict_error"),
        ("413", anthropic.APIStatusError, "request_too_large"),
        ("rate429", anthropic.RateLimitError, "rate_limit_error"),
        ("quota", anthropic.RateLimitError, "rate_limit_error"),
        ("500", anthropic.InternalServerError, "api_error"),
        ("529", anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_faults_become_errors(client, fault, error, kind):
    """Each fault is raised as the client's own exception for it, with the vendor's type in its body."""
    with pytest.raises(error) as raised:
        ask(client, f"<{fault}>")

    assert kind == raised.value.body["error"]["type"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_mid"])
def test_lost_connections_are_told(client, fault):
    """The client hears that there is no answer."""
    with pytest.raises((anthropic.APIConnectionError, httpx.TransportError)):
        ask(client, f"<{fault}>")


@pytest.mark.parametrize(("fault", "stop"), [("refusal", "refusal"), ("length", "max_tokens"), ("fncall", "tool_use")])
def test_ends_are_told(client, fault, stop):
    """Why an answer ended is said in the vendor's word."""
    assert stop == ask(client, f"<{fault}>").stop_reason


def test_wrong_key_is_refused(simulator):
    """A wrong key is told so, everywhere."""
    root = simulator.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            ask(stranger)
        with pytest.raises(anthropic.AuthenticationError):
            stranger.models.list()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "claude"}, anthropic.NotFoundError),
        ({"messages": []}, anthropic.BadRequestError),
        ({"messages": TALK[:2]}, anthropic.BadRequestError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"extra_body": {"temperature": 1.0}}, anthropic.BadRequestError),
        ({"extra_headers": {"anthropic-version": "2020-01-01"}}, anthropic.BadRequestError),
    ],
)
def test_broken_requests_become_errors(client, options, error):
    """What the vendor would not take is not taken here."""
    with pytest.raises(error):
        ask(client, **options)


@pytest.mark.parametrize("options", [{}, {"max_tokens": 1}, {"model": "large"}, {"model": "echo"}])
@pytest.mark.parametrize("text", ["Where is Oslo?", "<refusal>", "<fncall>"])
def test_messages_are_valid(simulator, options, text):
    """The bytes fit the client's own type, with no field that it does not know."""
    body = {"model": "small", "max_tokens": 100, "messages": [{"role": "user", "content": text}]} | options
    headers = {"x-api-key": "sk-right", "anthropic-version": "2026-10-21"}
    sent = httpx.post(f"{simulator.base_url}/messages", json=body, headers=headers).json()

    message = Message.model_validate(sent, strict=True)

    assert set() == unknown(message)


def test_listed_models_are_valid(simulator):
    """So do the bytes of the models."""
    headers = {"x-api-key": "sk-right", "anthropic-version": "2026-10-21"}
    sent = httpx.get(f"{simulator.base_url}/models", headers=headers).json()["data"]

    assert [set()] * 4 == [unknown(ModelInfo.model_validate(model)) for model in sent]
