"""Estimates: what questions will take in tokens, before any is asked.

Nobody counts tokens without the provider's own vocabulary. So a text's tokens are guessed, four ASCII characters to
one and four to five others, and the guess is put right by what the provider counted for known answers. What an answer
will take is what known answers took; where there are none, what the schema has room for, or a usual length.

Low and likely come from a random sample. High is no guess: no text has more tokens than bytes, and no answer more than
`max_tokens`. It is what a budget reserves.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dfllm._core.parts import USUAL_TOKENS, media_in
from dfllm._core.types import Messages, Response

#: So many rendered prompts are looked at; the dice are the same for the same frame.
SAMPLE = 200
#: From so many known answers on, theirs counts and no guess does.
FEW = 5
_ASCII_A_TOKEN = 4.0
_OTHERS_A_TOKEN = 1.25
_TOKENS_A_MESSAGE = 4.0
#: How far off a sum may be: guessed, and once it was put right.
_GUESSED, _LEARNT = 0.3, 0.1
_USUAL_OUTPUT = 200.0
_LOW_OUTPUT = 0.25


class Range(NamedTuple):
    """What a sum may come to.

    Attributes:
        low: it will hardly be less.
        likely: what to expect.
        high: it cannot be more; None where nothing bounds it.
    """

    low: int
    likely: int
    high: int | None


NO_TOKENS = Range(0, 0, 0)


class Tariff(NamedTuple):
    """What tokens cost.

    Attributes:
        price: from tokens in and out of one request to 1e-9 USD.
        most: from the bytes of a request's body to the most that its row can cost, all attempts together; None where
            nothing bounds the output.
    """

    price: Callable[[int, int], int]
    most: Callable[[int], int] | None


def guessed(text: str) -> float:
    """Return about how many tokens a text has."""
    plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return plain / _ASCII_A_TOKEN + (len(text) - plain) / _OTHERS_A_TOKEN


def guessed_in(messages: Messages) -> float:
    """Return about how many tokens a conversation has."""
    shown = sum(USUAL_TOKENS[part.kind] for part in media_in(messages))
    return sum(guessed(message.content) + _TOKENS_A_MESSAGE for message in messages) + shown


class Estimate:
    """Gathers the questions of a plan, and what is known of answers to others like them.

    Args:
        fixed: tokens that each request has beside its messages, such as its schema; guessed.
        schema_out: tokens that an answer to the schema has; None where there is no schema.
        max_tokens: the most an answer may have; None where nobody knows.
    """

    def __init__(self, *, fixed: float = 0.0, schema_out: float | None = None, max_tokens: int | None = None) -> None:
        self._fixed = fixed
        self._schema_out = schema_out
        self._max_tokens = max_tokens
        self._bounded = True
        self._dice = random.Random(0)  # noqa: S311  # a sample, and the same each time
        self._sample: list[float] = []
        self._sizes: Counter[int] = Counter()
        self._asked = 0
        self._guessed_known = self._told_in = 0.0
        self._told_out: list[int] = []

    def ask(self, messages: Messages, size: int | None) -> None:
        """Take a question that will be sent, and what bounds its input tokens; None where nothing does."""
        self._asked += 1
        if size is None:
            self._bounded = False
        else:
            self._sizes[size] += 1
        if len(self._sample) < SAMPLE:
            self._sample.append(guessed_in(messages))
        elif (place := self._dice.randrange(self._asked)) < SAMPLE:
            self._sample[place] = guessed_in(messages)

    def learn(self, messages: Messages, response: Response) -> None:
        """Take what an answer to such a question took."""
        if response.tokens_in is not None and response.tokens_out is not None:
            self._guessed_known += guessed_in(messages) + self._fixed
            self._told_in += response.tokens_in
            self._told_out.append(response.tokens_out)

    @property
    def learnt(self) -> int:
        """How many known answers it was put right by; 0 where they are too few."""
        return len(self._told_out) if len(self._told_out) >= FEW else 0

    def tokens_in(self) -> Range:
        """Return what all questions take together."""
        likely = self._mean_in() * self._asked
        high = sum(size * count for size, count in self._sizes.items()) if self._bounded else None
        low, about = round(likely * (1.0 - self._error())), round(likely)
        return Range(low, about, None) if high is None else Range(min(low, high), min(about, high), high)

    def tokens_out(self) -> Range:
        """Return what all answers take together."""
        low, likely = self._mean_out()
        high = None if self._max_tokens is None else self._max_tokens * self._asked
        return Range(round(low * self._asked), round(likely * self._asked), high)

    def cost(self, tariff: Tariff) -> Range:
        """Return what all of it costs, in 1e-9 USD."""
        tokens_in, (low, likely) = self._mean_in(), self._mean_out()
        least = tariff.price(round(tokens_in * (1.0 - self._error())), round(low)) * self._asked
        expected = tariff.price(round(tokens_in), round(likely)) * self._asked
        if tariff.most is None or not self._bounded:
            return Range(least, expected, None)
        high = sum(tariff.most(size) * count for size, count in self._sizes.items())
        return Range(min(least, high), min(expected, high), high)

    def _error(self) -> float:
        return _LEARNT if self.learnt else _GUESSED

    def _mean_in(self) -> float:
        if not self._sample:
            return 0.0
        mean = sum(self._sample) / len(self._sample) + self._fixed
        return mean * self._told_in / self._guessed_known if self.learnt and self._guessed_known else mean

    def _mean_out(self) -> tuple[float, float]:
        """Return what an answer takes at least, and what it is likely to take."""
        if self.learnt:
            mean = sum(self._told_out) / len(self._told_out)
            low, likely = mean * (1.0 - _LEARNT), mean
        elif self._schema_out is not None:
            low, likely = self._schema_out * (1.0 - _GUESSED), self._schema_out
        else:
            likely = _USUAL_OUTPUT if self._max_tokens is None else min(_USUAL_OUTPUT, self._max_tokens / 2.0)
            low = likely * _LOW_OUTPUT
        most = float("inf") if self._max_tokens is None else float(self._max_tokens)
        return min(low, most), min(likely, most)


def schema_tokens(labels: Sequence[str], fields: int) -> float:
    """Return about how many tokens an answer to a schema has: one of the labels, or an object of so many fields."""
    if labels:
        return max(map(guessed, labels)) + 8.0
    return 6.0 + 14.0 * fields
