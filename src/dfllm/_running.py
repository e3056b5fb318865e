"""Calls that run: waited for, awaited, and how they end."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import pandas as pd

from dfllm._core.errors import RowsFailed, RowsFailedWarning
from dfllm._core.plan import Plan
from dfllm._core.schema import Schema
from dfllm._core.types import Failure
from dfllm._core.warned import warn
from dfllm._frame import Columns
from dfllm._options import OnError, Options
from dfllm._run import loop
from dfllm._run.desk import Sink
from dfllm._run.progress import Progress
from dfllm._run.store_off import NOWHERE
from dfllm._run.tally import Tally

#: From this share of the rows on, a failure is about the call and not about its rows; and what to do then.
_MANY = 0.2
_ADVICE = {
    "Truncated": "Over a fifth were cut at the limit of output: a larger max_tokens is a new question.",
    "InvalidOutput": "Over a fifth do not hold what schema asks for: look at dfllm.last_run().failures.",
}


class Answers(NamedTuple):
    """Where a model's answers stand in the frame.

    Attributes:
        name: the model's alias, or its name.
        columns: the result columns by field; by the empty text where there is one answer a row.
        error: the error column.
        text: whether they are free text.
    """

    name: str
    columns: Mapping[str, str]
    error: str
    text: bool


class Ending(NamedTuple):
    """How a call ended.

    Attributes:
        frame: the frame with its new columns.
        tally: what it came to.
        model: provider and model.
        error_column: the error column's name.
        seconds: how long it took.
        stopped: what ended it early; None where nothing did.
        began: whether anything succeeded before that.
        interrupted: whether the user ended it.
        store: the store's path, or a word where nothing is kept.
        tag: the user's word for the call.
        answers: where its answers stand; None is nowhere but in a column of errors.
        parts: the endings of its models, where several were asked.
    """

    frame: pd.DataFrame
    tally: Tally
    model: str
    error_column: str
    seconds: float
    stopped: Failure | None
    began: bool
    interrupted: bool
    store: str
    tag: str | None
    answers: Answers | None = None
    parts: tuple[Ending, ...] = ()

    @property
    def saved(self) -> bool:
        """Whether answers are kept in a store."""
        return self.store != NOWHERE


class Asked(Protocol):
    """What a sink has to know of a call to one model."""

    @property
    def alias(self) -> str | None: ...
    @property
    def columns(self) -> Columns: ...
    @property
    def given(self) -> pd.DataFrame: ...
    @property
    def options(self) -> Options: ...
    @property
    def schema(self) -> Schema | None: ...


Sinks: TypeAlias = Callable[[Asked], Sink]


class Runner(Protocol):
    """What runs a call on the private loop: an engine, or several."""

    async def run(self) -> None: ...
    def interrupt(self) -> None: ...
    def abandon(self) -> None: ...


class Carried(ABC):
    """A call that can be carried out."""

    @abstractmethod
    def ready(self, sinks: Sinks | None = None) -> tuple[Runner, Progress]:
        """Return what runs it, and the progress bar of a run that has not begun.

        Args:
            sinks: makes what takes the outcomes of a model's work; None takes its columns.
        """

    @abstractmethod
    def ending(self, engine: Runner, seconds: float, *, interrupted: bool) -> Ending:
        """Return how the run that this engine made came to its end."""

    @abstractmethod
    def conclude(self, ending: Ending) -> pd.DataFrame:
        """Return the frame, or raise what the ending and `on_error` call for; failed rows give one warning."""

    @abstractmethod
    def plan(self) -> Plan:
        """Return what a run would do. Nothing is sent, nothing is stored."""

    def run(self) -> Ending:
        """Carry the call out, wait for its end and say how it ended; Ctrl-C is an ending too."""
        engine, progress = self.ready()
        started = time.monotonic()
        interrupted = False
        try:
            loop.complete(engine.run(), engine.interrupt, engine.abandon)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.close()
        return self.ending(engine, time.monotonic() - started, interrupted=interrupted)

    async def arun(self) -> tuple[Ending, asyncio.CancelledError | None]:
        """Carry the call out from any event loop; being cancelled is an ending that is to be raised again."""
        engine, progress = await asyncio.to_thread(self.ready)
        started = time.monotonic()
        cancelled: asyncio.CancelledError | None = None
        try:
            await loop.awaited(engine.run(), engine.interrupt, engine.abandon)
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            progress.close()
        return self.ending(engine, time.monotonic() - started, interrupted=cancelled is not None), cancelled


def interruption(ending: Ending, *, saved: bool) -> KeyboardInterrupt:
    """Return what an interrupted call raises, with the counts."""
    tally = ending.tally
    done = f"{tally.done - tally.errors['Cancelled']:,} of {tally.rows:,} rows are done"
    if not saved:
        return KeyboardInterrupt(f"{done}, and saved nowhere but in the partial frame, dfllm.last_run().frame")
    return KeyboardInterrupt(f"{done} and saved; run again to go on. The partial frame is dfllm.last_run().frame")


def failure_text(ending: Ending, what: str = "rows have no answer", columns: str | None = None) -> str:
    """Return what is said of rows that have no answer; nothing where all have one.

    Args:
        ending: how the call ended.
        what: what is counted, and what is wrong with it.
        columns: where errors stand; None is the ending's own column.
    """
    tally, stopped = ending.tally, ending.stopped
    if not tally.failed:
        return ""
    worst = ", ".join(f"{kind} {count:,}" for kind, count in tally.errors.most_common(4))
    where = columns or repr(ending.error_column)
    said = f"{tally.failed:,} of {tally.rows:,} {what} ({worst}); see {where}."
    if stopped is not None:
        said += f" The run was stopped early: {stopped.type}: {stopped.reason}. Run again to go on."
    return said + "".join(f" {advice}" for kind, advice in _ADVICE.items() if tally.errors[kind] > _MANY * tally.rows)


def concluded_by(on_error: OnError, ending: Ending, said: str) -> pd.DataFrame:
    """Return the frame; where there is something to say of failed rows, warn of it or raise, as `on_error` says."""
    if said and on_error != "keep":
        raise RowsFailed(said, frame=ending.frame, failure=ending.stopped)
    if said:
        warn(said, RowsFailedWarning)
    return ending.frame
