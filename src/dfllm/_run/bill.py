"""The bill of a run: what its answers cost, what its requests can cost at most, and whether that fits its budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from dfllm._core.budget import Budget, Cap, cap_of, exceeded
from dfllm._core.served import is_another
from dfllm._core.types import Failure, Key, Outcome, Response, Terms
from dfllm._run.asks import Missed
from dfllm._run.desk import Order
from dfllm._run.store_ledger import Began, Ended
from dfllm._run.store_rows import Attempt, Entry, Spend
from dfllm._run.tally import Tally


class Bill:
    """One run's bill.

    Args:
        run: the run's id.
        order: what is asked.
        price: what a response costs, in 1e-9 USD; None where the price or the usage is unknown.
        most: the most a request with a body of so many bytes can cost; gives None where nobody knows, and then there
            is no budget either.
        budget: what may be spent.
        tally: what is counted.
        clock: unix seconds.

    Attributes:
        budget: what may be spent; None is without end.
    """

    def __init__(
        self,
        run: str,
        order: Order,
        *,
        price: Callable[[Response], int | None],
        most: Callable[[int], int | None],
        budget: Budget | None,
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._run = run
        self._terms = order.terms
        self._tag = order.tag
        self._price = price
        self._most = most
        self.budget = budget
        self._tally = tally
        self._clock = clock

    # Before sending.

    def cap(self) -> Cap | None:
        """Return what the store is to keep to; None where there is no budget."""
        if self.budget is None:
            return None
        return cap_of(self.budget, run=self._run, tag=self._tag, now=self._clock())

    def most(self, size: int) -> int:
        """Return the most that a request can cost, by what bounds its input tokens."""
        return self._most(size) or 0

    def reserves(self, sizes: Iterable[int]) -> list[int]:
        """Return what to reserve for each request; nothing where there is no budget."""
        return [] if self.budget is None else [self.most(size) for size in sizes]

    def refusal(self, size: int, left: int) -> Failure:
        """Return what a row ends as that does not fit any more."""
        assert self.budget is not None
        return exceeded(self.budget, self.most(size), left)

    # Afterwards.

    def cost(self, outcome: Outcome, size: int) -> int | None:
        """Return what an answer cost, the most it can have where the provider did not say what it used.

        Args:
            outcome: what was said.
            size: bytes of the request's body; 0 where no request was answered.
        """
        response = outcome.response if isinstance(outcome, Failure) else outcome
        if response is None:
            return None
        cost = self._price(response)
        if cost is None and size and not _has_usage(response):
            return self._most(size)
        return cost

    def paid(self, key: Key, outcome: Outcome, body: bytes, seconds: float, size: int) -> tuple[Entry, Spend]:
        """Return what the store keeps of an answer, and what the ledger does."""
        response = outcome.response if isinstance(outcome, Failure) else outcome
        assert response is not None
        now, cost = self._clock(), self.cost(outcome, size)
        billing = "paid" if _has_usage(response) else "estimated"
        used = (response.tokens_in, response.tokens_out, response.tokens_cached)
        entry = Entry(key, body, self._terms.provider, self._terms.model, now, seconds, cost)
        return entry, Spend(self._run, key, now, billing, *used, cost)

    def missed(self, missed: Missed) -> Spend:
        """Return what the ledger keeps of an attempt that was or may have been billed without an answer, and count it.

        Nobody knows what it cost, so it counts as the most it can have, for ever.
        """
        cost = self._most(missed.size)
        self._tally.maybe_cost += cost or 0
        billing = "estimated" if missed.failure.billing == "paid" else "maybe"
        return Spend(self._run, missed.key, self._clock(), billing, None, None, None, cost)

    def noted(self, missed: Missed) -> Attempt:
        """Return what the journal keeps of such an attempt."""
        key, failure, body, _ = missed
        billing = failure.billing or "maybe"
        return Attempt(key, self._run, self._clock(), billing, str(failure), failure.status, body)

    def began(self, terms: Terms) -> Began:
        """Return what the ledger keeps of a run that begins."""
        return Began(self._run, self._clock(), self._tag, terms.provider, terms.model)

    def ended(self, status: str) -> Ended:
        """Return what the ledger keeps of how it ended."""
        return Ended(self._run, self._clock(), status, json.dumps(self._tally.facts()))

    def pay(self, outcome: Outcome, cost: int | None, seconds: float) -> None:
        """Count an answer that was paid for in this run."""
        response = outcome.response if isinstance(outcome, Failure) else outcome
        if response is not None:
            self._tally.pay(response, cost, seconds)
            if response.model != self._terms.model and response.model and is_another(response.model, self._terms.model):
                self._tally.other_models[response.model] += 1


def _has_usage(response: Response) -> bool:
    return response.tokens_in is not None and response.tokens_out is not None
