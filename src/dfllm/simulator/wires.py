"""The wires it speaks: each reads questions of its own, and says in its own words what was made up in OpenAI's.

Answers, faults and refusals are made once, as chat completions, and said again here. What is no JSON object, such as
a page of HTML or half of a body, is the same on every wire.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import anthropic, anthropic_read, converse, converse_read, gemini, gemini_read, openai, openai_read, responses
from .asks import Ask
from .limit_headers import Style
from .limiter import Verdict
from .replies import Reply, packed

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Wire:
    """One vendor's words.

    Attributes:
        name: whose.
        read: from a body, and what was given beside it, to a question; raises Rejected.
        headers: from a request id and seconds to the headers of every response.
        limit_headers: how it tells of its limits.
        answer: from a chat completion to the body of its own; None where that is its own.
        error: from a status and an error as OpenAI's to its own; None where that is its own.
        error_head: from the same to a status and headers of its own; None where they stay.
        limited: from a question and what the limiter said of it to a refusal.
    """

    name: str
    read: Callable[[bytes, Mapping[str, str]], Ask]
    headers: Callable[[str, float], dict[str, str]]
    limit_headers: Style = "openai"
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    error: Callable[[int, Mapping[str, Any]], Mapping[str, Any]] | None = None
    limited: Callable[[Ask, Verdict], Reply] = openai.limited
    error_head: Callable[[int, Mapping[str, Any]], tuple[int, dict[str, str]]] | None = None

    def say(self, reply: Reply) -> Reply:
        """Return a reply in the words of this wire."""
        if self.answer is None or reply.content_type != "application/json":
            return reply
        try:
            body = json.loads(reply.body)
        except ValueError:  # nothing, half of something, or packed: no words to change
            return reply
        if not isinstance(body, dict):
            return reply
        if "choices" in body:
            return replace(reply, body=packed(self.answer(body)))
        if self.error is not None and isinstance(body.get("error"), dict):
            said = packed(self.error(reply.status, body["error"]))
            if self.error_head is None or reply.status == 200:
                return replace(reply, body=said)
            status, headers = self.error_head(reply.status, body["error"])
            return replace(reply, status=status, body=said, headers={**reply.headers, **headers})
        return reply


OPENAI = Wire("openai", lambda raw, given: openai_read.read(raw), openai.headers)
ANTHROPIC = Wire(
    "anthropic", anthropic_read.read, anthropic.headers, "anthropic", anthropic.message, anthropic.error_body
)
GEMINI = Wire("gemini", gemini_read.read, gemini.headers, "none", gemini.content, gemini.error_body, gemini.limited)
RESPONSES = Wire("openai-responses", responses.read, openai.headers, "openai", responses.response)
CONVERSE = Wire(
    "converse",
    converse_read.read,
    converse.headers,
    "none",
    converse.answer,
    converse.error_body,
    error_head=converse.error_head,
)


def _claudes(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chat completion as a message of one of Claude's models, which are told from others by their name."""
    return anthropic.message({**completion, "model": f"claude-{completion.get('model')}"})


# Google's cloud says of its own limits what Gemini says, whoever's model it is.
ON_VERTEX = replace(
    ANTHROPIC,
    name="vertex-claude",
    read=anthropic_read.read_on_vertex,
    headers=gemini.headers,
    limit_headers="none",
    answer=_claudes,
    limited=gemini.limited,
)
