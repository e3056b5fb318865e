"""Media: which images and files each API takes, how large and how many, and what they can be counted as.

Sources, as of November 2026:
https://developers.openai.com/api/docs/guides/images-vision and https://developers.openai.com/api/docs/guides/file-inputs,
https://platform.claude.com/docs/en/build-with-claude/vision and https://platform.claude.com/docs/en/api/errors,
https://ai.google.dev/gemini-api/docs/file-input-methods, https://console.groq.com/docs/vision,
https://docs.ollama.com/api/openai-compatibility,
https://docs.aws.amazon.com/bedrock/latest/userguide/inference-api-restrictions.html, https://openrouter.ai/docs/features/multimodal/pdfs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dfllm._core.files import PDF, TEXT
from dfllm._core.parts import USUAL_TOKENS, media_in, split_url
from dfllm._core.types import Failure, Message, Messages, Part

_MB = 10**6
_WORDS = {PDF: "PDF", TEXT: "text"}
_BYTES_A_TOKEN = 4


class Media(NamedTuple):
    """What one API takes beside text.

    Attributes:
        images: whether it takes images: PNG, JPEG, GIF and WebP.
        files: the media types of the files that it takes.
        fetches: what it fetches itself where an https address is given.
        image_bytes: the most one image may have.
        file_bytes: the most one file may have.
        most_images: how many a request may show.
        request_bytes: the most that a request may have, all of it as base64.
        image_tokens: the most that an image is billed as; None where that depends on it without an end.
        file_tokens: the same of a PDF.
        dear: beginnings of models' names whose images are billed for more than they take of the context.
        most_files: how many files a request may show.
        wants_text: whether a turn that shows a file must say something too.
    """

    images: bool = True
    files: tuple[str, ...] = ()
    fetches: tuple[str, ...] = ("image",)
    image_bytes: int = 20 * 2**20
    file_bytes: int = 50 * _MB
    most_images: int = 1_500
    request_bytes: int = 512 * _MB
    image_tokens: int | None = None
    file_tokens: int | None = None
    dear: tuple[str, ...] = ()
    most_files: int | None = None
    wants_text: bool = False

    @property
    def said(self) -> str:
        """The files it takes, for people."""
        return ", ".join(_WORDS[kind] for kind in self.files)


#: Others that speak chat completions; what their images are billed as is theirs to say.
ALIKE = Media(files=(PDF,))
IMAGES_ONLY = Media()
TEXT_ONLY = Media(images=False)
#: The most of all documented models: gpt-4o-mini, with 2,833 tokens and 8 tiles of 5,667. These do not fill its
#: context, so that a context bounds none of its files.
OPENAI = Media(files=(PDF,), image_tokens=48_169, dear=("gpt-4o-mini",))
RESPONSES = OPENAI._replace(files=(PDF, TEXT), fetches=("image", "file"))
#: 10 MB of base64 an image, 32 MB a request; up to 4,784 tokens an image from version 4.7 on, 1,568 before.
ANTHROPIC = Media(
    files=(PDF, TEXT),
    fetches=("image", "file"),
    image_bytes=10 * _MB * 3 // 4,
    file_bytes=32 * _MB * 3 // 4,
    most_images=600,
    request_bytes=32 * _MB,
    image_tokens=4_784,
)
#: It cuts images into tiles, as many as they have.
GEMINI = Media(files=(PDF, TEXT), fetches=("image", "file"), most_images=3_600, request_bytes=100 * _MB)
#: How large and how many images may be is the model's to say; so is what it takes of PDFs beyond 4.5 MB.
CONVERSE = Media(files=(PDF, TEXT), fetches=(), most_files=5, wants_text=True)
#: 5 MB of base64 an image.
VERTEX_CLAUDE = ANTHROPIC._replace(fetches=(), image_bytes=5 * _MB * 3 // 4)
#: It wants a type with an address, and of an image nobody here knows it.
VERTEX_GEMINI = GEMINI._replace(fetches=("file",))
GROQ = Media(most_images=5, request_bytes=4 * _MB)
OLLAMA = Media(fetches=())
SIMULATOR = OPENAI._replace(image_tokens=85, file_tokens=1_000, dear=())


class Extra(NamedTuple):
    """What is to be added to the bytes of a body, where images and files are no text to be read byte by byte.

    Attributes:
        most: so that it bounds the input tokens.
        usual: so that it guesses them, at a token for four bytes.
    """

    most: int = 0
    usual: int = 0


NO_EXTRA = Extra()


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the media of one call.

    Attributes:
        media: what the API takes.
        whose: whose it is.
        model: the model's name there.
        context: gives how many tokens the model takes in, None where unknown.
        is_capped: whether there is a budget, which only what has a bound can keep to.
    """

    media: Media
    whose: str
    model: str
    context: Callable[[], int | None]
    is_capped: bool = False

    def takes(self, kind: str) -> bool:
        """Return whether any of this kind, ``"image"`` or ``"file"``, is taken."""
        return self.media.images if kind == "image" else bool(self.media.files)

    def is_bounded(self, kind: str) -> bool:
        """Return whether it is known what one of this kind can be billed as at most."""
        if (self.media.image_tokens if kind == "image" else self.media.file_tokens) is not None:
            return True
        return not self.model.startswith(self.media.dear or "\0") and self.context() is not None

    def bounds(self, messages: Messages) -> bool:
        """Return whether it is known what all that a conversation shows can be billed as at most."""
        return all(map(self.is_bounded, {part.kind for part in media_in(messages)}))

    def failure(self, messages: Messages) -> Failure | None:
        """Return why a conversation cannot be sent for what it shows, None where it can."""
        images = files = size = 0
        for part in media_in(messages):
            if (odd := self._failure(part)) is not None:
                return odd
            images += part.kind == "image"
            files += part.kind == "file"
            size += len(part.value)
        if images > self.media.most_images:
            return Failure("TooLarge", f"{images:,} images, {self.whose} takes {self.media.most_images:,} a request")
        if self.media.most_files is not None and files > self.media.most_files:
            return Failure("TooLarge", f"{files:,} files, {self.whose} takes {self.media.most_files:,} a request")
        if files and self.media.wants_text and any(map(_is_mute, messages)):
            return Failure("BadInput", f"{self.whose} wants text in a turn that shows a file")
        if not size:
            return None
        size += sum(len(message.content) for message in messages)
        if size > self.media.request_bytes:
            most = self.media.request_bytes / _MB
            return Failure("TooLarge", f"request of {size / _MB:,.1f} MB, {self.whose} takes {most:,.0f} MB")
        return None

    def _failure(self, part: Part) -> Failure | None:
        kind = part.kind
        if not self.takes(kind):
            return Failure("BadInput", f"{self.whose} takes no {kind}s")
        if self.is_capped and not self.is_bounded(kind):
            return Failure("BadInput", f"there is a budget, and nothing bounds what {_one(kind)} costs")
        found = split_url(part.value)
        if found is None:
            if kind in self.media.fetches:
                return None
            what = f"{self.whose} fetches no {kind}s; dfllm.configure(fetch_{kind}s=True) does it here"
            return Failure("BadInput", what)
        named, content = found
        if kind == "file" and named not in self.media.files:
            return Failure("BadInput", f"{_WORDS[named]} file, {self.whose} takes {self.media.said}")
        most = self.media.image_bytes if kind == "image" else self.media.file_bytes
        size = len(content) * 3 // 4
        if size <= most:
            return None
        return Failure("TooLarge", f"{kind} of {size / _MB:,.1f} MB, {self.whose} takes {most / _MB:,.1f} MB")

    def more(self, messages: Messages) -> Extra:
        """Return what the media of a conversation add to the bytes of its body."""
        most = usual = 0
        whole = False
        for part in media_in(messages):
            found = split_url(part.value)
            if part.kind == "file" and found is not None and found[0] == TEXT:
                continue  # which is read byte by byte, like all text
            unread = len(found[1]) if found is not None else 0
            tokens = self.media.image_tokens if part.kind == "image" else self.media.file_tokens
            whole = whole or tokens is None
            most += (tokens or 0) - unread
            usual += USUAL_TOKENS[part.kind] * _BYTES_A_TOKEN - unread
        # No request is read beyond the context, so it bounds all that has no other bound.
        return Extra(most + ((self.context() or 0) if whole else 0), usual)


def _is_mute(message: Message) -> bool:
    """Return whether a turn shows a file and says nothing."""
    return not message.content.strip() and any(part.kind == "file" for part in media_in((message,)))


def _one(kind: str) -> str:
    return "an image" if kind == "image" else "a file"


def refusal(kind: str) -> str:
    """Return what is said of a call with such a column and a budget."""
    return (
        f"There is a budget, and nothing bounds what {_one(kind)} costs, so it could not be kept. Nothing was sent. "
        f"Leave {kind}s= or the budget out."
    )
