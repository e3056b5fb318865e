"""The tally of a run: rows by how they ended, requests, retries, seconds, tokens, money. Plain counts, no rendering."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from dfllm._core.meter import LimitUse
from dfllm._core.types import Failure, Outcome, Response


class Countable(Protocol):
    """What a row got."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def cost(self) -> int | None: ...
    @property
    def source(self) -> str | None: ...


class Latency(NamedTuple):
    """How long answers took, in seconds from sending to the last byte.

    Attributes:
        p50: half of the answers took no longer.
        p95: nineteen of twenty took no longer.
        max: the longest.
    """

    p50: float
    p95: float
    max: float


#: Seconds fall into buckets, so many for each doubling: what is read from the middle of one is off by 2.2 % at most.
_PER_DOUBLING = 16
_SHORTEST_SECONDS = 1e-4


@dataclass(slots=True)
class Latencies:
    """How long answers took: a few hundred counts, however many there were."""

    counts: Counter[int] = field(default_factory=Counter)
    shortest: float = math.inf
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one answer."""
        if seconds < self.shortest:
            self.shortest = seconds
        if seconds > self.longest:
            self.longest = seconds
        log2 = math.log2(seconds if seconds > _SHORTEST_SECONDS else _SHORTEST_SECONDS)
        self.counts[math.floor(log2 * _PER_DOUBLING)] += 1

    def summary(self) -> Latency | None:
        """Return what they come to; None where nothing was answered."""
        return Latency(self._below(0.5), self._below(0.95), self.longest) if self.counts else None

    def _below(self, share: float) -> float:
        """Return about what so large a share of the answers took at most."""
        left = math.ceil(share * self.counts.total())
        bucket = 0
        for bucket, count in sorted(self.counts.items()):  # noqa: B007  # where it stops is what is asked
            left -= count
            if left <= 0:
                break
        return min(max(math.exp2((bucket + 0.5) / _PER_DOUBLING), self.shortest), self.longest)


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
        tokens_cached: those of the input tokens that the provider had kept, and read for less.
        cost: what the known prices come to, in 1e-9 USD.
        unpriced: paid answers whose price is unknown.
        maybe_cost: the most that attempts can have cost which may have been billed without an answer, in 1e-9 USD.
        saved_store: what known rows' answers cost when they were paid, in 1e-9 USD.
        saved_shared: what the rows would have cost that took the answer of an equal row, in 1e-9 USD.
        errors: failed rows by type.
        causes: failed rows by type and by what is known of the bill.
        examples: one error text for each of those.
        other_models: answers by the model that gave them, where it is another than was asked.
        latencies: how long the answers took that were paid in this run.
        limits: how the run lived with the provider's limits; None where nobody looked.
        waiting: what sending waits for right now, as ``"rate limit: waiting"``; None where it does not.
        waiting_until: when that ends, on the clock of `time.monotonic`; None where nobody knows.
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
    tokens_cached: int = 0
    cost: int = 0
    unpriced: int = 0
    maybe_cost: int = 0
    saved_store: int = 0
    saved_shared: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    causes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    examples: dict[tuple[str, str | None], str] = field(default_factory=dict)
    other_models: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    limits: LimitUse | None = None
    waiting: str | None = None
    waiting_until: float | None = None

    @property
    def done(self) -> int:
        """Rows that have ended."""
        return self.ok + self.failed + self.skipped

    def count(self, settled: Iterable[Countable | None]) -> int:
        """Count rows that have ended, None those still to come; return how many of them failed."""
        ok = known = known_failed = failed = saved = 0
        for one in settled:
            if one is None:
                continue
            if one.source == "store":
                known += 1
                saved += one.cost or 0
            outcome = one.outcome
            if not isinstance(outcome, Failure):
                ok += 1
            elif outcome.type == "Skipped":
                self.skipped += 1
            else:
                failed += 1
                known_failed += one.source == "store"
                self.errors[outcome.type] += 1
                cause = outcome.type, outcome.billing
                self.causes[cause] += 1
                if cause not in self.examples:
                    self.examples[cause] = str(outcome)
        self.ok += ok
        self.known += known
        self.known_ok += known - known_failed
        self.saved_store += saved
        self.failed += failed
        return failed

    def facts(self) -> dict[str, Any]:
        """Return the counts as plain values, as the ledger keeps them."""
        return {
            "rows": self.rows,
            "ok": self.ok,
            "failed": self.failed,
            "skipped": self.skipped,
            "known": self.known,
            "shared": self.shared,
            "sent": self.asked,
            "requests": self.requests,
            "maybe_billed": self.unsure,
            "unpriced": self.unpriced,
            "saved_store": self.saved_store,
            "saved_shared": self.saved_shared,
            "errors": dict(self.errors),
        }

    def pay(self, response: Response, cost: int | None, seconds: float | None = None) -> None:
        """Count one answer that was paid for in this run.

        Args:
            response: what was said.
            cost: in 1e-9 USD; None where no price is known.
            seconds: how long it took; None where nobody knows.
        """
        if seconds is not None:
            self.latencies.add(seconds)
        self.tokens_in += response.tokens_in or 0
        self.tokens_out += response.tokens_out or 0
        self.tokens_cached += response.tokens_cached
        if cost is None:
            self.unpriced += 1
        else:
            self.cost += cost
