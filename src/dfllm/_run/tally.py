"""The tally of a run: rows by how they ended, requests, retries, tokens, money. Plain counts, no rendering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from dfllm._core.types import Failure, Outcome, Response


class Countable(Protocol):
    """What a row got."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def source(self) -> str | None: ...


@dataclass(slots=True)
class Tally:
    """What a run came to.

    Attributes:
        rows: rows of the frame.
        ok: rows with a result and no error.
        failed: rows with an error, skipped ones apart.
        skipped: rows that were not sent because a value is missing.
        known: rows whose outcome came from the store.
        known_ok: those of them with a result and no error.
        shared: rows that took the answer of an equal row.
        asked: different questions that were sent in this run and answered for good.
        requests: HTTP requests made.
        retries: further attempts by their cause.
        unsure: attempts that may have been billed without an answer.
        tokens_in: input tokens paid in this run.
        tokens_out: output tokens paid in this run.
        cost: what the known prices come to, in 1e-9 USD.
        unpriced: paid answers whose price is unknown.
        errors: failed rows by type.
        examples: one error text for each type.
    """

    rows: int
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0
    known_ok: int = 0
    shared: int = 0
    asked: int = 0
    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    unsure: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    unpriced: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Rows that have ended."""
        return self.ok + self.failed + self.skipped

    def count(self, settled: Iterable[Countable | None]) -> int:
        """Count rows that have ended, None those still to come; return how many of them failed."""
        ok = known = known_failed = failed = 0
        for one in settled:
            if one is None:
                continue
            if one.source == "store":
                known += 1
            outcome = one.outcome
            if not isinstance(outcome, Failure):
                ok += 1
            elif outcome.type == "Skipped":
                self.skipped += 1
            else:
                failed += 1
                known_failed += one.source == "store"
                self.errors[outcome.type] += 1
                if outcome.type not in self.examples:
                    self.examples[outcome.type] = str(outcome)
        self.ok += ok
        self.known += known
        self.known_ok += known - known_failed
        self.failed += failed
        return failed

    def pay(self, response: Response, cost: int | None) -> None:
        """Count one answer that was paid for in this run."""
        self.asked += 1
        self.tokens_in += response.tokens_in or 0
        self.tokens_out += response.tokens_out or 0
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost
