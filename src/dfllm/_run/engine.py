"""The engine: rows through render, key and store; what is missing through `live`; each row to its place.

Rows are taken in windows, so a million rows are never a million tasks. A window is rendered and looked up in a worker
thread while the event loop keeps sending.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import repeat

from dfllm._core.budget import Budget
from dfllm._core.errors import StoreError
from dfllm._core.retry import is_kept
from dfllm._core.types import Failure, Key, Messages, Outcome, Response
from dfllm._run.asks import Ask, Missed
from dfllm._run.bill import Bill
from dfllm._run.collector import room_for
from dfllm._run.commits import Landed
from dfllm._run.desk import Missing, Order, Settled, Sink, Window, alike
from dfllm._run.desk_sampled import desk_of
from dfllm._run.live import Live
from dfllm._run.observe import Observer
from dfllm._run.store import Store
from dfllm._run.store_off import Off, done, heard
from dfllm._run.tally import Tally

#: Rows prepared at once while requests are under way.
_SLICE = 125
#: Claims are taken for so many questions at once: two processes on one frame share it out in such pieces. Small ones at
#: first, for small frames, and under a budget, where each claim reserves the most it can cost.
_CLAIMS, _FIRST_CLAIMS = 512, 32
_GRACE_SECONDS = 10.0
#: What a run is given memory for at least, as its places may become more.
_USUAL = 100
_POLL_SECONDS = (0.05, 0.5)


class Engine:
    """One run of an Order.

    Args:
        order: what is asked.
        store: where answers are and go.
        sink: where outcomes go.
        tally: what is counted.
        changed: called when the tally has changed.
        live: makes the sender, from where its groups land and its misses go.
        price: what a response costs, in 1e-9 USD.
        most: the most a request with a body of so many bytes can cost, in 1e-9 USD; gives None where nobody knows.
        budget: what may be spent at most; None is without end.
        repair_attempts: how often a better answer is asked for where one does not fit its schema.
        run: the run's id.
        observer: shows the run to who looks.
        alone: whether the run is this engine's alone; else its record is the care of who made its engines.
    """

    def __init__(
        self,
        order: Order,
        *,
        store: Store | Off,
        sink: Sink,
        tally: Tally,
        changed: Callable[[], None],
        live: Callable[..., Live],
        price: Callable[[Response], int | None],
        most: Callable[[int], int | None] = lambda size: None,
        budget: Budget | None = None,
        repair_attempts: int,
        run: str,
        observer: Observer,
        alone: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._order = order
        self._store = store
        self._sink = sink
        self._tally = tally
        self._changed = changed
        self._make_live = live
        self._bill = Bill(run, order, price=price, most=most, budget=budget, tally=tally, clock=clock)
        self._repair_attempts = repair_attempts if order.schema is not None else 0
        self._run = run
        self._observer = observer
        self._alone = alone
        self._clock = clock
        self._desk = desk_of(order, store)
        self._waiting: dict[Key, list[int]] = {}
        self._ended: dict[Key, Settled] = {}
        self._held: dict[Key, Messages] = {}
        self._dear: dict[Key, Messages] = {}
        self._ended_some = asyncio.Event()
        self._lot = _FIRST_CLAIMS
        self._since = clock() if order.cache == "retry" else order.since
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = False
        self._interrupted = False
        self.unsaved = False
        self._rest: Settled | None = None
        self.live: Live | None = None

    async def run(self) -> None:
        """Take every row to its outcome.

        Raises:
            TemplateError: the template fails on every one of the first rows. Nothing was sent.
            StoreError: the store cannot be read.
        """
        self._loop = asyncio.get_running_loop()
        self._observer.begin(self._order.rows)
        if self._alone:
            self._store.begin(self._bill.began(self._order.terms))
        self.live = self._make_live(
            save=self._save,
            tell=self._tell,
            missed=self._miss,
            mend=self._mend if self._repair_attempts else None,
            afford=self._afford if self._bill.budget is not None else None,
            waiting=self._wait_for,
        )
        if self._told:
            self._stop_for_user()
        broken: BaseException | None = None
        try:
            with room_for(max(_USUAL, self.live.seat.places)):
                await self._all_rows()
                await self.live.finish()
        except BaseException as error:
            broken = error
            self.live.stop(Failure("Cancelled", "the run ended with an exception"))
            self.live.abandon()
            raise
        finally:
            self._tally.limits = self.live.limits
            self.live.seat.leave()
            self._tally.requests = self.live.requests
            self._tally.retries.update(self.live.retries)
            self._tally.unsure = self.live.unsure
            if self._alone:
                await self._close_books(broken)
            self._observer.end(self._tally, stopped=self.live.stopped, interrupted=self._interrupted, error=broken)

    async def _close_books(self, broken: BaseException | None) -> None:
        """Enter what the run came to; a store in trouble is not waited for."""
        if self.unsaved or broken is not None:
            self._store.end(self._run)
        stopped = broken is not None or (self.live is not None and self.live.stopped is not None)
        status = "interrupted" if self._interrupted else "stopped" if stopped else "finished"
        written = self._store.conclude(self._bill.ended(status))
        if not self.unsaved and broken is None:
            with suppress(StoreError):
                await heard(written)

    async def _all_rows(self) -> None:
        start = 0
        while start < self._order.rows:
            window = await self._window(start)
            start += len(window.settled)
            self._take(window)
            await self._ask(window.missing)
        while self._held:
            await self._watch()

    def interrupt(self) -> None:
        """Stop sending; what is in flight gets a grace to arrive. May be called from any thread, at any time."""
        self._told = True  # first, so that a run that is just beginning sees one or the other
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_for_user)

    def abandon(self) -> None:
        """Drop the grace. May be called from any thread."""
        if self._loop is not None and self.live is not None:
            self._loop.call_soon_threadsafe(self.live.abandon)

    def _stop_for_user(self) -> None:
        assert self.live is not None
        assert self._loop is not None
        if not self._interrupted:
            self._interrupted = True
            cause = Failure("Cancelled", "interrupted; run again to go on")
            self._rest = Settled(None, cause, None)
            self._stop(cause)
            self._loop.call_later(_GRACE_SECONDS, self.live.abandon)

    async def _window(self, start: int) -> Window:
        """Return the next rows, rendered and looked up."""
        assert self.live is not None
        rows = self._order.rows
        if self._rest is not None:
            return alike(start, rows, self._rest)  # unrendered: whoever pressed Ctrl-C is waiting
        await self.live.room()
        try:
            if (start > 0 and self.live.idle) or self._order.brought is not None:
                stop = min(rows, start + self._order.window)
                return await asyncio.get_running_loop().run_in_executor(None, self._desk.prepare, start, stop)
            # While requests are under way, a few milliseconds at a time and on the loop itself: a thread beside it
            # would keep the interpreter from the sockets for longer than it works.
            await asyncio.sleep(0)
            return self._desk.prepare(start, min(rows, start + self._order.whole(_SLICE)))
        except StoreError as error:
            if start == 0:
                raise  # nothing was sent; later on, what is under way is waited for and the frame keeps its answers
            self._stop_for_store(error)
            self._rest = Settled(None, Failure("StoreError", str(error)), None)
            return alike(start, rows, self._rest)

    def _take(self, window: Window) -> None:
        assert self.live is not None
        self._sink.fill(window.start, window.settled)
        failed = self._tally.count(window.settled)
        self.live.proven = self._tally.known > 0
        if failed and self._order.stop_at_failure:
            self.stop_at_failure()
        self._changed()

    async def _ask(self, missing: Sequence[Missing]) -> None:
        """Send what is missing, each question once, as fast as `live` takes it."""
        assert self.live is not None
        fresh: list[Missing] = []
        for one in missing:
            if (positions := self._waiting.get(one.key)) is not None:
                positions.append(one.position)
                self._tally.shared += 1
            elif (ended := self._ended.get(one.key)) is not None:
                self._tally.shared += 1
                self._settle_rows([one.position], ended)
            else:
                self._waiting[one.key] = [one.position]
                fresh.append(one)
        if self._order.cache == "only":
            for one in fresh:
                self._settle(Settled(one.key, Failure("NotSent", "not in the store, and cache='only'"), None))
            return
        while fresh:
            await self.live.room()
            lot, fresh = fresh[: self._lot], fresh[self._lot :]
            await self._claim({one.key: one.messages for one in lot})
            self._lot = self._lot if self._bill.budget is not None else min(_CLAIMS, 2 * self._lot)
            while self._dear:
                await self._wait_for_money()

    async def _wait_for_money(self) -> None:
        """Wait until something was settled, here or elsewhere, and ask again for what did not fit."""
        self._ended_some.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended_some.wait(), _POLL_SECONDS[1])
        await self._claim(dict(self._dear))

    async def _claim(self, asked: dict[Key, Messages], *, again: bool = True) -> bool:
        """Claim questions and send those that are ours; return whether anything came of it."""
        assert self.live is not None
        if (stopped := self.live.stopped) is not None:
            for key in asked:
                self._held.pop(key, None)
                self._dear.pop(key, None)
                unsent = stopped if stopped.type == "Cancelled" else self.live.unsent
                self._settle(Settled(key, unsent, None))
            return True
        try:
            reserves, cap = self._bill.reserves(map(self._desk.size, asked.values())), self._bill.cap()
            claim = self._store.claim(list(asked), self._run, since=self._since, reserves=reserves, cap=cap)
            claimed = await heard(claim)
        except StoreError as error:
            self._stop_for_store(error)
            return await self._claim(asked)
        for key in claimed.held:
            self._held[key] = asked[key]
        for key in (*claimed.mine, *claimed.answered, *claimed.dear):
            self._held.pop(key, None)
        for key in (*claimed.mine, *claimed.answered, *claimed.held):
            self._dear.pop(key, None)
        for key in claimed.dear:
            self._dear[key] = asked[key]
            if not claimed.reserved:  # and nothing will be given back that it could wait for
                del self._dear[key]
                self._settle(Settled(key, self._bill.refusal(self._desk.size(asked[key]), claimed.left), None))
        self.live.add([self._desk.ask(key, asked[key]) for key in claimed.mine])
        if claimed.answered:
            await self._adopt({key: asked[key] for key in claimed.answered}, again=again)
        return bool(claimed.mine or claimed.answered)

    async def _adopt(self, asked: dict[Key, Messages], *, again: bool) -> None:
        """Settle what another run or process has answered meanwhile; ask for what was removed since."""
        lost = Failure("StoreError", "the stored answer is damaged; run again")
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._desk.answered, list(asked))
        except StoreError as error:
            self._stop_for_store(error)
            found, lost, again = [None] * len(asked), Failure("StoreError", str(error)), False
        for key, settled in zip(asked, found, strict=True):
            if settled is not None or not again:
                self._settle(settled or Settled(key, lost, None))
        if again and (gone := {key: asked[key] for key, settled in zip(asked, found, strict=True) if settled is None}):
            await self._claim(gone, again=False)
        self._changed()

    async def _watch(self) -> None:
        """Wait for questions that other runs or processes have in hand, and take over what they drop."""
        wait, longest = _POLL_SECONDS
        while self._held:
            await asyncio.sleep(wait)
            came = await self._claim(dict(self._held))
            wait = _POLL_SECONDS[0] if came else min(longest, wait * 1.5)

    def _save(self, group: list[Landed]) -> Future[None]:
        """Begin to put a group of ended questions on disk."""
        entries, bare, spends = [], [], []
        for key, outcome, body, seconds, size in group:
            if body is None:
                bare.append(key)
            else:
                entry, spend = self._bill.paid(key, outcome, body, seconds, size)
                entries.append(entry)
                spends.append(spend)
        if self.unsaved and not entries:
            # The store is in trouble, and nobody need wait for it: who has ended gives up its claims as a whole.
            return done(None)
        return self._store.save(entries, self._run, free=bare, spends=spends)

    def _tell(self, group: list[Landed], error: BaseException | None) -> None:
        """Tell the rows of a group what became of them, now that it is on disk or cannot be."""
        if isinstance(error, StoreError):
            self._stop_for_store(error)
        elif error is not None:
            raise error
        interpret = self._desk.interpret
        for key, said, body, seconds, size in group:
            cost = self._bill.cost(said, size)
            if body is not None:
                self._bill.pay(said, cost, seconds)
            outcome, cells = interpret(said)
            self._tally.asked += is_kept(said)
            self._settle(Settled(key, outcome, cells, "live" if is_kept(said) else None, seconds or None, cost))
        self._ended_some.set()
        self._changed()

    async def _afford(self, ask: Ask) -> bool:
        """Reserve one more attempt; return whether that fits."""
        cap, most = self._bill.cap(), self._bill.most(ask.size)
        assert cap is not None
        try:
            ask.is_reserved = await heard(self._store.reserve(ask.key, self._run, most, cap)) is None
        except StoreError as error:
            self._stop_for_store(error)
        return ask.is_reserved

    def _mend(self, ask: Ask, outcome: Outcome, body: bytes | None) -> bytes | None:
        """Return the body that asks for a better answer where this one is none, and keep this one."""
        if ask.repairs >= self._repair_attempts or (better := self._desk.mended(ask.messages, outcome)) is None:
            return None
        failure, content = better
        ask.repairs += 1
        assert self.live is not None
        self.live.retries[failure.type] += 1
        if body is not None and is_kept(outcome):
            entry, spend = self._bill.paid(ask.key, outcome, body, ask.seconds, ask.size)
            self._bill.pay(outcome, spend.cost, ask.seconds)
            self._store.journal([self._bill.noted(Missed(ask.key, failure, body, 0))])
            # On disk before the next is asked for: after a crash it is the row's answer, and nothing is paid again.
            self._store.save([entry], self._run, spends=[spend])
        return content

    def _wait_for(self, what: str | None) -> None:
        self._tally.waiting = what
        self._changed()

    def _settle(self, settled: Settled) -> None:
        assert settled.key is not None
        if settled.source is None or self.unsaved or self._order.cache == "off":
            # What is not in the store must be remembered here for equal rows of later windows.
            self._ended[settled.key] = settled
        self._settle_rows(self._waiting.pop(settled.key), settled)

    def _settle_rows(self, positions: Sequence[int], settled: Settled) -> None:
        self._sink.put(positions, settled)
        if settled.source == "live" and len(positions) > 1:
            self._tally.saved_shared += (settled.cost or 0) * (len(positions) - 1)
        if self._tally.count(repeat(settled, len(positions))) and self._order.stop_at_failure:
            self.stop_at_failure()

    def stop_at_failure(self) -> None:
        """Send nothing more, as a row has failed and that is to end the run."""
        self._stop(Failure("NotSent", "a row failed and on_error='stop'"))

    def _stop_for_store(self, error: StoreError) -> None:
        # Whatever failed may be on disk all the same, claims too; at its end the run gives up all it may hold.
        self.unsaved = True
        self._stop(Failure("StoreError", str(error)))

    def _stop(self, cause: Failure) -> None:
        assert self.live is not None
        self.live.stop(cause, cause)

    def _miss(self, missed: Missed) -> None:
        self._store.journal([self._bill.noted(missed)], [self._bill.missed(missed)])
