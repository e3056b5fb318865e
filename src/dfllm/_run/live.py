"""Live: missing questions to a provider, many at once, each answer on disk before anyone hears of it.

What may be tried again goes back to the queue behind a timer; nobody sleeps on a place in flight. A place is held from
sending to commit, but for the few whose answers wait for the disk while the next question leaves: what a kill can lose
is bounded by the requests in flight and a sixteenth more. While the provider is down nothing is sent but a probe now
and then.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

from dfllm._core.retry import TRIES, backoff_seconds, is_kept, next_step, stops_run
from dfllm._core.types import Failure, Outcome
from dfllm._run.asks import Ask, Missed
from dfllm._run.commits import GROUP, Commits, Landed
from dfllm._run.gate import Gate
from dfllm._run.outage import Outage
from dfllm._run.pace import LimitUse, Pace, Seat
from dfllm._run.sending import Sender

#: A queue so long is never called too long, however few places there are.
_AMPLE = 64
#: One place in so many may ask on while its answer is on the way to the disk: at 1,000 in flight the wait for the disk
#: would leave a fiftieth of all places idle. With fewer places than this, none may.
_AHEAD = 16


class Live:
    """Sends questions until each has an outcome.

    Args:
        save: begins to put a group of ended questions on disk.
        tell: hears of each group when that has ended, and of what went wrong.
        missed: takes each attempt that was or may have been billed for nothing.
        pace: where all senders to this provider wait.
        seat: this run's place there.
        gate: where the first request goes alone.
        patience: seconds without a success, in an outage or of nothing but 429, after which the run stops.
        mend: makes the body that asks for a better answer, where one is to be asked for; called with each answer.
        afford: reserves the cost of one more attempt where an earlier one was or may have been billed; false where
            that does not fit the budget. None where there is none.
        waiting: hears what the run waits for, and None when it goes on.
        uniform: a random number in [0, 1).
        **sending: what else `Sender` takes.

    Attributes:
        stopped: why nothing more is sent; None while requests are sent.
        unsent: what is not sent any more lands as.
        succeeded: whether any question was answered.
        proven: whether answers to the same terms are known, which shows that such a request can be right.
    """

    def __init__(
        self,
        *,
        save: Callable[[list[Landed]], Future[None]],
        tell: Callable[[list[Landed], BaseException | None], None],
        missed: Callable[[Missed], None],
        pace: Pace,
        seat: Seat,
        gate: Gate,
        patience: float,
        mend: Callable[[Ask, Outcome, bytes | None], bytes | None] | None = None,
        afford: Callable[[Ask], Awaitable[bool]] | None = None,
        waiting: Callable[[str | None], None] = lambda what: None,
        uniform: Callable[[], float] = random.random,
        **sending: Any,
    ) -> None:
        self._pace = pace
        self._gate = gate
        self._patience = patience
        self._mend = mend
        self._afford = afford
        self._waiting = waiting
        self._uniform = uniform
        self._sender = Sender(
            missed=missed, fatal=self._consider_stop, pace=pace, seat=seat, gate=gate, uniform=uniform, **sending
        )
        self._loop = asyncio.get_running_loop()
        self._commits = Commits(save, tell, self._crash, self._committed)
        self._outage = Outage(
            patience, probe=self._send_probe, over=self._go_on, give_up=self._give_way, waiting=waiting
        )
        self._probe: Ask | None = None
        self._queue: deque[Ask] = deque()
        self._timers: dict[Ask, asyncio.TimerHandle] = {}
        self._workers: dict[asyncio.Task[None], Ask | None] = {}
        self._open = 0
        self._closed = False
        self._abandoned = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._complaint = ("", 0)
        self._is_limited = False
        self.stopped: Failure | None = None
        self.unsent = Failure("NotSent", "the run was stopped")
        self.succeeded = False
        self.proven = False
        self.seat = seat
        seat.on_more = self._hire

    @property
    def requests(self) -> int:
        """Attempts made so far."""
        return self._sender.health.requests

    @property
    def retries(self) -> Counter[str]:
        """Further attempts by their cause."""
        return self._sender.retries

    @property
    def unsure(self) -> int:
        """Attempts that may have been billed without an answer."""
        return self._sender.unsure

    @property
    def limits(self) -> LimitUse:
        """What is known of the provider's limits, and how they were used."""
        return self._pace.use()

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
        if len(self._queue) > max(_AMPLE, self.seat.places):
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
        self._sender.unsent = self.unsent
        self._outage.end()
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
            self._put_unsent(ask)

    # Workers.

    def _hire(self) -> None:
        outage = self._outage
        wanted = int(outage.is_due) if outage.is_on else self.seat.places - len(self._workers)
        for _ in range(min(len(self._queue), wanted)):
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

    def _next(self) -> Ask | None:
        """Return the next question for a worker, None where it is to leave."""
        queue = self._queue
        if not queue:
            return None
        if self._outage.is_on:
            if not self._outage.is_due:
                return None
            self._outage.is_due = False
            # The youngest: one that has failed before may fail whoever is back.
            ask = self._probe = queue.pop()
        elif len(self._workers) > self.seat.places:
            return None
        else:
            ask = queue.popleft()
        if not self._room.is_set() and len(queue) < max(_AMPLE, self.seat.places):
            self._room.set()
        return ask

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while (ask := self._next()) is not None:
            self._workers[me] = ask
            try:
                committed = await self._carry(ask)
            except asyncio.CancelledError:
                if ask.under_way:
                    self._put(Landed(ask.key, ask.unmended or self._sender.dropped(ask), None, 0.0, 0))
                else:
                    self._put_unsent(ask)
                if self.stopped is None and not self._abandoned:
                    raise
                return
            self._workers[me] = None
            if committed is not None and self._commits.unsaved > self.seat.places // _AHEAD:
                await committed

    async def _carry(self, ask: Ask) -> asyncio.Future[None] | None:
        """Send one question; return what tells of its commit, or None where it went back to the queue."""
        if not ask.is_reserved and self._afford is not None and not await self._afford(ask):
            return self._end_unaffordable(ask)
        outcome, body = await self._sender.send(ask)
        if ask is self._probe:
            self._probe = None
            self._outage.probed(outcome)
        kept = is_kept(outcome)
        if kept and self._is_limited:
            self._is_limited = False
            self._waiting(None)
        if self._mend is not None and self.stopped is None and (better := self._mend(ask, outcome, body)):
            ask.content, ask.tries, ask.is_reserved = better, 0, False  # another question, with tries of its own
            if kept:
                ask.unmended = outcome
            self._requeue(ask)
            return None
        if not isinstance(outcome, Failure):
            self.succeeded = True
            self._complaint = ("", 0)
            return self._put(Landed(ask.key, outcome, body, ask.seconds, ask.size))
        if self._again(ask, outcome):
            return None
        self._consider_stop(outcome)
        self.succeeded = self.succeeded or kept
        if not kept and ask.unmended is not None:
            # No better answer could be had. The one there is was paid for, and is on disk already.
            return self._put(Landed(ask.key, ask.unmended, None, ask.seconds, 0))
        return self._put(Landed(ask.key, outcome, body if kept else None, ask.seconds, ask.size))

    def _end_unaffordable(self, ask: Ask) -> asyncio.Future[None]:
        """Leave it at what the last attempt came to; another one would not fit the budget."""
        if ask is self._probe:
            self._probe = None
            self._outage.is_due = True  # somebody else may go and see
        return self._put(Landed(ask.key, ask.unmended or ask.missed or self.unsent, None, ask.seconds, 0))

    # Trying again.

    def _again(self, ask: Ask, failure: Failure) -> bool:
        """Put the question back into the queue, behind a timer or an outage, if it has a try left."""
        if self.stopped is not None:
            return False
        if next_step(failure) == "limiter":
            return self._wait_for_limit(ask, failure)
        if self._is_outage(ask, failure):
            self._outage.begin(failure)
        has_try = self._sender.may_retry(ask, failure)
        if self._outage.is_on and (has_try or failure.type == "AuthFailed" or next_step(failure) == "transient"):
            # It outlasts the outage, which uses up none of its tries.
            self.retries[failure.type] += 1
            self._requeue(ask)
            return True
        if not has_try or not self._sender.health.may_retry():
            return False
        wait = failure.wait_seconds if failure.wait_seconds is not None else -1.0
        if not 0 <= wait <= 60:
            wait = backoff_seconds(ask.tries, self._uniform())
        self.retries[failure.type] += 1
        self._timers[ask] = self._loop.call_later(wait, self._requeue_late, ask)
        return True

    def _wait_for_limit(self, ask: Ask, failure: Failure) -> bool:
        if self._pace.limited(failure.wait_seconds) > self._patience:
            self.stop(failure)
            return False
        if (failure.wait_seconds or 0.0) >= 1.0:
            self._is_limited = True
            self._waiting(f"rate limit: waiting {failure.wait_seconds:.0f} s")
        self.retries[failure.type] += 1
        self._timers[ask] = self._loop.call_later(0.0, self._requeue_late, ask)
        return True

    def _requeue_late(self, ask: Ask) -> None:
        del self._timers[ask]
        self._requeue(ask)

    def _requeue(self, ask: Ask) -> None:
        self._queue.appendleft(ask)
        self._hire()

    # Outages.

    def _is_outage(self, ask: Ask, failure: Failure) -> bool:
        if failure.type == "AuthFailed":
            return self.succeeded
        if next_step(failure) not in ("transient", "ambiguous"):
            return False
        used_up = ask.tries >= TRIES
        if failure.type == "ConnectFailed" and self.succeeded and used_up:
            return True
        health = self._sender.health
        return health.is_down(used_up=used_up and health.answered == ask.answered)

    def _send_probe(self) -> None:
        if not self._queue and self._timers:
            ask, timer = next(iter(self._timers.items()))
            timer.cancel()
            del self._timers[ask]
            self._queue.append(ask)
        if self._queue:
            self._hire()
        else:  # nothing is left to be held back
            self._outage.end()

    def _go_on(self) -> None:
        self._sender.health.recover()
        self._hire()

    def _give_way(self, failure: Failure) -> None:
        self._gate.shut(failure)  # the next run sends one request to see
        self.stop(failure)

    # Ends.

    def _consider_stop(self, failure: Failure) -> None:
        text, running = self._complaint
        self._complaint = (failure.reason, running + 1 if failure.reason == text else 1)
        first = not self.succeeded and not (self.proven and failure.type == "BadRequest")
        if self.stopped is None and stops_run(failure, first=first, same_in_a_row=self._complaint[1]):
            if stops_run(failure, first=False):
                self._gate.shut(failure)  # whatever the row: the next run sends one request to see
            self.stop(failure)

    def _put_unsent(self, ask: Ask) -> None:
        self._put(Landed(ask.key, ask.unmended or self.unsent, None, 0.0, 0))

    def _put(self, landed: Landed) -> asyncio.Future[None]:
        return self._commits.put(landed, min(GROUP, len(self._workers)))

    def _committed(self, count: int) -> None:
        self._open -= count
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._closed and self._open == 0 and not self._ended.done():
            self._ended.set_result(None)
