"""Tallies of several runs that are one call: what each counts, and the sums of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from dfllm._run.tally import Countable, Latencies, Tally

#: Sums that are not shown while a run goes, and only taken when all is over.
_LATE = frozenset({"latencies", "examples", "causes", "limits"})
_WAITS = frozenset({"rows", "waiting", "waiting_until"})


class PlacesTally(Tally):
    """A tally of a run whose places are no rows, such as samples: rows are counted where they come together."""

    def count(self, settled: Iterable[Countable | None]) -> int:
        """Count nothing: these are places."""
        return 0

    def count_rows(self, settled: Iterable[Countable | None]) -> int:
        """Count rows that have ended; return how many of them failed."""
        return Tally.count(self, settled)


def add_up(total: Tally, parts: Sequence[Tally], *, late: bool = False) -> None:
    """Set a tally to the sums of others; its `rows` stay.

    Args:
        total: what is set.
        parts: what is summed.
        late: whether to sum what is only looked at when all is over, too.
    """
    for field in fields(Tally):
        name = field.name
        if name in _WAITS or name in _LATE:
            continue
        values = [getattr(part, name) for part in parts]
        setattr(total, name, sum(values[1:], values[0]))
    waits = next((part for part in parts if part.waiting is not None), None)
    total.waiting = None if waits is None else waits.waiting
    total.waiting_until = None if waits is None else waits.waiting_until
    if late:
        _add_late(total, parts)


def _add_late(total: Tally, parts: Sequence[Tally]) -> None:
    total.causes.clear()
    total.examples = {}
    total.latencies = Latencies()
    for part in parts:
        total.causes.update(part.causes)
        total.examples = {**part.examples, **total.examples}
        total.latencies.counts.update(part.latencies.counts)
        total.latencies.shortest = min(total.latencies.shortest, part.latencies.shortest)
        total.latencies.longest = max(total.latencies.longest, part.latencies.longest)
    # Limits are each provider's own, and have no sum.
    total.limits = parts[0].limits if len(parts) == 1 else None
