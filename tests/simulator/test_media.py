"""Images and files of all wires: seen alike, and refused in each vendor's words where they are broken."""

import base64
import hashlib
import json

import pytest

from dfllm.simulator import anthropic_media, media
from dfllm.simulator.answers import answers_to
from dfllm.simulator.openai import Rejected
from dfllm.simulator.wires import ANTHROPIC, CONVERSE, GEMINI, OPENAI, RESPONSES

PNG, JPEG, PDF = b"\x89PNG\r\n\x1a\npixels", b"\xff\xd8\xff\xe0jpeg", b"%PDF-1.7 pages"
WIRES = {"openai": OPENAI, "openai-responses": RESPONSES, "anthropic": ANTHROPIC, "gemini": GEMINI}
WIRES |= {"converse": CONVERSE}
every_wire = pytest.mark.parametrize("wire", WIRES)


def packed(content):
    """Return bytes as base64; text is taken for base64 already."""
    return content if isinstance(content, str) else base64.b64encode(content).decode()


def part(wire, kind, content, named):
    """Return what shows this on a wire: bytes, broken base64 as text, or an address."""
    is_image, is_web = kind == "image", str(content).startswith("http")
    url = content if is_web else f"data:{named};base64,{packed(content)}"
    if wire == "openai":
        file = {"filename": "document.pdf", "file_data": url}
        return {"type": "image_url", "image_url": {"url": url}} if is_image else {"type": "file", "file": file}
    if wire == "openai-responses":
        file = {"file_url": url} if is_web else {"filename": "document.pdf", "file_data": url}
        return {"type": "input_image", "image_url": url} if is_image else {"type": "input_file", **file}
    if wire == "anthropic":
        source = {"type": "base64", "media_type": named, "data": packed(content)}
        source = {"type": "url", "url": content} if is_web else source
        return {"type": "image" if is_image else "document", "source": source}
    if wire == "converse":
        source = {"s3Location": {"uri": content}} if is_web else {"bytes": packed(content)}
        kind, form = ("image", named.removeprefix("image/")) if is_image else ("document", named.rpartition("/")[2])
        return {kind: {"format": form, "source": source} | ({} if is_image else {"name": "document 1"})}
    if is_web:
        return {"fileData": {"fileUri": content, "mimeType": named}}
    return {"inlineData": {"mimeType": named, "data": packed(content)}}


def ask(wire, *parts, role="user"):
    """Read a question that shows these parts before its text."""
    if wire == "gemini":
        role = {"assistant": "model"}.get(role, role)
        body = {"contents": [{"role": role, "parts": [*parts, {"text": "See?"}]}]}
        return GEMINI.read(json.dumps(body).encode(), {"model": "echo"})
    if wire == "converse":
        turns = [{"role": "user", "content": [{"text": "See?"}]}] if role != "user" else []
        turns += [{"role": role, "content": [*parts, {"text": "See?"}]}]
        return CONVERSE.read(json.dumps({"messages": turns}).encode(), {"model": "echo"})
    text = {"type": "input_text" if wire == "openai-responses" else "text", "text": "See?"}
    turns = [{"role": role, "content": [*parts, text]}]
    turns += [{"role": "user", "content": "See?"}] if role != "user" else []
    body = {"model": "echo", "input" if wire == "openai-responses" else "messages": turns}
    body |= {"max_tokens": 100} if wire == "anthropic" else {}
    return WIRES[wire].read(json.dumps(body).encode(), {"version": "2026-10-21"})


def refusal(wire, *parts, **more):
    """Return the status and message with which a question is refused."""
    with pytest.raises(Rejected) as raised:
        ask(wire, *parts, **more)
    reply = WIRES[wire].say(raised.value.reply)
    said = json.loads(reply.body)
    return reply.status, (said if wire == "converse" else said["error"])["message"]


def told(content, kind):
    """Return what echo says of these bytes."""
    return f"[{kind} {len(content)} bytes {hashlib.sha256(content).hexdigest()[:8]}]"


@every_wire
def test_echo_tells_what_was_seen(wire):
    """Type, size and hash, in the order they were shown, and an address as it is."""
    web = [part(wire, "image", "https://example.com/a.png", "image/png")] if wire != "converse" else []
    shown = [part(wire, "image", PNG, "image/png"), *web, part(wire, "file", PDF, "application/pdf")]

    (answer,) = answers_to(ask(wire, *shown))

    seen = [told(PNG, "image/png"), *["[image https://example.com/a.png]"] * len(web), told(PDF, "application/pdf")]
    assert ["See?", *seen] == answer.text.splitlines()


@every_wire
def test_what_is_shown_is_charged(wire):
    """An image and a file have one price each, whatever their size."""
    plain = ask(wire).prompt_tokens

    image = ask(wire, part(wire, "image", PNG, "image/png")).prompt_tokens
    file = ask(wire, part(wire, "file", PDF, "application/pdf")).prompt_tokens

    assert (media.IMAGE_TOKENS, media.FILE_TOKENS) == (image - plain, file - plain)


@every_wire
@pytest.mark.parametrize(
    ("kind", "content", "named"),
    [
        ("image", "####", "image/png"),
        ("image", "A", "image/png"),
        ("image", "", "image/png"),
        ("image", b"no image", "image/png"),
        ("image", b"BM bitmap", "image/bmp"),
        ("image", PDF, "application/pdf"),
        ("image", "http:/example.com/a.png", "image/png"),
        ("file", "####", "application/pdf"),
        ("file", b"no document", "application/pdf"),
        ("file", b"PK\x03\x04", "application/zip"),
    ],
)
def test_what_is_broken_is_refused(wire, kind, content, named):
    """Broken base64, another type than it says, and types that nobody takes."""
    if wire == "gemini" and (kind, named) == ("image", "application/pdf"):
        return  # where a part is a part, whatever it is

    status, message = refusal(wire, part(wire, kind, content, named))

    assert 400 == status
    assert message


def test_each_vendor_says_it_in_its_own_words():
    """So that what is read of an error is read of the real one."""
    said = {wire: refusal(wire, part(wire, "image", "####", "image/png"))[1] for wire in WIRES}

    assert {
        "openai": "Invalid base64 image_url.",
        "openai-responses": "Invalid base64 image_url.",
        "anthropic": "messages.0.content.0.image.source.base64: invalid base64 data",
        "gemini": "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed.",
        "converse": "Value at 'messages.0.content.0.source.bytes' is no valid base64",
    } == said


def test_anthropic_and_aws_want_the_type_to_be_true():
    """OpenAI and Gemini look at the bytes."""
    shown = {wire: part(wire, "image", JPEG, "image/png") for wire in WIRES}

    assert "does not match the provided media type image/png" in refusal("anthropic", shown["anthropic"])[1]
    assert "Could not process image" == refusal("converse", shown["converse"])[1]
    assert 1 == len({ask(wire, shown[wire]).text for wire in WIRES if wire not in ("anthropic", "converse")})


@pytest.mark.parametrize("wire", ["openai", "openai-responses", "anthropic", "converse"])
def test_only_the_user_shows_something(wire):
    """An image of the assistant's is refused."""
    assert 400 == refusal(wire, part(wire, "image", PNG, "image/png"), role="assistant")[0]


def test_text_files_are_taken_where_the_vendor_does():
    """Chat completions take PDF alone, and no addresses."""
    note = "data:text/plain;base64," + packed(b"A note.")
    chat = {"type": "file", "file": {"filename": "a.txt", "file_data": note}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A note."}}
    inline = {"inlineData": {"mimeType": "text/plain", "data": packed(b"A note.")}}

    seen = [
        ask("openai-responses", {"type": "input_file", "filename": "a.txt", "file_data": note}).seen,
        ask("anthropic", document).seen,
        ask("gemini", inline).seen,
    ]

    assert [(told(b"A note.", "text/plain"),)] * 3 == seen
    assert "Expected a base64-encoded data URL with an application/pdf MIME type" in refusal("openai", chat)[1]
    assert 400 == refusal("openai", {"type": "file", "file": {"file_url": "https://example.com/a.pdf"}})[0]


@pytest.mark.parametrize("size", [anthropic_media.MOST_BYTES + 1])
def test_a_request_of_anthropics_has_an_end(size):
    """Beyond it there is a status of its own."""
    with pytest.raises(Rejected) as raised:
        ANTHROPIC.read(b" " * size, {"version": "2026-10-21"})

    reply = ANTHROPIC.say(raised.value.reply)
    assert (413, "request_too_large") == (reply.status, json.loads(reply.body)["error"]["type"])


def test_large_images_are_refused():
    """20 MB at OpenAI, 10 MB of base64 at Anthropic."""
    large = PNG.ljust(20 * 2**20 + 1, b"\0")

    assert "larger than 20 MB" in refusal("openai", part("openai", "image", large, "image/png"))[1]
    large = PNG.ljust(8_000_000, b"\0")
    assert "image exceeds 10 MB maximum" in refusal("anthropic", part("anthropic", "image", large, "image/png"))[1]


def document(name="document 1", form="pdf", content=PDF):
    """Return a document as Converse has it."""
    return {"document": {"format": form, "name": name, "source": {"bytes": packed(content)}}}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([document("a.pdf")], "can only contain alphanumeric"),
        ([document("a  b")], "can only contain alphanumeric"),
        ([document(form="exe")], "enum value set"),
        ([document(form="txt")], "not of its format"),
        ([document(), document()], "duplicate document names"),
        ([document(f"document {number}") for number in range(6)], "maximum is 5"),
        ([document(form="txt", content=b"a" * 4_500_001)], "maximum of 4.5 MB"),
        ([{"image": {"format": "png"}}], "one source"),
        ([{"image": {"format": "bmp", "source": {"bytes": packed(PNG)}}}], "enum value set"),
    ],
)
def test_aws_has_rules_for_documents(parts, says):
    """Names, numbers and sizes; PDFs may be larger."""
    status, message = refusal("converse", *parts)

    assert 400 == status
    assert says in message
    large = PDF.ljust(4_500_001, b"a")
    assert (told(large, media.PDF),) == ask("converse", document(content=large)).seen


def test_aws_wants_text_beside_a_document():
    """In the same turn."""
    body = {"messages": [{"role": "user", "content": [document()]}]}

    with pytest.raises(Rejected) as raised:
        CONVERSE.read(json.dumps(body).encode(), {"model": "echo"})

    assert b"text block is required" in raised.value.reply.body


def test_documents_of_text_are_seen_as_text():
    """As bytes and as they stand."""
    said = {"document": {"format": "md", "name": "document 2", "source": {"text": "A note."}}}

    assert (told(b"A note.", "text/plain"),) * 2 == ask("converse", document(form="txt", content=b"A note."), said).seen
