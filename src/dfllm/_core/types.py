"""The words of the house as frozen values: what a question is, and how it can end.

Values that exist once a row are msgspec structs with ``gc=False``: they hold no cycles, and a million of them would
keep Python's collector busy for longer than everything else a re-run does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from dfllm._core.controls import visible

Role: TypeAlias = Literal["system", "developer", "user", "assistant"]
Billing: TypeAlias = Literal["free", "paid", "maybe"]
Missing: TypeAlias = Literal["skip", "render", "raise"]

#: 20 bytes of a SHA-256; `dfllm._core.keys.text_of` writes it as people see it.
Key: TypeAlias = bytes


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        content: what is said; in a Recipe, the template of it.
    """

    role: str
    content: str


class Illustrated(Message, frozen=True, gc=False, array_like=True):
    """A turn that shows something; a class of its own, so that the keys of all others stay what they are.

    Attributes:
        images: https or data URLs, shown before what is said.
    """

    images: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A piece of a turn.

    Attributes:
        kind: ``"text"``, ``"image"`` or ``"file"``.
        value: the text; of the others the https or data URL.
    """

    kind: str
    value: str


class Parted(Message, frozen=True, gc=False, array_like=True):
    """A turn of several parts, where their order or kind is such that `Illustrated` could not hold it.

    Attributes:
        parts: what is shown and said, in its order; `content` is all of the text.
    """

    parts: tuple[Part, ...] = ()


Messages: TypeAlias = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to do with each row: the templates, and what a missing cell means.

    Attributes:
        messages: templates, oldest turn first.
        missing: what becomes of a row whose template prints a missing cell.
    """

    messages: Messages
    missing: Missing = "skip"


@dataclass(frozen=True, slots=True)
class Terms:
    """What all questions of a frame share: what decides their answers, and how they travel (`keys.WIRE_ONLY`).

    Attributes:
        provider: the provider's identity: its name, plus the base URL where the user set another.
        dialect: the wire format, as ``openai`` for chat completions.
        model: the provider's name for the model.
        temperature: sampling temperature; None is the provider's default.
        top_p: nucleus share; None is the provider's default.
        max_tokens: the most output tokens; None is the provider's default.
        max_tokens_field: what this provider calls that limit on the wire.
        stop: texts that end the answer.
        seed: the provider's sampling seed.
        reasoning: the provider's reasoning effort.
        schema: canonical JSON of the schema as it is sent.
        extra: canonical JSON of what the user adds to the body.
        prompt_cache_key: where the provider is to look for a prefix it has kept; it decides no answer.
        seed_field: what this provider calls the seed on the wire.
        tools: JSON of the tools as they are sent.
        tool_choice: whether tools are to be called: ``auto``, ``required``, ``none`` or the name of one.
        service_tier: how soon and at which price the provider is to answer; it decides no answer.
        dimensions: how many numbers an embedding is to have; None is the model's own number.
        task: what an embedding is for, where the provider is told.
    """

    provider: str
    dialect: str
    model: str
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    reasoning: str | None = None
    schema: str | None = None
    extra: str | None = None
    prompt_cache_key: str | None = None
    seed_field: str = "seed"
    tools: str | None = None
    tool_choice: str | None = None
    service_tier: str | None = None
    dimensions: int | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One question, complete: what decides the answer, and nothing else.

    Attributes:
        terms: what all questions of the frame share.
        messages: this row's messages, oldest first.
    """

    terms: Terms
    messages: Messages


class Response(msgspec.Struct, frozen=True, gc=False):
    """What the provider said, read from a body that is an answer.

    Attributes:
        text: the answer's text.
        finish: why it ended, in the provider's word.
        tokens_in: input tokens billed, cached ones included; None where the provider did not say.
        tokens_out: output tokens billed, reasoning included; None where the provider did not say.
        tokens_cached: input tokens read from the provider's cache.
        tokens_reasoning: output tokens nobody sees.
        model: the model that served it.
        tokens_written: input tokens written to the provider's cache, where it bills them apart.
        calls: JSON of the tools it wants to be called, in the order said: a list of objects with ``name``,
            ``arguments`` and ``id``; None where there are none.
    """

    text: str
    finish: str = "stop"
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    model: str | None = None
    tokens_written: int = 0
    calls: str | None = None


FailureType: TypeAlias = Literal[
    "Skipped",
    "TemplateError",
    "BadInput",
    "NotSent",
    "Cancelled",
    "BudgetExceeded",
    "RateLimited",
    "QuotaExhausted",
    "Overloaded",
    "ServerError",
    "Timeout",
    "ConnectFailed",
    "ConnectionLost",
    "TlsError",
    "BadResponse",
    "ProviderError",
    "EmptyResponse",
    "Refused",
    "ContentFiltered",
    "Truncated",
    "InvalidOutput",
    "ContextTooLong",
    "TooLarge",
    "BadRequest",
    "AuthFailed",
    "PermissionDenied",
    "ModelNotFound",
    "StoreError",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no answer.

    Attributes:
        type: one word of a closed list.
        reason: one line for people, without secrets, prompts or pages.
        billing: whether the attempt was paid for; None where nothing could be.
        status: the HTTP status, where there was one.
        code: the provider's own code.
        request_id: the provider's name for the exchange.
        wait_seconds: how long the provider asks to wait.
        again: the provider's own word on trying again, where it gave one.
        tries: attempts made, this one included.
        response: what was said all the same, as in an answer cut short.
    """

    type: FailureType
    reason: str
    billing: Billing | None = None
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    wait_seconds: float | None = None
    again: bool | None = None
    tries: int = 1
    response: Response | None = None

    def __str__(self) -> str:
        """Return the error column's text: at most 300 characters on one line, none of them a control."""
        facts = [
            f"http {self.status}" if self.status is not None and self.status != 200 else "",
            self.code or "",
            f"try {self.tries}" if self.tries > 1 else "",
            self.billing or "",
        ]
        tail = ", ".join(fact for fact in facts if fact)
        tail = f" ({tail})" if tail else ""
        # Once more, since what stood between two blanks may have been a control.
        head = " ".join(visible(" ".join(f"{self.type}: {self.reason}".split())).split())
        room = 300 - len(tail)
        return (head if len(head) <= room else head[: room - 1] + "…") + tail


Outcome: TypeAlias = Response | Failure
