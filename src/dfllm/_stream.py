"""Rows as they finish: one run behind an iterator. Closing the iterator stops the run as Ctrl-C does."""

from __future__ import annotations

import asyncio
import functools
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, NamedTuple

from dfllm._core.types import Failure
from dfllm._frame import DETAILS, scrubbed, scrubbed_all
from dfllm._run import loop
from dfllm._run.desk import Settled
from dfllm._running import Asked, Carried, Ending, Runner


class Completion(NamedTuple):
    """One row that has finished.

    Attributes:
        position: the row's place in the frame, from 0.
        label: its label in the index.
        value: the text or label; with a schema of fields a mapping from field to value; None where the row failed.
        error: the error text; None where there is none.
        details: what stands behind it (key, model, source, tokens_in, tokens_out, cost in USD, seconds, finish), if
            ``details=True``.
        calls: JSON of the tools it wants to be called; None where there are none, or none were offered.
        model: which of several models it is from, by its alias; None where one was asked for.
    """

    position: int
    label: Any
    value: Any
    error: str | None
    details: dict[str, Any] | None
    calls: str | None = None
    model: str | None = None


class _Teller:
    """A Sink that fills the columns and tells of each row."""

    def __init__(self, work: Asked, tell: Callable[[Completion], None]) -> None:
        self._columns = work.columns
        self._index = work.given.index
        self._fields = tuple(work.schema.fields) if work.schema is not None and not work.schema.single else None
        self._details = work.options.get("details", False)
        self._alias = work.alias
        self._calls = bool(work.options.get("tools"))
        self._tell = tell

    def fill(self, start: int, settled: Sequence[Settled | None]) -> None:
        """Take a window's outcomes; None where one is still to come."""
        self._columns.fill(start, settled)
        for position, one in enumerate(settled, start):
            if one is not None:
                self._tell(self._completion(position, one))

    def put(self, positions: Sequence[int], settled: Settled) -> None:
        """Take one outcome that came later to its rows."""
        self._columns.put(positions, settled)
        for position in positions:
            self._tell(self._completion(position, settled))

    def _completion(self, position: int, one: Settled) -> Completion:
        value: Any = None
        calls: Any = None
        if one.cells is not None:
            cells = [scrubbed_all(cell) for cell in one.cells]
            calls = cells.pop() if self._calls else None
            value = cells[0] if self._fields is None else dict(zip(self._fields, cells, strict=True))
        error = scrubbed(str(one.outcome)) if isinstance(one.outcome, Failure) else None
        details = dict(zip(DETAILS, self._columns.details_of(one), strict=True)) if self._details else None
        return Completion(position, self._index[position], value, error, details, calls, self._alias)


def stream(work: Carried, ended: Callable[[Ending], None]) -> Iterator[Completion]:
    """Run the work and yield each row as it finishes.

    Args:
        work: the call.
        ended: hears how it ended, before the iterator does.
    """
    told: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
    engine, progress = work.ready(lambda one: _Teller(one, told.put))
    return _drained(work, engine, progress.close, told, ended)


def _drained(
    work: Carried,
    engine: Runner,
    close: Callable[[], None],
    told: queue.SimpleQueue[Completion | None],
    ended: Callable[[Ending], None],
) -> Iterator[Completion]:
    started = time.monotonic()
    running = loop.submit(engine.run())
    running.add_done_callback(lambda _: told.put(None))
    interrupted = True
    try:
        while (one := _next(told)) is not None:
            yield one
        interrupted = False
    except KeyboardInterrupt:
        pass  # `conclude` raises it again, with the counts
    finally:
        if interrupted:
            _stop(engine, running)
        close()
        error = running.exception()
        ending = work.ending(engine, time.monotonic() - started, interrupted=interrupted)
        ended(ending)
        if error is not None and not interrupted:
            raise error
    work.conclude(ending)


def _next(told: queue.SimpleQueue[Completion | None]) -> Completion | None:
    while True:
        try:
            return told.get(timeout=0.1)  # in slices, so that Ctrl-C is heard everywhere
        except queue.Empty:
            continue


def _stop(engine: Runner, running: Future[None]) -> None:
    engine.interrupt()
    try:
        while not wait([running], timeout=0.1).done:
            pass
    except KeyboardInterrupt:
        engine.abandon()
        wait([running])


async def astream(work: Carried, ended: Callable[[Ending], None]) -> AsyncIterator[Completion]:
    """Run the work and yield each row as it finishes, on any event loop."""
    here = asyncio.get_running_loop()
    told: asyncio.Queue[Completion | None] = asyncio.Queue()

    def tell(one: Completion | None) -> None:
        with suppress(RuntimeError):  # a loop that is closed has nobody left to tell, and the run must not mind
            here.call_soon_threadsafe(told.put_nowait, one)

    engine, progress = await asyncio.to_thread(work.ready, lambda one: _Teller(one, tell))
    started = time.monotonic()
    running = loop.submit(engine.run())
    running.add_done_callback(lambda _: tell(None))

    def finish(*, interrupted: bool) -> Ending:
        if interrupted:
            _stop(engine, running)
        progress.close()
        ending = work.ending(engine, time.monotonic() - started, interrupted=interrupted)
        ended(ending)
        return ending

    left, cancelled = True, False
    try:
        while (one := await told.get()) is not None:
            yield one
        left = False
    except asyncio.CancelledError:
        cancelled = True
        raise
    finally:
        if left:
            await _finished(functools.partial(finish, interrupted=True), engine, cancelled=cancelled)
    ending = finish(interrupted=False)
    if (error := running.exception()) is not None:
        raise error
    work.conclude(ending)


async def _finished(finish: Callable[[], object], engine: Runner, *, cancelled: bool) -> None:
    """Finish in a thread, so that it is done even where the event loop is not there to see it.

    A loop that is left as the last thing a program does is closed together with its event loop, which cancels what
    still waits in it: no reason to drop what is in flight. Who cancels twice means it.
    """
    try:
        finishing = asyncio.get_running_loop().run_in_executor(None, finish)
    except RuntimeError:  # the event loop takes no more work: nobody is kept waiting
        finish()
        return
    again = False
    while not finishing.done():
        try:
            await asyncio.wait([finishing])
        except asyncio.CancelledError:
            if cancelled or again:
                engine.abandon()
            again = True
    if again:
        raise asyncio.CancelledError
