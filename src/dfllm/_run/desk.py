"""The desk: rows of a window to questions, and questions to what the store knows of them. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

import msgspec

from dfllm._core.calls import calling
from dfllm._core.cells import Plain
from dfllm._core.errors import TemplateError
from dfllm._core.inputs import (
    blank_failure,
    has_nul,
    is_blank,
    is_long,
    nul_failure,
    surrogate_failure,
    window_failure,
)
from dfllm._core.keys import keyer
from dfllm._core.mending import mending
from dfllm._core.output import Cells, interpreter
from dfllm._core.parts import Brought, joined
from dfllm._core.schema import Schema
from dfllm._core.template import Prompt
from dfllm._core.types import Failure, Key, Messages, Outcome, Terms
from dfllm._core.vectors import as_cell
from dfllm._run.asks import Ask
from dfllm._run.sampling import Sampling
from dfllm._run.store import Store, Stored
from dfllm._run.store_off import Off
from dfllm._wire.dialects import Dialect
from dfllm._wire.embeddings import Packing
from dfllm._wire.media import NO_EXTRA, Extra, Rules

Cache: TypeAlias = Literal["use", "retry", "only", "off", "refresh"]
Source: TypeAlias = Literal["store", "live"]

WINDOW = 5_000
_ILLUSTRATED = 16
_TALKING = 64
#: When the first rows all fail in the template, it is the template that is wrong, not the rows.
_ALL_FAIL = 20


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What a row gets.

    Attributes:
        key: its question's key; None where it has none.
        outcome: answer or failure.
        cells: the result columns' values; None where there are none.
        source: where the outcome came from; None where nobody was asked.
        seconds: how long the provider took.
        cost: what it cost, in 1e-9 USD; None where unknown.
        by: which of the models answered that may be asked for the row, the first of them being 0.
    """

    key: Key | None
    outcome: Outcome
    cells: Cells | None
    source: Source | None = None
    seconds: float | None = None
    cost: int | None = None
    by: int = 0


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
        rows: how many places there are: one for each row, or for each of its samples.
        cells: from a window's start and stop to its values.
        cache: what the store is used for.
        stop_at_failure: whether the first failed row ends the run.
        tag: the user's word for the call.
        context: gives how many tokens the model takes, None where unknown; asked only where a prompt is long.
        since: from when on answers in the store count, in unix seconds.
        brought: from a window's start and stop to what each row brings beside its columns, or why it cannot be sent;
            None where rows bring nothing.
        rules: what holds for that.
        shows: whether columns of images or files are among it, so that a row may have megabytes.
        bounded: gives whether it is known what that can cost at most.
        sampling: numbers the samples where rows have several; None where each row is asked once.
        others: orders to other models whose answers are as good.
        packing: how many questions are put into one request; None where each has its own.
    """

    prompt: Prompt
    terms: Terms
    schema: Schema | None
    dialect: Dialect
    rows: int
    cells: Callable[[int, int], Block]
    cache: Cache = "use"
    stop_at_failure: bool = False
    tag: str | None = None
    since: float = 0.0
    brought: Callable[[int, int], Sequence[Brought | Failure]] | None = None
    rules: Rules | None = None
    shows: bool = False
    bounded: Callable[[], bool] = lambda: True
    context: Callable[[], int | None] = lambda: None
    sampling: Sampling | None = None
    others: tuple[Order, ...] = ()
    packing: Packing | None = None

    @property
    def window(self) -> int:
        """How many places are prepared at once: few where each may have megabytes."""
        if self.brought is None:
            return self.whole(WINDOW)
        return self.whole(_ILLUSTRATED if self.shows else _TALKING)

    @property
    def each(self) -> int:
        """How many places a row has."""
        return 1 if self.sampling is None else self.sampling.each

    def whole(self, most: int) -> int:
        """Return about so many places, with all of those of each row."""
        return max(most // self.each, 1) * self.each


class Missing(msgspec.Struct, frozen=True, gc=False):
    """A row whose answer is not in the store."""

    position: int
    key: Key
    messages: Messages


@dataclass(slots=True)
class Window:
    """Some rows after rendering and looking up."""

    start: int
    settled: list[Settled | None]
    missing: list[Missing]


def alike(start: int, stop: int, settled: Settled) -> Window:
    """Return a window whose rows all end in the same way."""
    return Window(start, [settled] * (stop - start), [])


def _joiner(
    render: Callable[[Sequence[Plain]], Messages | Failure], order: Order, start: int, stop: int
) -> Callable[[Sequence[Plain]], Messages | Failure]:
    """Return a renderer that puts to each row what it brings, one row after the other."""
    assert order.brought is not None
    assert order.rules is not None
    each, rules, against = iter(order.brought(start, stop)), order.rules, order.dialect.order

    def rendered(values: Sequence[Plain]) -> Messages | Failure:
        brought, said = next(each), render(values)
        if isinstance(said, Failure) or isinstance(brought, Failure):
            return said if isinstance(said, Failure) else cast("Failure", brought)
        whole = joined(said, brought)
        if isinstance(whole, Failure):
            return whole
        if (odd := against([message.role for message in whole])) is not None:
            return Failure("BadInput", odd)
        return rules.failure(whole) or whole

    return rendered


class Desk:
    """Rows to windows: renders, makes keys, looks up. Used from one thread at a time."""

    def __init__(self, order: Order, store: Store | Off) -> None:
        self._order = order
        self._store = store
        self._render = order.prompt.renderer()
        self._key_of = keyer(order.terms)
        self._decode = order.dialect.decode
        self.interpret = as_cell if order.packing else interpreter(order.schema.read if order.schema else None)
        if order.terms.tools is not None:
            self.interpret = calling(self.interpret, len(order.schema.fields) if order.schema else 1)
        self.encode = order.dialect.encoder(order.terms)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yield the bounds of each window."""
        rows = self._order.rows
        step = self._order.window
        return ((start, min(rows, start + step)) for start in range(0, rows, step))

    def rendered(self, start: int, stop: int) -> tuple[list[Key | None], list[Messages | Failure]]:
        """Return each row's key and messages; no key and a failure where it has no question."""
        columns, unfit = self._order.cells(start, stop)
        rows = zip(*columns, strict=True) if columns else repeat((), stop - start)
        render, key_of = self._render, self._key_of
        if self._order.brought is not None:
            render = _joiner(render, self._order, start, stop)
        keys: list[Key | None] = []
        asked: list[Messages | Failure] = []
        for values in rows:
            said = render(values)
            key = None
            if said.__class__ is tuple:
                try:
                    key = key_of(said)
                except UnicodeEncodeError:
                    said = surrogate_failure(self._order.prompt.columns, values)
            keys.append(key)
            asked.append(said)
        for place, failure in unfit.items():
            keys[place], asked[place] = None, failure
        if start == 0:
            self._refuse_hopeless(asked)
        return keys, asked

    @staticmethod
    def _refuse_hopeless(asked: Sequence[object]) -> None:
        first = asked[:_ALL_FAIL]
        failures = [one for one in first if isinstance(one, Failure) and one.type == "TemplateError"]
        if first and len(failures) == len(first):
            raise TemplateError(f"The template fails on the first {len(first)} rows: {failures[0].reason}")

    def prepare(self, start: int, stop: int) -> Window:
        """Return the window with everything in it that needs no asking."""
        keys, asked = self.rendered(start, stop)
        settled: list[Settled | None] = []
        missing: list[Missing] = []
        decode, interpret, retry, settle = self._decode, self.interpret, self._order.cache == "retry", settled.append
        for said, key, stored in zip(asked, keys, self._found(keys), strict=True):
            if stored is not None:
                outcome, cells = interpret(decode(stored.body))
                if not retry or outcome.__class__ is not Failure:
                    settle(Settled(key, outcome, cells, "store", stored.seconds, stored.cost))
                    continue
            if key is None:
                settle(Settled(None, cast("Failure", said), None))
            else:
                settle(self._missing(missing, start + len(settled), key, cast("Messages", said)))
        return Window(start, settled, missing)

    def _found(self, keys: Sequence[Key | None]) -> list[Stored | None]:
        asked = [key for key in keys if key is not None]
        found = self._store.known(asked, since=self._order.since)
        if len(asked) == len(keys):
            return found
        each = iter(found)
        return [None if key is None else next(each) for key in keys]

    def _missing(self, missing: list[Missing], position: int, key: Key, messages: Messages) -> Settled | None:
        if has_nul(messages):
            return Settled(None, nul_failure(), None)
        if is_blank(messages):
            return Settled(None, blank_failure(), None)
        if is_long(messages) and (failure := window_failure(messages, self._order.context())) is not None:
            return Settled(None, failure, None)
        missing.append(Missing(position, key, messages))
        return None

    def mended(self, messages: Messages, outcome: Outcome) -> tuple[Failure, bytes] | None:
        """Return what is wrong with an answer and the body that asks for a better one; None where none is to be had."""
        failure, _ = self.interpret(outcome)
        if not isinstance(failure, Failure) or (asked := mending(messages, failure)) is None:
            return None
        return failure, self.encode(asked)

    def more(self, messages: Messages) -> Extra:
        """Return what images and files add to the bytes of a question's body."""
        rules = self._order.rules
        return NO_EXTRA if rules is None else rules.more(messages)

    def ask(self, key: Key, messages: Messages) -> Ask:
        """Return a question as it goes on its way."""
        return Ask(key, self.encode(messages), messages, self.more(messages))

    def size(self, messages: Messages) -> int:
        """Return what bounds the input tokens of a question: its bytes, and what images and files are at most."""
        return len(self.encode(messages)) + self.more(messages).most

    def bound(self, messages: Messages) -> int | None:
        """Return the same, None where nothing bounds what an image or a file is."""
        rules = self._order.rules
        return self.size(messages) if rules is None or rules.bounds(messages) else None

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
