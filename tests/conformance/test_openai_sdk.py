"""OpenAI's own client takes the simulator for the real thing."""

import datetime as dt
from enum import Enum
from typing import Literal

import httpx
import openai
import pytest
from openai.types import Model
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field, TypeAdapter

from dfllm.simulator import FAULTS, Faults, Simulator

MESSAGES = [
    {"role": "system", "content": "You label reviews."},
    {"role": "user", "content": "Review: I love the staff of Hotel Oslo, but the room was cold."},
]


class Mood(Enum):
    """How a guest feels."""

    GOOD = "positive"
    BAD = "negative"
    MIXED = "mixed"


class Guest(BaseModel):
    """Who wrote a review, and who came along."""

    name: str
    age: int | None
    friends: list["Guest"]


class Review(BaseModel):
    """All kinds of fields that strict mode takes."""

    mood: Mood
    language: Literal["en", "no"]
    rating: int = Field(ge=1, le=5)
    confidence: float = Field(ge=0, le=1)
    stayed: dt.date
    code: str = Field(pattern=r"^[A-Z]{2}\d{4}$")
    topics: list[str] = Field(min_length=1, max_length=3)
    guest: Guest
    recommended: bool


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
    """Ask for a completion."""
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(**{"model": "small", "messages": messages} | options)


def test_plain_text_is_answered(client):
    """A plain question gets a text and an account."""
    completion = ask(client)

    (choice,) = completion.choices
    assert ("assistant", "stop", None) == (choice.message.role, choice.finish_reason, choice.message.refusal)
    assert "Oslo" in choice.message.content
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion._request_id.startswith("req_")


def test_cached_tokens_are_told(client):
    """A prompt that begins like another one under the same key has its beginning read for less."""
    rules = "Answer in one word, and never in two. " * 150

    cached = [
        ask(client, rules + city, prompt_cache_key=key).usage.prompt_tokens_details.cached_tokens
        for city, key in (("Oslo", "a"), ("Lima", "a"), ("Lima", "b"))
    ]

    assert [0, 1_408, 0] == cached


def test_models_are_parsed(client):
    """A pydantic model comes back as itself, and twice the same."""
    parsed, again = (
        client.chat.completions.parse(model=model, messages=MESSAGES, response_format=Review).choices[0].message.parsed
        for model in ("small", "small")
    )

    assert isinstance(parsed, Review)
    assert parsed == again
    assert Mood.MIXED is parsed.mood


def test_json_object_is_json(client):
    """An object of any kind can be read."""
    text = ask(client, "Give me JSON", response_format={"type": "json_object"}).choices[0].message.content

    assert TypeAdapter(dict[str, str]).validate_json(text)


def test_several_choices_are_numbered(client):
    """With n choices there are n, in order."""
    completion = ask(client, n=3)

    assert [0, 1, 2] == [choice.index for choice in completion.choices]


@pytest.mark.parametrize("option", ["max_completion_tokens", "max_tokens"])
def test_allowance_cuts(client, option):
    """A small allowance is used up."""
    completion = ask(client, **{option: 2})

    assert ("length", 2) == (completion.choices[0].finish_reason, completion.usage.completion_tokens)


def test_cut_json_is_told(client):
    """The client notices that a structured answer was cut."""
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="small", messages=MESSAGES, response_format=Review, max_completion_tokens=3)


def test_models_are_listed(client):
    """The models can be listed, and each be fetched."""
    names = [model.id for model in client.models.list()]

    assert ["small", "large", "moody", "echo", "embed-small", "embed-large"] == names
    assert "large" == client.models.retrieve("large").id


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("400", openai.BadRequestError, "unsupported_value"),
        ("ctx", openai.BadRequestError, "context_length_exceeded"),
        ("401", openai.AuthenticationError, "invalid_api_key"),
        ("403", openai.PermissionDeniedError, "unsupported_country_region_territory"),
        ("404", openai.NotFoundError, "model_not_found"),
        ("409", openai.ConflictError, None),
        ("rate429", openai.RateLimitError, "rate_limit_exceeded"),
        ("quota", openai.RateLimitError, "insufficient_quota"),
        ("500", openai.InternalServerError, None),
        ("529", openai.InternalServerError, None),
        ("html", openai.InternalServerError, None),
        ("drop_before", openai.APIConnectionError, None),
        ("drop_mid", openai.APIConnectionError, None),
    ],
)
def test_faults_become_errors(client, fault, error, code):
    """Each fault is raised as the client's own exception for it."""
    with pytest.raises(error) as raised:
        ask(client, f"<{fault}>")

    assert code == raised.value.code


def test_stalls_become_timeouts(client):
    """Who waits too short a time hears of it."""
    with pytest.raises(openai.APITimeoutError):
        ask(client, "<stall>", timeout=0.01)


def test_refusals_are_told(client):
    """A refusal is in its own field."""
    assert "can't help" in ask(client, "<refusal>").choices[0].message.refusal


def test_wrong_key_is_refused(simulator):
    """A wrong key is told so, everywhere."""
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            ask(stranger)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "gpt"}, openai.NotFoundError),
        ({"messages": []}, openai.BadRequestError),
        ({"messages": [{"role": "bot", "content": "hi"}]}, openai.BadRequestError),
        ({"stream": True}, openai.BadRequestError),
    ],
)
def test_broken_requests_become_errors(client, options, error):
    """What the vendor would not take is not taken here."""
    with pytest.raises(error):
        ask(client, **options)


@pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
@pytest.mark.parametrize("options", [{}, {"n": 2}, {"max_completion_tokens": 1}, {"model": "large"}, {"model": "echo"}])
def test_completions_are_valid(simulator, options):
    """The bytes fit the client's own type, with no field that it does not know."""
    body = {"model": "small", "messages": MESSAGES} | options
    headers = {"Authorization": "Bearer sk-right"}
    sent = httpx.post(f"{simulator.base_url}/chat/completions", json=body, headers=headers).json()

    completion = ChatCompletion.model_validate(sent, strict=True)

    assert set() == unknown(completion)


def test_listed_models_are_valid(simulator):
    """So do the bytes of the models."""
    headers = {"Authorization": "Bearer sk-right"}
    sent = httpx.get(f"{simulator.base_url}/models", headers=headers).json()["data"]

    assert [set()] * 6 == [unknown(Model.model_validate(model, strict=True)) for model in sent]


def unknown(value):
    """Return the fields, at any depth, that the client's types do not name."""
    if isinstance(value, list):
        return {name for item in value for name in unknown(item)}
    if not isinstance(value, BaseModel):
        return set()
    return set(value.model_extra or ()) | {
        name for field in type(value).model_fields for name in unknown(getattr(value, field))
    }
