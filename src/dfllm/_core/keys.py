"""Requests to keys: the hash of everything that decides an answer.

A key is the first 20 bytes of SHA-256 over two lines of canonical JSON, what a frame shares and what a row asks:

    {"dialect":"openai","model":"...","provider":"...","v":1}
    [["user","..."]]

Where a row is asked several times, each sample but the first has a third line, and sample 0 is the question itself:

    {"sample":1}

Terms at their default are left out, so a field that is added later leaves old keys alone. Never in it: API keys,
timeouts, limits, live or batch, and what only helps a question on its way (`WIRE_ONLY`). People see a key as ``k1``
and 40 hex digits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields

import msgspec

from dfllm._core.types import Key, Messages, Request, Terms

VERSION = 1
_TEXT = re.compile(rf"k{VERSION}[0-9a-f]{{40}}")

#: Terms that travel with a question and decide nothing about its answer: another value, the same key. The list is
#: closed: what is not in it is in the key.
WIRE_ONLY = frozenset({"prompt_cache_key", "service_tier"})
_encode = msgspec.json.Encoder().encode


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def text_of(key: Key) -> str:
    """Return the key as people see it: ``k1`` and 40 hex digits."""
    return f"k{VERSION}{key.hex()}"


def key_from(text: object) -> Key:
    """Return the key that people see as this text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise ValueError(f"no key: {text!r}")
    return bytes.fromhex(text[2:])


def key_of(request: Request) -> Key:
    """Return the key of one request."""
    return keyer(request.terms)(request.messages)


def keyer(terms: Terms) -> Callable[[Messages], Key]:
    """Return the function from messages to their key under these terms.

    The terms are hashed once and the hash's state is copied for each row.
    """
    start = _begun(terms)

    def key(messages: Messages) -> Key:
        state = start.copy()
        state.update(_encode(messages))  # as arrays, whose brackets and quotes tell one message from two
        return state.digest()[:20]

    return key


def sampler(terms: Terms) -> Callable[[Messages, Iterable[int]], list[Key]]:
    """Return the function from messages and numbers of samples to their keys; the key of sample 0 is `keyer`'s."""
    start = _begun(terms)

    def keys(messages: Messages, samples: Iterable[int]) -> list[Key]:
        asked = start.copy()
        asked.update(_encode(messages))
        made = []
        for sample in samples:
            state = asked
            if sample:
                state = asked.copy()
                state.update(b'\n{"sample":%d}' % sample)
            made.append(state.digest()[:20])
        return made

    return keys


def _begun(terms: Terms) -> hashlib._Hash:
    said = {
        field.name: value
        for field in fields(terms)
        if field.name not in WIRE_ONLY and (value := getattr(terms, field.name)) != field.default
    }
    return hashlib.sha256(canonical({**said, "v": VERSION}).encode() + b"\n")
