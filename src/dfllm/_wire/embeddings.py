"""The dialects of embeddings by name: each is a file of pure functions, and this is what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from dfllm._core.charges import Rule
from dfllm._core.errors import OptionError
from dfllm._core.types import Failure, Messages, Outcome, Terms
from dfllm._core.vectors import unpacked
from dfllm._wire import cohere, gemini, gemini_embeddings, openai_embeddings, voyage
from dfllm._wire.bodies import named, refused
from dfllm._wire.dialects import Dialect
from dfllm._wire.providers import Embeds

_json = msgspec.json.Encoder().encode

#: More texts than this are never put into one request, whoever would take them: it is what a kill can lose and what
#: one bad text sends round again, and the answer still fits into what is taken of one body, 64 MiB.
MOST_TEXTS = 512
#: Nor more bytes, so that one request does not take a minute's tokens.
MOST_BYTES = 300_000


class Packer(Protocol):
    """Makes the function from texts to the body of one request."""

    def __call__(self, terms: Terms, *, base64: bool) -> Callable[[Sequence[str]], bytes]: ...


class Embedder(NamedTuple):
    """One wire format of embeddings, as pure functions.

    Attributes:
        path: where texts are posted, below the base URL; ``{model}`` in it stands for the model.
        models_path: where the models are listed.
        packer: from terms to the function from texts to a body.
        decode: from the body of a 200 to its vectors.
        tasks: the words of ``task=`` that it has a word for.
        task: what is asked for where the user names no task and the API wants one.
        headers: from terms to what this wire wants beside the usual headers.
        charges: what the rate limits of those who speak it count.
    """

    path: str
    models_path: str
    packer: Packer
    decode: Callable[[bytes], Outcome]
    tasks: Sequence[str] = ()
    task: str | None = None
    headers: Callable[[Terms], Mapping[str, str]] = lambda terms: {}
    charges: Rule = "openai"


_openai = Embedder(
    openai_embeddings.PATH, openai_embeddings.MODELS_PATH, openai_embeddings.packer, openai_embeddings.decode
)

EMBEDDERS: Mapping[str, Embedder] = {
    "openai-embeddings": _openai,
    "mistral-embeddings": _openai._replace(packer=partial(openai_embeddings.packer, dimensions="output_dimension")),
    "gemini-embeddings": Embedder(
        gemini_embeddings.PATH,
        gemini_embeddings.MODELS_PATH,
        gemini_embeddings.packer,
        gemini_embeddings.decode,
        tuple(gemini_embeddings.TASKS),
        headers=gemini.headers,
        charges="gemini",
    ),
    "cohere-embeddings": Embedder(
        cohere.PATH, cohere.MODELS_PATH, cohere.packer, cohere.decode, tuple(cohere.TASKS), "document"
    ),
    "voyage-embeddings": _openai._replace(packer=voyage.packer, tasks=tuple(voyage.TASKS)),
}

#: Every word that ``task=`` may be.
TASKS = ("query", "document", "classification", "clustering", "similarity")


class Packing(NamedTuple):
    """How texts are put together into requests.

    Attributes:
        body: from texts to the body of one request.
        texts: the most texts in one.
        size: the most bytes of text in one; a token is a byte or more, so this bounds the tokens too.
        dimensions: how many numbers each vector should have; None where that is the model's to say.
    """

    body: Callable[[Sequence[str]], bytes]
    texts: int
    size: int
    dimensions: int | None = None


def packing_of(embeds: Embeds, terms: Terms) -> Packing:
    """Return how texts under these terms are put together.

    Raises:
        OptionError: `extra` sets what the library decides.
    """
    body = EMBEDDERS[embeds.dialect].packer(terms, base64=embeds.base64)
    return Packing(body, min(embeds.texts, MOST_TEXTS), min(embeds.tokens, MOST_BYTES), terms.dimensions)


def dialect_of(embeds: Embeds) -> Dialect:
    """Return the dialect as the engine takes it: what is asked is one text, what is stored one vector.

    It writes no bodies but the text as it will stand in one: what surrounds it is shared by the whole pack, and a text
    is to reserve and to count for no more than its own.
    """
    embedder = EMBEDDERS[embeds.dialect]

    def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        if status != 200:
            return refused(status, headers, body)
        outcome = embedder.decode(body)
        return named(outcome, headers) if isinstance(outcome, Failure) else outcome

    return Dialect(
        embedder.path,
        embedder.models_path,
        lambda terms: _as_text,
        read,
        unpacked,
        _no_schema,
        embedder.headers,
        charges=embedder.charges,
    )


def _as_text(messages: Messages) -> bytes:
    return _json(messages[-1].content)


def _no_schema(schema: str, *, strict: bool) -> str:
    raise OptionError("Embeddings take no schema.")
