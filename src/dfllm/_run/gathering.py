"""Between an engine and a sink: samples gathered to rows, rows counted, failures held for the next model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dfllm._core.handing import last_word, moves_on
from dfllm._core.types import Failure, Response
from dfllm._run.desk import Settled, Sink
from dfllm._run.tallies import PlacesTally

_MOST = 300
_SAMPLES = re.compile(r"\d+ of \d+ samples failed: ")


@dataclass(frozen=True, slots=True)
class SampleFailure(Failure):
    """Why a row has no answer that was asked several times; its facts are those of the first sample that failed.

    Attributes:
        said: how many failed of how many.
    """

    said: str = ""

    def __str__(self) -> str:
        """Return the error column's text, at most 300 characters."""
        text = f"{self.said}: {Failure.__str__(self)}"
        return text if len(text) <= _MOST else text[: _MOST - 1] + "…"


def type_in(error: str) -> str:
    """Return the type of failure that an error text tells of.

    Example:
        >>> type_in("Refused: no"), type_in("2 of 5 samples failed: Timeout: no answer")
        ('Refused', 'Timeout')
    """
    return _SAMPLES.sub("", error, count=1).partition(":")[0]


def gathered(samples: Sequence[Settled]) -> Settled:
    """Return what a row gets whose samples these are: lists of cells if all succeeded, else the first failure.

    Tokens, cost and seconds are sums, None where one is unknown; key, model and finish are the first sample's.
    """
    first = samples[0]
    if all(one.key is None for one in samples):
        return first  # the row has no question at all, and so no sample to speak of
    outcomes = [one.outcome for one in samples]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    responses = [outcome.response if isinstance(outcome, Failure) else outcome for outcome in outcomes]
    response = _summed([one for one in responses if one is not None])
    cells: Any = None
    outcome: Response | Failure | None = response
    if failures:
        said = f"{len(failures)} of {len(samples)} samples failed"
        worst = failures[0]
        facts = {name: getattr(worst, name) for name in Failure.__dataclass_fields__}
        outcome = SampleFailure(**{**facts, "response": response}, said=said)
    else:
        cells = tuple(list(column) for column in zip(*(one.cells or () for one in samples), strict=True))
    assert outcome is not None
    sources = {one.source for one in samples}
    costs, seconds = [one.cost for one in samples], [one.seconds for one in samples]
    return Settled(
        first.key,
        outcome,
        cells,
        "live" if "live" in sources else "store" if sources == {"store"} else None,
        None if None in seconds else sum(one or 0.0 for one in seconds),
        None if None in costs else sum(one or 0 for one in costs),
        max(one.by for one in samples),
    )


def _summed(responses: Sequence[Response]) -> Response | None:
    if not responses:
        return None
    tokens_in, tokens_out = [one.tokens_in for one in responses], [one.tokens_out for one in responses]
    return msgspec.structs.replace(
        responses[0],
        text="",
        tokens_in=None if None in tokens_in else sum(one or 0 for one in tokens_in),
        tokens_out=None if None in tokens_out else sum(one or 0 for one in tokens_out),
        tokens_cached=sum(one.tokens_cached for one in responses),
        tokens_reasoning=sum(one.tokens_reasoning for one in responses),
        tokens_written=sum(one.tokens_written for one in responses),
    )


class Gather:
    """A Sink that puts a row's samples together, and tells of the row once all have ended.

    Args:
        sink: what takes the rows.
        each: how many samples a row has.
    """

    def __init__(self, sink: Sink, each: int) -> None:
        self._sink = sink
        self._each = each
        self._open: dict[int, list[Settled | None]] = {}
        self._left: dict[int, int] = {}

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""
        each = self._each
        rows: list[Settled | None] = []
        for place in range(0, len(settled), each):
            samples = list(settled[place : place + each])
            whole = [one for one in samples if one is not None]
            rows.append(gathered(whole) if len(whole) == each else None)
            if len(whole) < each:
                row = (start + place) // each
                self._open[row], self._left[row] = samples, each - len(whole)
        self._sink.fill(start // each, rows)

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later to its places."""
        for position in positions:
            row, sample = divmod(position, self._each)
            samples = self._open[row]
            samples[sample] = settled
            self._left[row] -= 1
            if not self._left[row]:
                del self._open[row], self._left[row]
                self._sink.put([row], gathered([one for one in samples if one is not None]))


class Count:
    """A Sink that counts rows by who answered them, and passes them on.

    Args:
        sink: what takes the rows.
        tallies: what is counted, by model.
        failed: called when a row has failed.
    """

    def __init__(self, sink: Sink, tallies: Sequence[PlacesTally], failed: Callable[[], None]) -> None:
        self._sink = sink
        self._tallies = tallies
        self._failed = failed

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""
        self._sink.fill(start, settled)
        self._count(settled)

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later."""
        self._sink.put(positions, settled)
        self._count([settled] * len(positions))

    def _count(self, settled: Sequence[Settled | None]) -> None:
        failed = 0
        for by, tally in enumerate(self._tallies):
            mine = settled if len(self._tallies) == 1 else [one for one in settled if one is not None and one.by == by]
            failed += tally.count_rows(mine)
        if failed:
            self._failed()


class Hold:
    """A Sink that passes answers on and holds back the failures that the next model may do better.

    Args:
        sink: what takes places of the whole call.
        by: which model it listens to.
        places: from this model's places to those of the call; None where they are the same.
        before: what each place of the call came to with the models before.
        last: whether there is no next model.

    Attributes:
        held: the places of the call that go to the next model, in the order they came.
    """

    def __init__(
        self,
        sink: Sink,
        by: int,
        places: Sequence[int] | None,
        before: dict[int, list[Settled]],
        *,
        last: bool,
    ) -> None:
        self._sink = sink
        self._by = by
        self._places = places
        self._before = before
        self._last = last
        self._unsent: dict[int, Settled] = {}
        self.held: list[int] = []

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""
        passed = [None if one is None else self._passed(start + at, one) for at, one in enumerate(settled)]
        if self._places is None:
            self._sink.fill(start, passed)
        else:
            for at, one in enumerate(passed, start):
                if one is not None:
                    self._sink.put([self._places[at]], one)

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later to its places."""
        for position in positions:
            if (one := self._passed(position, settled)) is not None:
                self._sink.put([self._place(position)], one)

    def give_up(self, *, moves: bool) -> None:
        """Hear that this model is asked no more: what it was never asked moves on, or ends as it is."""
        for place, one in self._unsent.items():
            if moves:
                self._keep(place, one)
            else:
                self._sink.put([place], self._ended(place, one))
        self._unsent.clear()

    def drop(self, cause: Failure) -> None:
        """End what is held back, as no more models are asked."""
        for place in self.held:
            self._sink.put([place], self._ended(place, Settled(None, cause, None, by=self._by)))
        self.held.clear()

    def _place(self, position: int) -> int:
        return position if self._places is None else self._places[position]

    def _passed(self, position: int, one: Settled) -> Settled | None:
        place = self._place(position)
        mine = msgspec.structs.replace(one, by=one.by + self._by) if self._by else one
        if not isinstance(one.outcome, Failure) or self._last:
            return self._ended(place, mine)
        if moves_on(one.outcome):
            self._keep(place, mine)
            return None
        if moves_on(one.outcome, given_up=True):
            self._unsent[place] = mine
            return None
        return self._ended(place, mine)

    def _keep(self, place: int, one: Settled) -> None:
        self._before.setdefault(place, []).append(one)
        self.held.append(place)

    def _ended(self, place: int, one: Settled) -> Settled:
        """Return what a place ends with: an answer, or of all failures the one that stands."""
        before = self._before.pop(place, [])
        if not isinstance(one.outcome, Failure):
            return one
        every = [*before, one]
        return every[last_word([each.outcome for each in every if isinstance(each.outcome, Failure)])]
