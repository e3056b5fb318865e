"""Virtual time: an event loop whose clock jumps to the next timer when there is nothing else to do.

    virtual.run(coroutine)      as asyncio.run; an hour of sleeping takes no time

What a real thread has in hand is a debt, and time stands still until it is paid. These are known to be debts:

    - what `loop.run_in_executor` and `asyncio.to_thread` start
    - a future of a thread that somebody awaits through `asyncio.wrap_future`
    - what is given to a store's writer
    - a future that is named to `loop.owe`

A thread's news are heard when the loop has nothing else to do and all debts are paid, in the order in which the debts
were made. So the trace of a run does not depend on how fast its threads are. Where a thread waits for the loop in turn,
news are heard after a moment of real time even though others still owe; a debt that is not paid in PATIENCE_SECONDS of
real time is an error, and so is a loop with nothing to do and no timer, which would hang for ever.

A future that a timer of this same loop is to complete is no debt; it must not go through `asyncio.wrap_future`. There
are no sockets here: an answer that comes over one is not waited for.
"""

import asyncio
import itertools
import math
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from unittest import mock

from dfllm._run.store_writer import Writer

T = TypeVar("T")

#: Small: near 10^9 the steps of a float are longer than those of a timer.
START_SECONDS = 1.0
#: Real seconds until news are heard while others still owe, and until a debt is an error.
GRACE_SECONDS = 1.0
PATIENCE_SECONDS = 20.0


class Stuck(Exception):
    """Nothing is left that could ever happen, and the run has not ended."""


class Overdue(Exception):
    """A thread owes something, and does not give it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time.

    Attributes:
        now: what its clock shows.
    """

    def __init__(self) -> None:
        self.now = START_SECONDS
        self._debts: dict[Future[Any], int] = {}
        self._numbers = itertools.count()
        self._paying = threading.local()
        self._news: list[tuple[float, int, asyncio.Handle]] = []
        super().__init__(_Jumping(self))
        self.jump(0.0)

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now

    def jump(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds
        # asyncio runs what is due before now plus this; if that is now, a timer waits for ever.
        self._clock_resolution = max(1e-9, 2 * math.ulp(self.now))

    def owe(self, future: Future[T]) -> Future[T]:
        """Keep time from moving until this future is done and has told everybody; return it."""
        # Its lock, so that it is not done between the question and the answer.
        with future._condition:
            if future not in self._debts and not future.done():
                number = self._debts[future] = next(self._numbers)
                # A done-callback would come before those that are added later, and so would the end of the debt.
                future._invoke_callbacks = lambda: self._pay(future, number, type(future)._invoke_callbacks)
        return future

    def _pay(self, future: Future[Any], number: int, tell: Callable[[Future[Any]], None]) -> None:
        self._paying.number = number
        try:
            tell(future)
        finally:
            del self._paying.number
            del self._debts[future]
            with suppress(RuntimeError, AttributeError, OSError):  # the loop is gone
                self._write_to_self()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        """Call soon; for another thread, when its turn has come."""
        if threading.get_ident() == self._thread_id:
            return super().call_soon_threadsafe(callback, *args, context=context)
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._news.append((getattr(self._paying, "number", math.inf), next(self._numbers), handle))
        self._write_to_self()
        return handle

    def run_in_executor(self, executor: Any, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run in a thread, for which time stands still."""
        with _debts_by_wrapping():
            return super().run_in_executor(executor, function, *args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncio's name
        """Wait for the executor's threads in real time; asyncio would set a timer."""
        self._executor_shutdown_called = True
        if self._default_executor is not None:
            self._default_executor.shutdown(wait=True)

    def hear(self) -> bool:
        """Take the news in; return whether there were any."""
        news, self._news = self._news, []
        for _, _, handle in sorted(news, key=lambda one: one[:2]):
            self._add_callback(handle)
        return bool(news)

    def waiting(self) -> str:
        """Say who waits for what."""
        return "\n".join(sorted(f"  {task!r}" for task in asyncio.all_tasks(self)))


class _Jumping(selectors.DefaultSelector):
    """Where a loop would wait for time to pass, its clock jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready: at once, or after threads have paid their debts, or after a jump."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        loop = self._loop
        if loop._debts:
            return self._wait_for_threads()
        if loop.hear():
            return []
        if timeout is None:
            raise Stuck(f"Nothing is left to happen at {loop.now:.6f} s, and these wait:\n{loop.waiting()}")
        loop.jump(timeout)
        return []

    def _wait_for_threads(self) -> list[Any]:
        """Wait in real time until all debts are paid, or for as long as is sensible."""
        loop = self._loop
        begun = time.monotonic()
        while loop._debts:
            waited = time.monotonic() - begun
            if loop._news and waited > GRACE_SECONDS:
                break
            if waited > PATIENCE_SECONDS:
                owed = "\n".join(f"  {future!r}" for future in list(loop._debts))
                raise Overdue(f"Threads have owed these for {PATIENCE_SECONDS} s:\n{owed}\nfor\n{loop.waiting()}")
            # Each end of a debt writes to the loop; so does each piece of news.
            for key, mask in super().select(min(GRACE_SECONDS, PATIENCE_SECONDS) / 4):
                if key.fileobj is not loop._ssock:
                    return [(key, mask)]
                loop._read_from_self()
        loop.hear()
        return []


def run(coroutine: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine to its end on virtual time.

    Raises:
        Stuck: it waits for what can never come.
        Overdue: it waits for a thread that does not end.
    """
    with _debts_by_wrapping(), _debts_by_writing(), asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


@contextmanager
def _debts_by_wrapping() -> Iterator[None]:
    wrap = asyncio.futures.wrap_future

    def wrap_future(future: Any, *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[Any]:
        here = loop or asyncio.get_running_loop()
        if isinstance(here, VirtualLoop) and isinstance(future, Future):
            here.owe(future)
        return wrap(future, loop=loop)

    with (
        mock.patch.object(asyncio, "wrap_future", wrap_future),
        mock.patch.object(asyncio.futures, "wrap_future", wrap_future),
    ):
        yield


@contextmanager
def _debts_by_writing() -> Iterator[None]:
    submit = Writer.submit

    def owing(self: Writer, work: Any) -> Future[Any]:
        future = submit(self, work)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, which is in debt itself or none of ours
            return future
        return loop.owe(future) if isinstance(loop, VirtualLoop) else future

    with mock.patch.object(Writer, "submit", owing):
        yield
