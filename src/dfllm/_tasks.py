"""Tasks on frames: the options a verb decides, and pairs of rows that stand for one.

`judge` asks each row twice, its texts in both orders. To the engine these are two rows, one after the other, of a frame
twice as long: one run, one budget, one report. Behind it the two outcomes become the row's one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dfllm._core.errors import OptionError
from dfllm._core.plan import Plan
from dfllm._core.tasks import TURNED, Task
from dfllm._core.types import Failure, Response
from dfllm._options import Options
from dfllm._run.desk import Settled, Sink
from dfllm._run.tally import Countable, Tally

_WINNERS: Sequence[Mapping[object, str]] = (
    {"first": "a", "second": "b", "tie": "tie"},
    {"first": "b", "second": "a", "tie": "tie"},
)


def options_of(task: Task, options: Options) -> Options:
    """Return the options of a call with what the verb decides.

    Raises:
        OptionError: one of them is given.
    """
    if options.get("schema") is not None:
        raise OptionError(f"{task.verb}() decides by itself what an answer must hold; schema= is for complete().")
    if options.get("system") is not None:
        raise OptionError(
            f"{task.verb}() has a system message of its own; change it with prompt=, from "
            f"dfllm.prompts.{task.verb.upper()} on."
        )
    for name in ("messages", "tools"):
        if options.get(name) is not None:
            raise OptionError(f"{task.verb}() asks a question of its own; {name}= is for complete().")
    made: Options = {"into": task.into, **options, "system": None, "schema": task.schema}
    return made


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with each row twice, the second of them with its texts to change places."""
    twice = frame.take(np.repeat(np.arange(len(frame)), 2))
    twice[TURNED] = np.tile([False, True], len(frame))
    return twice


def halved(plan: Plan) -> Plan:
    """Return the plan of a doubled frame with its rows counted once; questions stay what they are."""
    problems = {position // 2: error for position, error in reversed(plan.problems)}
    return replace(
        plan,
        rows=plan.rows // 2,
        skipped=plan.skipped // 2,
        failed=plan.failed // 2,
        problems=tuple(sorted(problems.items())),
    )


@dataclass(slots=True)
class PairTally(Tally):
    """A tally of pairs: rows are counted when both of their outcomes are there, and `shared` counts their questions.

    Attributes:
        fresh: failed rows since the engine last asked.
    """

    fresh: int = 0

    def count(self, settled: Iterable[Countable | None]) -> int:
        """Return how many rows have failed since last time. What the engine counts are halves of rows."""
        failed, self.fresh = self.fresh, 0
        return failed

    def add(self, one: Settled) -> None:
        """Count a whole row."""
        self.fresh += Tally.count(self, (one,))


class Pairs:
    """A Sink that makes one row of two.

    Args:
        sink: takes the rows.
        tally: counts them.
    """

    def __init__(self, sink: Sink, tally: PairTally) -> None:
        self._sink = sink
        self._tally = tally
        self._halves: dict[int, Settled] = {}

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come. It may begin or end within a pair."""
        if start % 2 and settled:
            if settled[0] is not None:
                self.put([start], settled[0])
            start, settled = start + 1, settled[1:]
        rows = [
            self._row(start + place, settled[place], settled[place + 1] if place + 1 < len(settled) else None)
            for place in range(0, len(settled), 2)
        ]
        if rows:
            self._sink.fill(start // 2, rows)

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later."""
        for position in positions:
            other = self._halves.pop(position ^ 1, None)
            if other is None:
                self._halves[position] = settled
            else:
                pair = (other, settled) if position % 2 else (settled, other)
                self._sink.put([position // 2], self._whole(*pair))

    def _row(self, position: int, first: Settled | None, second: Settled | None) -> Settled | None:
        if first is not None and second is not None:
            return self._whole(first, second)
        for place, one in ((position, first), (position + 1, second)):
            if one is not None:
                self._halves[place] = one
        return None

    def _whole(self, first: Settled, second: Settled) -> Settled:
        made = verdict(first, second)
        self._tally.add(made)
        return made


def verdict(first: Settled, second: Settled) -> Settled:
    """Return a row's outcome from those of its two orders: the text that both prefer, else a tie.

    A failure of either is the row's. Tokens, seconds and cost are sums; the key is that of the first order.
    """
    both = (first, second)
    asked = [one for one in both if one.source is not None]
    costs = [one.cost for one in asked if one.cost is not None]
    times = [one.seconds for one in asked if one.seconds is not None]
    settled = Settled(
        first.key,
        first.outcome,
        None,
        "live" if any(one.source == "live" for one in asked) else asked[0].source if asked else None,
        sum(times) if times else None,
        sum(costs) if asked and len(costs) == len(asked) else None,
        max(first.by, second.by),
    )
    failed = next((one.outcome for one in both if isinstance(one.outcome, Failure)), None)
    said = [
        response
        for one in both
        if (response := one.outcome.response if isinstance(one.outcome, Failure) else one.outcome) is not None
    ]
    if failed is not None:
        return _with(settled, replace(failed, response=_sum(said, "") if said else None), None)
    assert first.cells is not None
    assert second.cells is not None
    winners = {_WINNERS[0][first.cells[0]], _WINNERS[1][second.cells[0]]}
    winner = winners.pop() if len(winners) == 1 else "tie"
    return _with(settled, _sum(said, winner), (winner,))


def _with(settled: Settled, outcome: Response | Failure, cells: tuple[str] | None) -> Settled:
    return Settled(settled.key, outcome, cells, settled.source, settled.seconds, settled.cost, settled.by)


def _sum(said: Sequence[Response], text: str) -> Response:
    def total(counts: Iterable[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    return Response(
        text,
        finish=said[-1].finish,
        tokens_in=total(one.tokens_in for one in said),
        tokens_out=total(one.tokens_out for one in said),
        tokens_cached=sum(one.tokens_cached for one in said),
        tokens_reasoning=sum(one.tokens_reasoning for one in said),
        model=said[0].model,
        tokens_written=sum(one.tokens_written for one in said),
    )
