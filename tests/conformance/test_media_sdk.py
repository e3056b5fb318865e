"""The official clients show the simulator images and PDFs, in their own types and words."""

import base64
import hashlib

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from dfllm.simulator import Simulator

PNG, PDF = b"\x89PNG\r\n\x1a\npixels\xff\xfe\xfb\xef\xbe", b"%PDF-1.7 pages"  # with signs that base64 has two of
TOLD = "\n".join(
    f"[{kind} {len(content)} bytes {hashlib.sha256(content).hexdigest()[:8]}]"
    for kind, content in (("image/png", PNG), ("application/pdf", PDF))
)


def data_url(content, kind):
    """Return bytes as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def root():
    """Return the root of a running simulator."""
    with Simulator(key="sk-right") as running:
        yield running.base_url.removesuffix("/v1")


def by_chat(root, png, pdf):
    """Ask for a chat completion."""
    content = [
        {"type": "image_url", "image_url": {"url": data_url(png, "image/png")}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url(pdf, "application/pdf")}},
        {"type": "text", "text": "See?"},
    ]
    with openai.OpenAI(base_url=f"{root}/v1", api_key="sk-right", max_retries=0) as client:
        said = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": content}])
    return said.choices[0].message.content


def by_responses(root, png, pdf):
    """Ask for a response."""
    content = [
        {"type": "input_image", "image_url": data_url(png, "image/png"), "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": data_url(pdf, "application/pdf")},
        {"type": "input_text", "text": "See?"},
    ]
    with openai.OpenAI(base_url=f"{root}/v1", api_key="sk-right", max_retries=0) as client:
        return client.responses.create(model="echo", input=[{"role": "user", "content": content}]).output_text


def by_messages(root, png, pdf):
    """Ask for a message."""
    shown = (("image", "image/png", png), ("document", "application/pdf", pdf))
    content = [
        {"type": name, "source": {"type": "base64", "media_type": kind, "data": base64.b64encode(one).decode()}}
        for name, kind, one in shown
    ]
    content.append({"type": "text", "text": "See?"})
    with anthropic.Anthropic(base_url=root, api_key="sk-right", max_retries=0) as client:
        said = client.messages.create(model="echo", max_tokens=200, messages=[{"role": "user", "content": content}])
    return said.content[0].text


def by_content(root, png, pdf):
    """Ask for generated content."""
    contents = [
        types.Part.from_bytes(data=png, mime_type="image/png"),
        types.Part.from_bytes(data=pdf, mime_type="application/pdf"),
        "See?",
    ]
    options = types.HttpOptions(base_url=root)
    with genai.Client(api_key="sk-right", vertexai=False, http_options=options) as client:
        return client.models.generate_content(model="echo", contents=contents).text


ASKS = {
    by_chat: openai.BadRequestError,
    by_responses: openai.BadRequestError,
    by_messages: anthropic.BadRequestError,
    by_content: errors.ClientError,
}


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
def test_images_and_documents_arrive(root, ask):
    """As the bytes they are."""
    assert f"See?\n{TOLD}" == ask(root, PNG, PDF)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
@pytest.mark.parametrize(("png", "pdf"), [(b"no image", PDF), (PNG, b"no document")], ids=["image", "document"])
def test_broken_ones_become_errors(root, ask, png, pdf):
    """Each is raised as the client's own exception."""
    with pytest.raises(ASKS[ask]):
        ask(root, png, pdf)


def test_addresses_are_passed_on(root):
    """By the clients that take them."""
    with anthropic.Anthropic(base_url=root, api_key="sk-right", max_retries=0) as client:
        block = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
        said = client.messages.create(model="echo", max_tokens=99, messages=[{"role": "user", "content": [block]}])
    options = types.HttpOptions(base_url=root)
    with genai.Client(api_key="sk-right", vertexai=False, http_options=options) as client:
        part = types.Part.from_uri(file_uri="https://example.com/a.pdf", mime_type="application/pdf")
        other = client.models.generate_content(model="echo", contents=[part])

    assert ["[file https://example.com/a.pdf]"] * 2 == [said.content[0].text, other.text]
