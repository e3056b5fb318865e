"""Google's own client takes the simulator for the real thing."""

import httpx
import pydantic
import pytest
from google import genai
from google.genai import errors, types

from dfllm.simulator import FAULTS, Faults, RateLimits, Simulator


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


def opened(simulator, key="sk-right"):
    """Return a client of this simulator."""
    root = simulator.base_url.removesuffix("/v1")
    return genai.Client(api_key=key, vertexai=False, http_options=types.HttpOptions(base_url=root))


@pytest.fixture(scope="module")
def client(simulator):
    """Return a client that does not try again by itself."""
    with opened(simulator) as made:
        yield made


def ask(client, text="Where is Oslo?", model="small", **config):
    """Ask for generated content."""
    return client.models.generate_content(
        model=model, contents=text, config=types.GenerateContentConfig(**config) if config else None
    )


def test_plain_text_is_answered(client):
    """A plain question gets a text and an account."""
    said = ask(client, system_instruction="Be brief.", temperature=0.5, seed=1)

    assert "Oslo" in said.text
    assert ("STOP", "small") == (said.candidates[0].finish_reason.value, said.model_version)
    used = said.usage_metadata
    assert used.total_token_count == used.prompt_token_count + used.candidates_token_count


def test_a_talk_is_answered(client):
    """Several turns, the model's own among them."""
    turns = [
        types.Content(role=role, parts=[types.Part(text=text)])
        for role, text in (("user", "Where is Oslo?"), ("model", "In the north."), ("user", "Where is Lima?"))
    ]

    said = client.models.generate_content(model="small", contents=turns)

    assert "Lima" in said.text


@pytest.mark.parametrize("given", [{"response_json_schema": Review.model_json_schema()}])
def test_models_are_parsed(client, given):
    """A schema's answer fits it, and is twice the same."""
    said, again = (ask(client, response_mime_type="application/json", **given) for _ in range(2))

    assert Review.model_validate_json(said.text) == Review.model_validate_json(again.text)


def test_allowance_cuts(client):
    """A small allowance is used up."""
    said = ask(client, max_output_tokens=2)

    assert ("MAX_TOKENS", 2) == (said.candidates[0].finish_reason.value, said.usage_metadata.candidates_token_count)


def test_models_are_listed(client):
    """The models can be listed, and each be fetched."""
    names = [model.name for model in client.models.list()]

    assert [
        "models/small",
        "models/large",
        "models/moody",
        "models/echo",
        "models/embed-small",
        "models/embed-large",
    ] == names
    assert "models/large" == client.models.get(model="large").name


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("400", 400, "INVALID_ARGUMENT"),
        ("ctx", 400, "INVALID_ARGUMENT"),
        ("401", 401, "UNAUTHENTICATED"),
        ("403", 403, "PERMISSION_DENIED"),
        ("404", 404, "NOT_FOUND"),
        ("rate429", 429, "RESOURCE_EXHAUSTED"),
        ("gemini429", 429, "RESOURCE_EXHAUSTED"),
        ("gemini_day429", 429, "RESOURCE_EXHAUSTED"),
        ("quota", 429, "RESOURCE_EXHAUSTED"),
        ("500", 500, "INTERNAL"),
        ("503", 503, "UNAVAILABLE"),
    ],
)
def test_faults_become_errors(client, fault, code, status):
    """Each fault is raised as the client's own exception for it, with the vendor's status in its body."""
    with pytest.raises(errors.APIError) as raised:
        ask(client, f"<{fault}>")

    assert (code, status) == (raised.value.code, raised.value.status)


def test_blocked_prompts_are_told(client):
    """There is no candidate, and it is said why."""
    said = ask(client, "<refusal>")

    assert (None, "PROHIBITED_CONTENT") == (said.candidates, said.prompt_feedback.block_reason.value)


@pytest.mark.parametrize(("fault", "finish"), [("filter", "SAFETY"), ("length", "MAX_TOKENS"), ("fncall", "STOP")])
def test_ends_are_told(client, fault, finish):
    """Why an answer ended is said in the vendor's word."""
    assert finish == ask(client, f"<{fault}>").candidates[0].finish_reason.value


def test_thoughts_are_counted_apart(client):
    """Where all was thought, nothing is said."""
    used = ask(client, "<think_out>").usage_metadata

    assert (None, 2048) == (used.candidates_token_count, used.thoughts_token_count)


def test_limits_are_told_in_the_details():
    """There are no headers; how long to wait stands in the body."""
    with Simulator(limits=RateLimits(rpm=1)) as limited, opened(limited) as client:
        ask(client)
        with pytest.raises(errors.ClientError) as raised:
            ask(client)

    kinds = [detail["@type"].rpartition(".")[2] for detail in raised.value.details["error"]["details"]]
    assert ["QuotaFailure", "RetryInfo"] == kinds


def test_wrong_key_is_refused(simulator):
    """A wrong key is told so, everywhere."""
    with opened(simulator, "sk-wrong") as stranger:
        with pytest.raises(errors.ClientError, match="API key not valid"):
            ask(stranger)
        with pytest.raises(errors.ClientError, match="API key not valid"):
            list(stranger.models.list())


@pytest.mark.parametrize(
    "options",
    [
        {"model": "gemini-pro"},
        {"text": []},
        {"temperature": 3.0},
        {"response_json_schema": {"type": "object"}},
    ],
)
def test_broken_requests_become_errors(client, options):
    """What the vendor would not take is not taken here."""
    with pytest.raises((errors.ClientError, ValueError)):
        ask(client, **options)


@pytest.mark.parametrize("text", ["Where is Oslo?", "<refusal>", "<fncall>", "<length>", "<empty>"])
@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_content_is_valid(simulator, version, text):
    """The bytes fit the client's own type, which takes no field that it does not know."""
    url = f"{simulator.base_url.removesuffix('/v1')}/{version}/models/small:generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    sent = httpx.post(url, json=body, headers={"x-goog-api-key": "sk-right"})

    said = types.GenerateContentResponse.model_validate_json(sent.content)

    assert "small" == said.model_version
