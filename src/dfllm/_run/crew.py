"""Several engines that are one run: side by side for several models, one after the other where later ones fill in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dfllm._core.errors import StoreError
from dfllm._core.handing import gives_up
from dfllm._core.types import Failure
from dfllm._run.engine import Engine
from dfllm._run.gathering import Hold
from dfllm._run.store import Store
from dfllm._run.store_ledger import Began, Ended
from dfllm._run.store_off import Off, heard
from dfllm._run.tally import Tally


@dataclass(frozen=True, slots=True)
class Books:
    """The record of the whole run.

    Attributes:
        store: where it is kept.
        run: the run's id.
        tag: the user's word for the call.
        models: all models, each a provider's identity and its own name.
        total: sums up and returns what the run came to.
    """

    store: Store | Off
    run: str
    tag: str | None
    models: Sequence[tuple[str, str]]
    total: Callable[[], Tally]

    def begin(self) -> None:
        """Enter the run. Its model is the first one, followed by the others' whole names."""
        (provider, model), *others = self.models
        named = ", ".join([model, *(f"{of.partition(' ')[0]}/{name}" for of, name in others)])
        self.store.begin(Began(self.run, time.time(), self.tag, provider, named))

    async def close(self, status: str, *, broken: bool) -> None:
        """Enter what it came to; a store in trouble is not waited for."""
        if broken:
            self.store.end(self.run)
        written = self.store.conclude(Ended(self.run, time.time(), status, json.dumps(self.total().facts())))
        if not broken:
            with suppress(StoreError):
                await heard(written)


class Crew:
    """Several engines that are one run, each of its own model, all at once.

    Args:
        engines: the engines.
        books: the record of the run.
    """

    def __init__(self, engines: Sequence[Engine], books: Books) -> None:
        self.engines = list(engines)
        self._books = books
        self._told = self._failed = self._abandoned = False

    async def run(self) -> None:
        """Take every row of every model to its outcome.

        Raises:
            Exception: what an engine raised first; the others were stopped.
        """
        self._books.begin()
        broken = True
        try:
            await self._all()
            broken = False
        finally:
            stopped = any(engine.live is not None and engine.live.stopped is not None for engine in self.engines)
            status = "interrupted" if self._told else "stopped" if broken or stopped else "finished"
            await self._books.close(status, broken=broken or any(engine.unsaved for engine in self.engines))

    async def _all(self) -> None:
        running = [asyncio.ensure_future(engine.run()) for engine in self.engines]
        await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        errors = [error for one in running if one.done() and (error := one.exception()) is not None]
        if errors:
            for engine in self.engines:
                engine.interrupt()
            await asyncio.wait(running)
            for one in running:
                one.exception()  # heard of
            raise errors[0]

    def interrupt(self) -> None:
        """Stop sending; what is in flight gets a grace to arrive. May be called from any thread, at any time."""
        self._told = True
        for engine in list(self.engines):
            engine.interrupt()

    def abandon(self) -> None:
        """Drop the grace. May be called from any thread."""
        self._abandoned = True
        for engine in list(self.engines):
            engine.abandon()

    def _is_over(self) -> bool:
        return self._told or self._failed

    def stop_at_failure(self) -> None:
        """Send nothing more, as a row has failed and that is to end the run."""
        self._failed = True
        for engine in self.engines:
            if engine.live is not None:
                engine.stop_at_failure()


class Chain(Crew):
    """Several engines that are one run: each takes what the one before it could not answer.

    Args:
        first: the first engine.
        hold: what holds back its failures.
        after: makes the next engine and what holds back its failures, from the places that are left.
        books: the record of the run.
        models: how many models there are.
    """

    def __init__(
        self,
        first: Engine,
        hold: Hold,
        *,
        after: Callable[[int, list[int]], tuple[Engine, Hold]],
        books: Books,
        models: int,
    ) -> None:
        super().__init__([first], books)
        self._hold = hold
        self._after = after
        self._models = models
        self.given_up: dict[int, Failure] = {}

    async def _all(self) -> None:
        hold = self._hold
        for number in range(self._models):
            engine = self.engines[number]
            await engine.run()
            stopped = engine.live.stopped if engine.live is not None else None
            moves = gives_up(stopped) and not self._is_over()
            hold.give_up(moves=moves)
            if moves and stopped is not None:
                self.given_up[number] = stopped
            if not hold.held:
                return
            if self._is_over() or (stopped is not None and not moves):
                hold.drop(stopped or Failure("Cancelled", "interrupted; run again to go on"))
                return
            engine, hold = await asyncio.get_running_loop().run_in_executor(None, self._after, number + 1, hold.held)
            self.engines.append(engine)
            if self._is_over():  # while it was made
                engine.interrupt()
