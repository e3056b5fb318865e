"""The private event loop: one daemon thread a process, which every run shares and no other loop can disturb.

A notebook's own running loop, an application's or none: callers wait on a future, never on our loop. After a fork the
child makes a new one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SLICE_SECONDS = 0.1
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """Return the private loop, its thread started if need be."""
    global _loop  # the one thing a process has one of
    with _lock:
        if _loop is None:
            made = asyncio.new_event_loop()
            ready = threading.Event()
            made.call_soon(ready.set)
            threading.Thread(target=made.run_forever, name="dfllm-loop", daemon=True).start()
            ready.wait()
            _loop = made
        return _loop


def _forget() -> None:
    global _loop, _lock  # a fork copies neither the thread nor a lock's owner
    _loop = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def submit(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start a coroutine on the private loop and return at once."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


def complete(coroutine: Coroutine[Any, Any, T], interrupt: Callable[[], None], abandon: Callable[[], None]) -> T:
    """Wait for a coroutine on the private loop, keeping Ctrl-C alive.

    Args:
        coroutine: what to wait for; it must end by itself soon after `interrupt`, and at once after `abandon`.
        interrupt: called in this thread at the first Ctrl-C.
        abandon: called in this thread at the second.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the coroutine has ended.
    """
    future = submit(coroutine)
    pressed = 0
    while True:
        try:
            # In slices: a plain wait would not hear Ctrl-C on every platform.
            done, _ = concurrent.futures.wait([future], timeout=_SLICE_SECONDS)
            if not done:
                continue
            if pressed:
                future.exception()  # the interrupt is the news; what came of the run is in its record
                raise KeyboardInterrupt
            return future.result()
        except KeyboardInterrupt:
            if future.done():
                raise
            pressed += 1
            (interrupt if pressed == 1 else abandon)()


async def awaited(coroutine: Coroutine[Any, Any, T], interrupt: Callable[[], None], abandon: Callable[[], None]) -> T:
    """Await a coroutine that runs on the private loop from any other loop; being cancelled is as Ctrl-C is."""
    future = asyncio.wrap_future(submit(coroutine))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        interrupt()
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            abandon()
            await asyncio.wait([future])
        except Exception:  # noqa: BLE001, S110  # the cancellation is the news; what came of the run is in its record
            pass
        raise
