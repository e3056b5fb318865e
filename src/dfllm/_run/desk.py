"""The desk: rows of a window to questions, and questions to what the store knows of them. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, NamedTuple, Protocol, TypeAlias

from dfllm._core.cells import Plain
from dfllm._core.errors import TemplateError
from dfllm._core.inputs import has_nul, input_failure
from dfllm._core.keys import keyer
from dfllm._core.output import Cells, interpreter
from dfllm._core.schema import Schema
from dfllm._core.template import Prompt
from dfllm._core.types import Failure, Key, Messages, Outcome, Terms
from dfllm._run.store import Store
from dfllm._wire.providers import Dialect

Cache: TypeAlias = Literal["use", "retry", "only"]
Source: TypeAlias = Literal["store", "live"]

WINDOW = 10_000
#: When the first rows all fail in the template, it is the template that is wrong, not the rows.
_ALL_FAIL = 20


class Settled(NamedTuple):
    """What a row gets.

    Attributes:
        key: its question's key; None where it has none.
        outcome: answer or failure.
        cells: the result columns' values; None where there are none.
        source: where the outcome came from; None where nobody was asked.
        seconds: how long the provider took.
        cost: what it cost, in 1e-9 USD; None where unknown.
    """

    key: Key | None
    outcome: Outcome
    cells: Cells | None
    source: Source | None = None
    seconds: float | None = None
    cost: int | None = None


class Block(NamedTuple):
    """The values of some rows.

    Attributes:
        columns: one list of plain values per column of the prompt, None where one is missing.
        unfit: rows, counted from the block's start, with a value that cannot be sent.
    """

    columns: list[list[Plain]]
    unfit: dict[int, Failure]


class Sink(Protocol):
    """Takes outcomes to their rows."""

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a door asks of the engine.

    Attributes:
        prompt: the compiled templates.
        terms: what all questions share.
        schema: what the answers must hold; None for text.
        dialect: how the provider is spoken to.
        rows: how many rows there are.
        cells: from a window's start and stop to its values.
        cache: what the store is used for.
        stop_at_failure: whether the first failed row ends the run.
    """

    prompt: Prompt
    terms: Terms
    schema: Schema | None
    dialect: Dialect
    rows: int
    cells: Callable[[int, int], Block]
    cache: Cache = "use"
    stop_at_failure: bool = False


class Missing(NamedTuple):
    """A row whose answer is not in the store."""

    position: int
    key: Key
    messages: Messages


@dataclass(slots=True)
class Window:
    """Some rows after rendering and looking up."""

    start: int
    settled: list[Settled | None]
    missing: list[Missing] = field(default_factory=list)


class Desk:
    """Rows to windows: renders, makes keys, looks up. Used from one thread at a time."""

    def __init__(self, order: Order, store: Store) -> None:
        self._order = order
        self._store = store
        self._render = order.prompt.renderer()
        self._key_of = keyer(order.terms)
        self._decode = order.dialect.decode
        self.interpret = interpreter(order.schema.read if order.schema else None)
        self.encode = order.dialect.encoder(order.terms)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield the bounds of each window."""
        rows = self._order.rows
        return ((start, min(rows, start + WINDOW)) for start in range(0, rows, WINDOW))

    def rendered(self, start: int, stop: int) -> list[tuple[Key, Messages] | Failure]:
        """Return each row's question, or why it has none."""
        columns, unfit = self._order.cells(start, stop)
        rows = zip(*columns, strict=True) if columns else repeat((), stop - start)
        render, key_of = self._render, self._key_of
        made: list[tuple[Key, Messages] | Failure] = []
        for place, values in enumerate(rows):
            said: Messages | Failure | None = unfit.get(place) if unfit else None
            if said is None:
                said = render(values)
            if isinstance(said, Failure):
                made.append(said)
                continue
            try:
                asked = (key_of(said), said)
            except UnicodeEncodeError:
                made.append(input_failure("lone surrogate", self._order.prompt.columns, values))
                continue
            made.append(input_failure("NUL", self._order.prompt.columns, values) if has_nul(said) else asked)
        if start == 0:
            self._refuse_hopeless(made)
        return made

    @staticmethod
    def _refuse_hopeless(made: Sequence[object]) -> None:
        first = made[:_ALL_FAIL]
        failures = [one for one in first if isinstance(one, Failure) and one.type == "TemplateError"]
        if first and len(failures) == len(first):
            raise TemplateError(f"The template fails on the first {len(first)} rows: {failures[0].reason}")

    def prepare(self, start: int, stop: int) -> Window:
        """Return the window with everything in it that needs no asking."""
        made = self.rendered(start, stop)
        found = iter(self._store.known([one[0] for one in made if not isinstance(one, Failure)]))
        window = Window(start, [None] * len(made))
        decode, interpret, settled = self._decode, self.interpret, window.settled
        retry = self._order.cache == "retry"
        for place, one in enumerate(made):
            if isinstance(one, Failure):
                settled[place] = Settled(None, one, None)
                continue
            stored = next(found)
            if stored is not None:
                outcome, cells = interpret(decode(stored.body))
                if not (retry and isinstance(outcome, Failure)):
                    settled[place] = Settled(one[0], outcome, cells, "store", stored.seconds, stored.cost)
                    continue
            window.missing.append(Missing(start + place, *one))
        return window

    def answered(self, keys: Sequence[Key]) -> list[Settled | None]:
        """Return what others have answered meanwhile."""
        made: list[Settled | None] = []
        for key, stored in zip(keys, self._store.known(keys), strict=True):
            if stored is None:
                made.append(None)
                continue
            outcome, cells = self.interpret(self._decode(stored.body))
            made.append(Settled(key, outcome, cells, "store", stored.seconds, stored.cost))
        return made
