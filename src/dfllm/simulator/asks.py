"""What was asked: the parts of a request that an answer is made from, whatever dialect it came in."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .tools import Offer

# These route, bill or label a request; the answer does not depend on them.
WIRE_ONLY = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "user",
    }
)

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, read and found to be in order.

    Attributes:
        hash: SHA-256 of all that decides the answer; equal questions share it.
        model: who is asked.
        text: the last user message, its text parts joined.
        prompt_tokens: what the question costs to read.
        choices: how many answers are wanted.
        allowance: most tokens an answer may have, None for no limit.
        stops: an answer ends before the first of these.
        schema: JSON schema of the answer, None for plain text.
        marks: one for each prefix of the prompt that may have been read before, the shortest first.
        cached_tokens: how much of it has been.
        seen: what is shown with it, as echo says it.
        offer: the tools that may be called, None for none.
    """

    hash: str
    model: str
    text: str
    prompt_tokens: int
    choices: int = 1
    allowance: int | None = None
    stops: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    marks: tuple[bytes, ...] = ()
    cached_tokens: int = 0
    seen: tuple[str, ...] = ()
    offer: Offer | None = None


def hash_of(body: Mapping[str, Any]) -> str:
    """Return the hash under which a request's body is billed; equal questions have equal hashes."""
    asked = {name: value for name, value in body.items() if name not in WIRE_ONLY}
    return hashlib.sha256(_canonical(asked).encode()).hexdigest()


def tokens_of(text: str) -> int:
    """Count tokens by the simulator's one rule: four bytes of UTF-8 are a token, and a rest is one more."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def first_tokens(text: str, tokens: int) -> str:
    """Return as much of the text as fits into so many tokens."""
    return text.encode("utf-8", "surrogatepass")[: 4 * tokens].decode("utf-8", "ignore")
