"""Google's and Anthropic's own clients take the simulator for Google's cloud."""

import anthropic
import pydantic
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from dfllm.simulator import Simulator


class Review(pydantic.BaseModel):
    """What a guest thinks."""

    hotel: str
    stars: int


@pytest.fixture(scope="module")
def root():
    """Return the root of a simulator that takes one token."""
    with Simulator(key="right-token") as running:
        yield running.base_url.removesuffix("/v1")


def google(root, token="right-token"):
    """Return Google's client for its cloud, with a token that is there already."""
    return genai.Client(
        vertexai=True,
        project="my-project",
        location="europe-west4",
        credentials=Credentials(token),
        http_options=types.HttpOptions(base_url=root),
    )


def claude(root, token="right-token"):
    """Return Anthropic's client for Google's cloud."""
    return anthropic.AnthropicVertex(
        base_url=f"{root}/v1", region="europe-west4", project_id="my-project", access_token=token, max_retries=0
    )


def test_gemini_answers(root):
    """With text, and in the form that is asked for."""
    client = google(root)
    form = {"response_mime_type": "application/json", "response_json_schema": Review.model_json_schema()}

    plain = client.models.generate_content(model="small", contents="Where is Oslo?")
    formed = client.models.generate_content(model="small", contents="Rate Hotel Oslo.", config=form)

    assert "Oslo" in plain.text
    assert isinstance(Review.model_validate_json(formed.text), Review)


def test_claude_answers(root):
    """The client puts the version in place of the model."""
    message = claude(root).messages.create(
        model="claude-small", max_tokens=100, messages=[{"role": "user", "content": "Where is Oslo?"}]
    )

    assert ("end_turn", "claude-small") == (message.stop_reason, message.model)
    assert "Oslo" in message.content[0].text


def test_a_wrong_token_is_refused(root):
    """By both, in the words that each client knows."""
    stranger = google(root, "wrong-token")

    with pytest.raises(errors.ClientError, match="401"):
        stranger.models.generate_content(model="small", contents="Where?")
    with pytest.raises(anthropic.AuthenticationError):
        claude(root, "wrong-token").messages.create(
            model="claude-small", max_tokens=9, messages=[{"role": "user", "content": "Where?"}]
        )
