"""Live: missing questions to a provider, many at once, each answer on disk before anyone hears of it.

What may be tried again goes back to the queue behind a timer; nobody sleeps on a place in flight. A place is held from
sending to commit, so what a kill can lose is bounded by the requests in flight.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

from dfllm._core.retry import TRIES, backoff_seconds, is_kept, may_retry, next_step, stops_run
from dfllm._core.types import Failure, Key, Outcome
from dfllm._run.pace import Gate, Pace

#: Answers that wait for one commit, and for how long: enough to share its cost, too short to be felt.
_GROUP = 64
_GROUP_SECONDS = 0.003


class Answered(Protocol):
    """An HTTP answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Ask:
    """One missing question on its way.

    Attributes:
        key: its key.
        content: its body on the wire.
        tries: attempts made.
        unsure: those of them that may have been billed without an answer.
        under_way: whether an attempt has begun and not ended.
        seconds: how long the last attempt took.
    """

    __slots__ = ("content", "key", "seconds", "tries", "under_way", "unsure")

    def __init__(self, key: Key, content: bytes) -> None:
        self.key = key
        self.content = content
        self.tries = 0
        self.unsure = 0
        self.under_way = False
        self.seconds = 0.0


class Landed(NamedTuple):
    """The end of one question.

    Attributes:
        key: the question's key.
        outcome: its answer or failure.
        body: the provider's bytes, where the outcome is kept.
        seconds: how long the last attempt took.
    """

    key: Key
    outcome: Outcome
    body: bytes | None
    seconds: float


class Missed(NamedTuple):
    """An attempt that gave no answer but was, or may have been, billed."""

    key: Key
    failure: Failure
    body: bytes | None


class Live:
    """Sends questions until each has an outcome.

    Args:
        post: one HTTP exchange: body in; an answer out, or why there is none.
        read: the dialect's reading of an answer.
        save: begins to put a group of ended questions on disk.
        tell: hears of each group when that has ended, and of what went wrong.
        missed: takes each attempt that was or may have been billed for nothing.
        pace: where senders wait.
        gate: where the first request goes alone.
        concurrency: the most requests in flight.
        resend_ambiguous: how often a request is sent again that may have been billed.
        patience: seconds of nothing but 429 after which the run stops.
    """

    def __init__(
        self,
        *,
        post: Callable[[bytes], Awaitable[Answered | Failure]],
        read: Callable[[int, Mapping[str, str], bytes], Outcome],
        save: Callable[[list[Landed]], Future[None]],
        tell: Callable[[list[Landed], BaseException | None], None],
        missed: Callable[[Missed], None],
        pace: Pace,
        gate: Gate,
        concurrency: int,
        resend_ambiguous: int,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._post = post
        self._read = read
        self._save = save
        self._tell = tell
        self._missed = missed
        self._pace = pace
        self._gate = gate
        self.concurrency = concurrency
        self._resend_ambiguous = resend_ambiguous
        self._patience = patience
        self._clock = clock
        self._uniform = uniform
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Ask] = deque()
        self._timers: dict[Ask, asyncio.TimerHandle] = {}
        self._workers: dict[asyncio.Task[None], Ask | None] = {}
        self._group: list[Landed] = []
        self._committed: asyncio.Future[None] = self._loop.create_future()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._open = 0
        self._closed = False
        self._abandoned = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._complaint = ("", 0)
        self.stopped: Failure | None = None
        self.unsent = Failure("NotSent", "the run was stopped")
        self.requests = 0
        self.retries: Counter[str] = Counter()
        self.unsure = 0
        self.succeeded = False
        #: Whether answers to the same terms are known, which shows that such a request can be right.
        self.proven = False

    @property
    def idle(self) -> bool:
        """Whether every question taken so far has landed."""
        return self._open == 0

    async def room(self) -> None:
        """Wait until more questions are welcome."""
        await self._room.wait()

    def add(self, asks: Sequence[Ask]) -> None:
        """Take questions to send; after a stop they land at once as not sent."""
        self._open += len(asks)
        if self.stopped is not None:
            self._give_up(asks)
            return
        self._queue.extend(asks)
        if len(self._queue) > self.concurrency:
            self._room.clear()
        self._hire()

    async def finish(self) -> None:
        """Take no more questions and wait until all have landed."""
        self._closed = True
        self._end_if_done()
        await self._ended

    def stop(self, cause: Failure, unsent: Failure | None = None) -> None:
        """Send nothing more; what is in flight gets its answer.

        Args:
            cause: why.
            unsent: what the rest lands as; by default as not sent, for that cause.
        """
        if self.stopped is not None:
            return
        self.stopped = cause
        self.unsent = unsent or Failure("NotSent", f"{cause.type}: {cause.reason}")
        waiting = [*self._queue, *self._timers]
        self._queue.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._room.set()
        self._give_up(waiting)
        for worker, ask in self._workers.items():
            # Who waits for a pace or a gate has sent nothing, and need not be waited for.
            if ask is not None and not ask.under_way and worker is not asyncio.current_task():
                worker.cancel()

    def abandon(self) -> None:
        """Drop what is in flight, too; it may have been billed."""
        self._abandoned = True
        for worker in self._workers:
            worker.cancel()

    def _give_up(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self._put(Landed(ask.key, self.unsent, None, 0.0))

    def _hire(self) -> None:
        for _ in range(min(len(self._queue), self.concurrency - len(self._workers))):
            worker = self._loop.create_task(self._work())
            self._workers[worker] = None
            worker.add_done_callback(self._left)

    def _left(self, worker: asyncio.Task[None]) -> None:
        del self._workers[worker]
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._crash(error)
        self._hire()  # for what came while it was leaving, and was thought to be its

    def _crash(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)
            self._ended.exception()  # heard of, even where whoever would await it has gone
        self.stop(Failure("Cancelled", "the run ended with an exception"))

    async def _work(self) -> None:
        queue, me = self._queue, asyncio.current_task()
        assert me is not None
        while queue:
            ask = self._workers[me] = queue.popleft()
            if len(queue) < self.concurrency:
                self._room.set()
            try:
                committed = await self._carry(ask)
            except asyncio.CancelledError:
                self._put(self._dropped(ask) if ask.under_way else Landed(ask.key, self.unsent, None, 0.0))
                if self.stopped is None and not self._abandoned:
                    raise
                return
            self._workers[me] = None
            if committed is not None:
                await committed

    async def _carry(self, ask: Ask) -> asyncio.Future[None] | None:
        """Send one question; return what tells of its commit, or None where it went back to the queue."""
        if self._pace.held:
            await self._pace.admit()
        if self.stopped is not None:
            return self._put(Landed(ask.key, self.unsent, None, 0.0))
        outcome, body = await (self._exchange(ask) if self._gate.is_open else self._first(ask))
        if not isinstance(outcome, Failure):
            self.succeeded = True
            self._complaint = ("", 0)
            return self._put(Landed(ask.key, outcome, body, ask.seconds))
        if self._again(ask, outcome):
            return None
        self._consider_stop(outcome)
        kept = is_kept(outcome)
        self.succeeded = self.succeeded or kept
        return self._put(Landed(ask.key, outcome, body if kept else None, ask.seconds))

    async def _exchange(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        self.requests += 1
        ask.tries += 1
        ask.under_way = True
        started = self._clock()
        answer = await self._post(ask.content)
        ask.under_way = False
        ask.seconds = self._clock() - started
        if isinstance(answer, Failure):
            outcome: Outcome = answer
            body: bytes | None = None
        else:
            body = answer.body
            outcome = self._read(answer.status, answer.headers, body)
        if is_kept(outcome):
            self._pace.succeeded()
        if not isinstance(outcome, Failure):
            return outcome, body
        if next_step(outcome) == "limiter":
            ask.tries -= 1
            if self.stopped is not None:
                return self.unsent, None  # told to wait, and nobody does any more
        if outcome.billing == "maybe":
            ask.unsure += 1
            self.unsure += 1
        if outcome.billing in ("paid", "maybe") and not is_kept(outcome):
            self._missed(Missed(ask.key, outcome, body))
        return replace(outcome, tries=ask.tries) if ask.tries > 1 else outcome, body

    async def _first(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        """Go alone through the closed gate, or wait for whoever does."""
        seen = self._gate.fatal_count
        async with self._gate.lock:
            if self.stopped is not None:
                return self.unsent, None
            if self._gate.fatal_count > seen:
                return self._gate.fatal, None
            if not self._gate.is_open:
                outcome, body = await self._knock(ask)
                self._answer_at_gate(ask, outcome)
                return outcome, body
        # Whoever went first may have been told to wait.
        await self._pace.admit()
        return await self._exchange(ask)

    def _answer_at_gate(self, ask: Ask, outcome: Outcome) -> None:
        self._gate.is_open = True
        if isinstance(outcome, Failure) and stops_run(outcome, first=True) and not self._has_try(ask, outcome):
            if outcome.type != "BadRequest":  # which is this run's own trouble; others may ask better
                self._gate.shut(outcome)
            self._consider_stop(outcome)  # before the others get through

    async def _knock(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        while True:
            outcome, body = await self._exchange(ask)
            unreached = isinstance(outcome, Failure) and outcome.type == "ConnectFailed"
            if not unreached or ask.tries >= TRIES or self.stopped is not None:
                return outcome, body
            self.retries["ConnectFailed"] += 1
            await asyncio.sleep(backoff_seconds(ask.tries, self._uniform()))

    def _again(self, ask: Ask, failure: Failure) -> bool:
        """Put the question back into the queue, behind a timer, if it has a try left."""
        if self.stopped is not None:
            return False
        if not self._has_try(ask, failure):
            return False
        if next_step(failure) == "limiter":
            if self._pace.limited(failure.wait_seconds) > self._patience:
                self.stop(failure)
                return False
            wait = 0.0
        else:
            wait = failure.wait_seconds if failure.wait_seconds is not None else -1.0
            if not 0 <= wait <= 60:
                wait = backoff_seconds(ask.tries, self._uniform())
        self.retries[failure.type] += 1
        self._timers[ask] = self._loop.call_later(wait, self._requeue, ask)
        return True

    def _has_try(self, ask: Ask, failure: Failure) -> bool:
        return may_retry(failure, unsure=ask.unsure, resend_ambiguous=self._resend_ambiguous)

    def _requeue(self, ask: Ask) -> None:
        del self._timers[ask]
        self._queue.appendleft(ask)
        self._hire()

    def _consider_stop(self, failure: Failure) -> None:
        text, running = self._complaint
        self._complaint = (failure.reason, running + 1 if failure.reason == text else 1)
        first = not self.succeeded and not (self.proven and failure.type == "BadRequest")
        if self.stopped is None and stops_run(failure, first=first, same_in_a_row=self._complaint[1]):
            if stops_run(failure, first=False):
                self._gate.shut(failure)  # whatever the row: the next run sends one request to see
            self.stop(failure)

    def _dropped(self, ask: Ask) -> Landed:
        failure = Failure("Cancelled", "in flight when the run was interrupted", "maybe", tries=ask.tries)
        self.unsure += 1
        self._missed(Missed(ask.key, failure, None))
        return Landed(ask.key, failure, None, 0.0)

    def _put(self, landed: Landed) -> asyncio.Future[None]:
        """Join the next group to be committed; return what tells of its commit."""
        committed = self._committed
        self._group.append(landed)
        if len(self._group) >= min(_GROUP, len(self._workers)):
            self._flush()  # full, or everyone is waiting for it
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(_GROUP_SECONDS, self._flush)
        return committed

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        group, committed = self._group, self._committed
        self._group, self._committed = [], self._loop.create_future()
        # No task of its own: each turn of a busy loop that a group waits for keeps its places idle.
        try:
            saved = self._save(group)
        except BaseException as error:  # noqa: BLE001  # whoever waits for the end must hear of it
            self._landed(group, committed, error)
        else:
            saved.add_done_callback(partial(self._saved, group, committed))

    def _saved(self, group: list[Landed], committed: asyncio.Future[None], saved: Future[None]) -> None:
        """Hear of a commit, in the thread that made it."""
        with suppress(RuntimeError):  # the loop is gone, and with it everyone who could hear
            self._loop.call_soon_threadsafe(self._landed, group, committed, saved.exception())

    def _landed(self, group: list[Landed], committed: asyncio.Future[None], error: BaseException | None) -> None:
        if not committed.done():
            committed.set_result(None)
        try:
            self._tell(group, error)
        except BaseException as broken:  # noqa: BLE001  # as above
            self._crash(broken)
        finally:
            self._open -= len(group)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self._closed and self._open == 0 and not self._ended.done():
            self._ended.set_result(None)
