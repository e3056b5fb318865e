"""Media: what a provider does not take, or not so much of, is known before it is sent, and what it costs at most."""

import base64

import pytest

from dfllm._core.files import file_url
from dfllm._core.images import data_url
from dfllm._core.types import Message, Part, Parted
from dfllm._wire.dialects import DIALECTS, media_of
from dfllm._wire.media import (
    ANTHROPIC,
    CONVERSE,
    GEMINI,
    GROQ,
    NO_EXTRA,
    OLLAMA,
    OPENAI,
    RESPONSES,
    TEXT_ONLY,
    Media,
    Rules,
)
from dfllm._wire.providers import PROVIDERS

PNG = data_url(b"\x89PNG\r\n\x1a\n".ljust(3_000, b"\0"))
PDF = file_url(b"%PDF-1.7".ljust(3_000, b"\0"))
NOTE = file_url(b"a note")
WEB = "https://example.com/a"


def rules(media, context=1_000, **more):
    """Return the rules of a call."""
    return Rules(media, "lab", "m", lambda: context, **more)


def shown(*parts):
    """Return a conversation that shows these, each a kind and a URL."""
    return (
        Message("system", "Be brief."),
        Parted("user", "See?", (*(Part(*one) for one in parts), Part("text", "See?"))),
    )


@pytest.mark.parametrize(
    ("media", "part", "why"),
    [
        (TEXT_ONLY, ("image", PNG), "BadInput: lab takes no images"),
        (TEXT_ONLY, ("file", PDF), "BadInput: lab takes no files"),
        (GROQ, ("file", PDF), "BadInput: lab takes no files"),
        (OPENAI, ("file", NOTE), "BadInput: text file, lab takes PDF"),
        (OPENAI, ("file", WEB), "BadInput: lab fetches no files; dfllm.configure(fetch_files=True) does it here"),
        (OLLAMA, ("image", WEB), "BadInput: lab fetches no images; dfllm.configure(fetch_images=True) does it here"),
        (CONVERSE, ("image", WEB), "BadInput: lab fetches no images; dfllm.configure(fetch_images=True) does it here"),
        (CONVERSE, ("file", WEB), "BadInput: lab fetches no files; dfllm.configure(fetch_files=True) does it here"),
        (Media(image_bytes=2_000), ("image", PNG), "TooLarge: image of 0.0 MB, lab takes 0.0 MB"),
        (OPENAI._replace(file_bytes=2_000), ("file", PDF), "TooLarge: file of 0.0 MB, lab takes 0.0 MB"),
        (Media(request_bytes=2_000), ("image", PNG), "TooLarge: request of 0.0 MB, lab takes 0 MB"),
        (OPENAI._replace(most_files=0), ("file", PDF), "TooLarge: 1 files, lab takes 0 a request"),
        (Media(most_images=0), ("image", WEB), "TooLarge: 1 images, lab takes 0 a request"),
    ],
)
def test_what_is_not_taken_is_the_rows_own_failure(media, part, why):
    """It says whose limit it is, and how large it was."""
    assert why == str(rules(media).failure(shown(part)))


@pytest.mark.parametrize(
    "media", [OPENAI, RESPONSES, ANTHROPIC, GEMINI], ids=["chat", "responses", "anthropic", "gemini"]
)
def test_what_is_taken_has_no_failure(media):
    """PDF and images everywhere, text and addresses of files where the vendor says so."""
    parts = [("image", PNG), ("image", WEB), ("file", PDF)]
    parts += [("file", NOTE), ("file", WEB)] if media is not OPENAI else []

    assert None is rules(media).failure(shown(*parts))
    assert None is rules(media).failure((Message("user", "See?"),))


def test_a_file_may_want_text_beside_it():
    """In its own turn; an image does not."""
    files, images = (Parted("user", "", (Part(kind, url),)) for kind, url in (("file", PDF), ("image", PNG)))

    assert "BadInput: lab wants text in a turn that shows a file" == str(
        rules(CONVERSE).failure((*shown(("file", PDF)), files))
    )
    assert None is rules(CONVERSE).failure((*shown(("file", PDF)), images))
    assert None is rules(OPENAI).failure((files,))


def test_limits_are_the_vendors():
    """10 MB of base64 are an image of Anthropic's, and 32 MB a request."""
    most = data_url(b"\x89PNG\r\n\x1a\n".ljust(7_500_000, b"\0"))
    more = data_url(b"\x89PNG\r\n\x1a\n".ljust(7_500_003, b"\0"))

    assert None is rules(ANTHROPIC).failure(shown(("image", most)))
    assert "TooLarge: image of 7.5 MB, lab takes 7.5 MB" == str(rules(ANTHROPIC).failure(shown(("image", more))))
    assert "TooLarge: request of 40.0 MB, lab takes 32 MB" == str(
        rules(ANTHROPIC).failure(shown(*[("image", most)] * 4))
    )


def test_images_count_as_the_most_their_vendor_bills():
    """However few bytes they have, and however many."""
    unread = len(base64.b64encode(b"\0" * 3_000))

    one, two = (rules(ANTHROPIC).more(shown(*[("image", PNG)] * count)) for count in (1, 2))

    assert (4_784 - unread, 2 * (4_784 - unread)) == (one.most, two.most)
    assert 4 * 1_000 - unread == one.usual
    assert 4_784 == rules(ANTHROPIC).more(shown(("image", WEB))).most


def test_what_has_no_end_of_its_own_ends_with_the_context():
    """No request is read beyond it, whatever it shows."""
    unread = len(base64.b64encode(b"\0" * 3_000))

    assert 1_000 - unread == rules(ANTHROPIC).more(shown(("file", PDF))).most
    assert 1_000 - 2 * unread == rules(GEMINI).more(shown(("image", PNG), ("file", PDF))).most


def test_text_is_read_byte_by_byte():
    """A file of text costs no more than its bytes, like all text."""
    assert NO_EXTRA == rules(ANTHROPIC).more(shown(("file", NOTE))) == rules(ANTHROPIC).more((Message("user", "a"),))


@pytest.mark.parametrize(
    ("media", "context", "bounds"),
    [
        (OPENAI, None, (True, False)),
        (OPENAI, 1_000, (True, True)),
        (OPENAI._replace(dear=("m",)), 1_000, (True, False)),
        (GEMINI, None, (False, False)),
        (GEMINI, 1_000, (True, True)),
    ],
)
def test_bounds_are_known_or_not(media, context, bounds):
    """By the vendor's word on an image, else by the context, save where a model bills beyond it."""
    assert bounds == tuple(map(rules(media, context).is_bounded, ("image", "file")))


def test_a_conversation_is_bounded_as_what_it_shows_is():
    """One of text always is."""
    assert rules(OPENAI, None).bounds(shown(("image", PNG)))
    assert not rules(OPENAI, None).bounds(shown(("image", PNG), ("file", PDF)))
    assert rules(GEMINI, None).bounds((Message("user", "See?"),))


def test_a_budget_takes_only_what_has_a_bound():
    """A row that brings more than that in its conversation is not sent."""
    why = "BadInput: there is a budget, and nothing bounds what a file costs"

    assert why == str(rules(OPENAI, None, is_capped=True).failure(shown(("file", PDF))))
    assert None is rules(OPENAI, None, is_capped=True).failure(shown(("image", PNG)))


def test_dialects_show_images_and_files():
    """A provider's own row may say less."""
    for name in DIALECTS:
        assert DIALECTS[name].images
        assert "application/pdf" in DIALECTS[name].media.files
    assert (TEXT_ONLY, GROQ, ANTHROPIC) == tuple(map(media_of, map(PROVIDERS.get, ("deepseek", "groq", "anthropic"))))
