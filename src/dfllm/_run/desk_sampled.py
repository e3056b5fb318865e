"""The desk of rows that are asked several times, or whose answers another model may have given already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import NamedTuple, cast

from dfllm._core.keys import sampler
from dfllm._core.output import Cells
from dfllm._core.types import Failure, Key, Messages, Outcome, Response
from dfllm._run.desk import Desk, Missing, Order, Settled, Window
from dfllm._run.store import Store
from dfllm._run.store_off import Off


def desk_of(order: Order, store: Store | Off) -> Desk:
    """Return the desk for an order: the plain one for one question a row and one model."""
    plain = order.sampling is None and not order.others
    return Desk(order, store) if plain else SampledDesk(order, store)


class _Other(NamedTuple):
    """Another model that may have answered.

    Attributes:
        keys_of: from messages and numbers of samples to its keys.
        decode: reads what the store has of it.
        interpret: makes cells of that.
        since: from when on its answers count.
    """

    keys_of: Callable[[Messages, Iterable[int]], list[Key]]
    decode: Callable[[bytes], Outcome]
    interpret: Callable[[Outcome], tuple[Outcome, Cells | None]]
    since: float


class SampledDesk(Desk):
    """Rows to windows of their samples. Used from one thread at a time."""

    def __init__(self, order: Order, store: Store | Off) -> None:
        super().__init__(order, store)
        self._keys_of = sampler(order.terms)
        self._others = [
            _Other(sampler(other.terms), other.dialect.decode, Desk(other, store).interpret, other.since)
            for other in order.others
        ]

    def rendered(self, start: int, stop: int) -> tuple[list[Key | None], list[Messages | Failure]]:
        """Return the key and messages at each place; no key and a failure where its row has no question."""
        sampling = self._order.sampling
        if sampling is None:
            return super().rendered(start, stop)
        each, keys_of = sampling.each, self._keys_of
        row_keys, rows = super().rendered(start // each, stop // each)
        keys: list[Key | None] = []
        asked: list[Messages | Failure] = []
        for key, said, first in zip(row_keys, rows, sampling.firsts(start // each, row_keys), strict=True):
            asked += repeat(said, each)
            keys += repeat(None, each) if key is None else keys_of(cast("Messages", said), range(first, first + each))
        return keys, asked

    def prepare(self, start: int, stop: int) -> Window:
        """Return the window with everything in it that needs no asking, of any model."""
        window = super().prepare(start, stop)
        for by, other in enumerate(self._others, 1):
            window.missing = self._elsewhere(window, by, other) if window.missing else []
        return window

    def _elsewhere(self, window: Window, by: int, other: _Other) -> list[Missing]:
        """Settle what another model has answered; return what is still missing."""
        left: list[Missing] = []
        sampling = self._order.sampling
        numbers = [sampling.number(one.position) if sampling is not None else 0 for one in window.missing]
        keys = [other.keys_of(one.messages, (at,))[0] for one, at in zip(window.missing, numbers, strict=True)]
        for one, key, stored in zip(window.missing, keys, self._store.known(keys, since=other.since), strict=True):
            outcome, cells = other.interpret(other.decode(stored.body)) if stored is not None else (None, None)
            if stored is None or not isinstance(outcome, Response):
                left.append(one)
                continue
            place = one.position - window.start
            window.settled[place] = Settled(key, outcome, cells, "store", stored.seconds, stored.cost, by)
        return left
