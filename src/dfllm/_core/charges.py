"""What a request costs of a provider's limits: what each provider counts, and the guess until the answer says it.

| rule      | requests | tokens                                                                  |
|-----------|----------|-------------------------------------------------------------------------|
| openai    | each     | input and reserved output on one limit, settled on what was used        |
| anthropic | each     | input without cache reads on one limit, output as produced on another   |
| gemini    | each     | input                                                                   |
| none      | -        | a server of one's own: no limit is to be expected; else as openai       |

Sources: https://platform.openai.com/docs/guides/rate-limits, https://docs.claude.com/en/api/rate-limits,
https://ai.google.dev/gemini-api/docs/rate-limits.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from dfllm._core.samples import Samples
from dfllm._core.types import Response

Rule: TypeAlias = Literal["openai", "anthropic", "gemini", "none"]

#: What one request takes: of requests, of tokens (input only, where output has a limit of its own), of output tokens.
#: Plain tuples, since there are several for every request.
Units: TypeAlias = tuple[float, float, float]

NOTHING: Units = (0.0, 0.0, 0.0)

#: Tokens a byte of the body, before an answer has said better.
_FIRST_RATIO = 1 / 4
_LEAST_RATIO = 1 / 6
_MEMORY = 0.98
_MARGIN = 1.05
#: Until so many answers are known, the output is guessed at its limit, or at this where none is set.
_FEW = 5
_FIRST_OUTPUT = 256.0
_FIRST_SWELL = 1.5
_MOST_OUTPUTS = 0.9


class Charges:
    """One run's guesses, which its answers make better: prompts of one template are much alike.

    Args:
        rule: the provider's.
    """

    __slots__ = ("_bytes", "_counts_output", "_guess", "_is_gemini", "_outputs", "_ratio", "_splits", "_tokens")

    def __init__(self, rule: Rule) -> None:
        self._splits = rule == "anthropic"
        self._is_gemini = rule == "gemini"
        self._counts_output = rule in ("openai", "none")
        self._ratio = _FIRST_RATIO
        self._bytes = 0.0
        self._tokens = 0.0
        self._outputs = Samples()
        self._guess: float | None = None

    def output(self, max_tokens: int | None) -> float:
        """Return the output tokens to reserve: those that nine of ten answers stay below."""
        if self._guess is None:
            return float(max_tokens) if max_tokens is not None else _FIRST_OUTPUT
        return self._guess if max_tokens is None or self._guess < max_tokens else float(max_tokens)

    def ahead(self, size: int, output: float) -> Units:
        """Return what a body of so many bytes will take, with so many output tokens."""
        return self._units(size * self._ratio * _MARGIN, output)

    def least(self, size: int, max_tokens: int | None) -> float:
        """Return the tokens that the provider reserves, guessed low: if that is more than a limit, it is too large."""
        tokens_in = size * (self._ratio if self._bytes else _LEAST_RATIO)
        return tokens_in + (max_tokens or 0) if self._counts_output else tokens_in

    def swell(self, size: int, max_tokens: int | None, ahead: Units) -> float:
        """Return how many times more tokens the provider reserves for a request than we do."""
        # Before it is known how long answers are, our reserves may yet shrink by much.
        return max(1.0, self.least(size, max_tokens) / max(1.0, ahead[1])) if self._guess is not None else _FIRST_SWELL

    def failed(self, taken: Units) -> Units:
        """Return what comes back of a request that was answered with an error: Gemini counts even those."""
        return NOTHING if self._is_gemini else (0.0, taken[1], taken[2])

    def learn(self, size: int, response: Response) -> Units | None:
        """Take an answer into account, and return what it really took; None where it does not say."""
        tokens_in, tokens_out = response.tokens_in, response.tokens_out
        if tokens_in is None or tokens_out is None:
            return None
        if self._splits:
            tokens_in = max(0, tokens_in - response.tokens_cached)
        outputs = self._outputs
        outputs.add(tokens_out)
        if len(outputs) >= _FEW:
            self._guess = outputs.quantile(_MOST_OUTPUTS)
        self._bytes = self._bytes * _MEMORY + size
        self._tokens = self._tokens * _MEMORY + tokens_in
        self._ratio = self._tokens / self._bytes
        return self._units(tokens_in, tokens_out)

    def _units(self, tokens_in: float, tokens_out: float) -> Units:
        if self._counts_output:
            return (1.0, tokens_in + tokens_out, 0.0)
        return (1.0, tokens_in, tokens_out if self._splits else 0.0)
