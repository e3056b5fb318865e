"""Prefixes: how much of a question the provider has read before, as providers keep beginnings of prompts.

What is kept is kept for one model and one ``prompt_cache_key``, and is found again by questions that begin exactly
alike: with the same response format and tools, then the same messages up to some token. From 1,024 tokens on, in steps
of 128. Time plays no part: what has been answered once is found from then on, until there is too much of it.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

LEAST_TOKENS = 1_024
STEP_TOKENS = 128

_BYTES_A_TOKEN = 4
_MOST_KEPT = 50_000
#: Fields that are read before the messages, or decide where to look.
_BEFORE = ("model", "prompt_cache_key", "response_format", "tools")


def marks_of(body: Mapping[str, Any], said: Iterable[tuple[bytes, int]]) -> tuple[bytes, ...]:
    """Return a mark for each prefix of a question that could be kept, the shortest first.

    Args:
        body: the request.
        said: what is read of its messages in order: bytes, and the tokens that they are charged as.
    """
    start = json.dumps([body.get(name) for name in _BEFORE], sort_keys=True).encode()
    prompt = b"".join(raw[: tokens * _BYTES_A_TOKEN].ljust(tokens * _BYTES_A_TOKEN, b"\0") for raw, tokens in said)
    if len(prompt) < LEAST_TOKENS * _BYTES_A_TOKEN:
        return ()
    step = STEP_TOKENS * _BYTES_A_TOKEN
    state = hashlib.sha256(start)
    marks = []
    for place in range(0, len(prompt) - step + 1, step):
        state.update(prompt[place : place + step])
        marks.append(state.digest())
    return tuple(marks[LEAST_TOKENS // STEP_TOKENS - 1 :])


class Prefixes:
    """What has been read so far, the longest unused forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, None] = OrderedDict()

    def tokens_of(self, marks: tuple[bytes, ...]) -> int:
        """Return how many tokens of a question have been read before."""
        found = next((place for place in range(len(marks), 0, -1) if marks[place - 1] in self._kept), 0)
        return LEAST_TOKENS + (found - 1) * STEP_TOKENS if found else 0

    def keep(self, marks: tuple[bytes, ...]) -> None:
        """Keep what an answered question begins with."""
        for mark in marks:
            self._kept.pop(mark, None)
            self._kept[mark] = None
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Begin anew."""
        self._kept.clear()
