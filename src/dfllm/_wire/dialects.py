"""The dialects by name: each wire format is one file of pure functions, and this is what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from dfllm._core.charges import Rule
from dfllm._core.types import Messages, Outcome, Terms
from dfllm._wire import anthropic, converse, gemini, openai, openai_responses, vertex
from dfllm._wire.media import (
    ALIKE,
    ANTHROPIC,
    CONVERSE,
    GEMINI,
    RESPONSES,
    TEXT_ONLY,
    VERTEX_CLAUDE,
    VERTEX_GEMINI,
    Media,
)
from dfllm._wire.providers import Provider
from dfllm._wire.tools import held


class Dialect(NamedTuple):
    """One wire format, as pure functions.

    Attributes:
        path: where questions are posted, below the base URL; ``{model}`` in it stands for the model.
        models_path: where the models are listed; empty where that is elsewhere.
        encoder: from terms to the function that writes bodies.
        read: from status, headers and body to the row's Outcome.
        decode: the same for a body of a 200, as the store keeps it.
        response_format: from a JSON schema to the part of the body that asks for it.
        headers: from terms to what this wire wants beside the usual headers; ``{key}`` stands for the API key.
        max_tokens: the limit of output tokens where the API wants one and the user names none.
        charges: what the rate limits of those who speak it count.
        lacks: options it has no place for.
        tools: from tools to the part of the body that offers them; None where it has no place for any.
        response_tool: as `response_format`, but a tool whose arguments are the answer; None where none is needed.
        media: what it takes beside text, where a provider's row says nothing else.
        order: from the roles of a conversation to what it has against them, None where it takes them.
    """

    path: str
    models_path: str
    encoder: Callable[[Terms], Callable[[Messages], bytes]]
    read: Callable[[int, Mapping[str, str], bytes], Outcome]
    decode: Callable[[bytes], Outcome]
    response_format: Callable[..., str]
    headers: Callable[[Terms], Mapping[str, str]] = lambda terms: {}
    max_tokens: int | None = None
    charges: Rule = "openai"
    lacks: tuple[str, ...] = ()
    tools: Callable[..., str] | None = None
    response_tool: Callable[..., str] | None = None
    media: Media = TEXT_ONLY
    order: Callable[[Sequence[str]], str | None] = lambda roles: None

    @property
    def images(self) -> bool:
        """Whether a turn may show images."""
        return self.media.images

    def path_for(self, terms: Terms) -> str:
        """Return where questions under these terms are posted, below the base URL."""
        return self.path.replace("{model}", quote(terms.model, safe=""))

    def by_tool(self) -> Dialect:
        """Return the same, but schemas are asked for by a tool that must be called, and its arguments are the answer.

        Raises:
            ValueError: the dialect knows no such way.
        """
        if self.response_tool is None:
            raise ValueError(f"no answers by tools below {self.path}")
        read, decode = self.read, self.decode
        return self._replace(
            response_format=self.response_tool,
            read=lambda status, headers, body: held(read(status, headers, body)),
            decode=lambda body: held(decode(body)),
        )


DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(
        openai.PATH,
        openai.MODELS_PATH,
        openai.encoder,
        openai.read,
        openai.decode,
        openai.response_format,
        media=ALIKE,
        tools=openai.tools,
    ),
    "anthropic": Dialect(
        anthropic.PATH,
        anthropic.MODELS_PATH,
        anthropic.encoder,
        anthropic.read,
        anthropic.decode,
        anthropic.response_format,
        anthropic.headers,
        anthropic.MAX_TOKENS,
        "anthropic",
        ("seed",),
        tools=anthropic.tools,
        response_tool=anthropic.response_tool,
        media=ANTHROPIC,
        order=anthropic.order_of,
    ),
    "gemini": Dialect(
        gemini.PATH,
        gemini.MODELS_PATH,
        gemini.encoder,
        gemini.read,
        gemini.decode,
        gemini.response_format,
        gemini.headers,
        charges="gemini",
        tools=gemini.tools,
        media=GEMINI,
    ),
    "openai-responses": Dialect(
        openai_responses.PATH,
        openai_responses.MODELS_PATH,
        openai_responses.encoder,
        openai_responses.read,
        openai_responses.decode,
        openai_responses.response_format,
        lacks=("seed", "stop"),
        media=RESPONSES,
        tools=openai_responses.tools,
    ),
    "converse": Dialect(
        converse.PATH,
        converse.MODELS_PATH,
        converse.encoder,
        converse.read,
        converse.decode,
        converse.response_format,
        lacks=("seed",),
        tools=converse.tools,
        media=CONVERSE,
        order=converse.order_of,
    ),
}
# Claude and Gemini in Google's cloud differ in where they are and how they are let in, and hardly in what they say.
DIALECTS = DIALECTS | {
    "vertex-gemini": DIALECTS["gemini"]._replace(
        path=vertex.GEMINI_PATH, models_path=vertex.MODELS_PATH, headers=vertex.headers, media=VERTEX_GEMINI
    ),
    "vertex-claude": DIALECTS["anthropic"]._replace(
        path=vertex.CLAUDE_PATH,
        models_path=vertex.MODELS_PATH,
        encoder=vertex.claude_encoder,
        headers=vertex.headers,
        media=VERTEX_CLAUDE,
    ),
}


def schema_part(provider: Provider, schema: str, *, strict: bool) -> str:
    """Return the part of a body that asks a provider for this JSON schema, as its row has it.

    Raises:
        OptionError: nothing that it takes means the same.
    """
    if provider.schema_form == "json_object":
        return openai.instructed(schema)
    dialect = DIALECTS[provider.dialect]
    return (dialect.by_tool() if provider.schema_by_tool else dialect).response_format(schema, strict=strict)


def media_of(provider: Provider) -> Media:
    """Return what a provider takes beside text."""
    return DIALECTS[provider.dialect].media if provider.media is None else provider.media
