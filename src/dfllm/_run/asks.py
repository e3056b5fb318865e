"""Asks: a question on its way, and what is told of it underway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from dfllm._core.types import Failure, Key, Messages, Outcome
from dfllm._wire.media import NO_EXTRA, Extra


class Answered(Protocol):
    """An HTTP answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Ask:
    """One missing question on its way.

    Attributes:
        key: its key.
        messages: its messages.
        content: its body on the wire.
        extra: what images and files in it add to its bytes.
        tries: attempts made.
        answered: how many attempts of the run had ended without trouble before its first.
        unsure: those of them that may have been billed without an answer.
        repairs: those of them that asked to mend an answer.
        unmended: the answer that was to be mended.
        missed: what the last attempt came to that was or may have been billed.
        is_reserved: whether the next attempt's cost is reserved.
        under_way: whether an attempt has begun and not ended.
        started: when the last attempt began.
        seconds: how long it took.
    """

    __slots__ = (
        "answered",
        "content",
        "extra",
        "is_reserved",
        "key",
        "messages",
        "missed",
        "repairs",
        "seconds",
        "started",
        "tries",
        "under_way",
        "unmended",
        "unsure",
    )

    def __init__(self, key: Key, content: bytes, messages: Messages = (), extra: Extra = NO_EXTRA) -> None:
        self.key = key
        self.messages = messages
        self.content = content
        self.extra = extra
        self.tries = 0
        self.answered = 0
        self.unsure = 0
        self.repairs = 0
        self.unmended: Outcome | None = None
        self.missed: Failure | None = None
        self.is_reserved = True
        self.under_way = False
        self.started = 0.0
        self.seconds = 0.0

    @property
    def size(self) -> int:
        """What bounds its input tokens: the bytes of its body, save where images and files are counted otherwise."""
        return len(self.content) + self.extra.most

    @property
    def weight(self) -> int:
        """The bytes that text of about as many tokens would have."""
        return len(self.content) + self.extra.usual

    def judged(self, outcome: Outcome) -> Outcome:
        """Return what an answer means for what was asked here."""
        return outcome


class Missed(NamedTuple):
    """An attempt that gave no answer but was, or may have been, billed.

    Attributes:
        key: the question's key.
        failure: what it came to.
        body: what came back, where anything did.
        size: what bounds its input tokens, by the bytes of its body.
    """

    key: Key
    failure: Failure
    body: bytes | None
    size: int


class Attempt(NamedTuple):
    """One attempt that has just ended, as those who watch see it.

    Attributes:
        key: the question's key.
        tries: which try of the row it was; one that met a rate limit uses up none.
        outcome: what it came to.
        seconds: how long it took.
        asked: the request's body.
        answer: what came back; a Failure or None where nothing did.
    """

    key: Key
    tries: int
    outcome: Outcome
    seconds: float
    asked: bytes
    answer: Answered | Failure | None
