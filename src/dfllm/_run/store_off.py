"""The store of a call that is to leave nothing at rest: it keeps no answer, and passes on amounts alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from dfllm._core.budget import Cap
from dfllm._run.store import Attempt, Claimed, Entry, Store, Stored
from dfllm._run.store_ledger import Began, Ended, Room
from dfllm._run.store_rows import Spend

T = TypeVar("T")
#: What stands for the store's path where there is none.
NOWHERE = "nowhere"


class Off:
    """What an engine asks of a store, for ``cache="off"``: every question is new, and equal rows are the engine's care.

    Under a cap the ledger has claims with what they reserve, and so hashes of questions; without one, not even those.

    Args:
        ledger: the store that notes amounts; None where it cannot be opened.
    """

    def __init__(self, ledger: Store | None) -> None:
        self._ledger = ledger
        self._capped = False

    def known(self, keys: Sequence[bytes], *, since: float = 0.0) -> list[Stored | None]:
        """Know nothing."""
        return [None] * len(keys)

    def claim(
        self,
        keys: Sequence[bytes],
        run: str,
        *,
        since: float = 0.0,
        reserves: Sequence[int] = (),
        cap: Cap | None = None,
    ) -> Future[Claimed]:
        """Give the run all it asks for, as far as it fits under the cap."""
        if self._ledger is None or cap is None:
            return done(Claimed(list(dict.fromkeys(keys)), [], []))
        self._capped = True
        # No answer that the store may have is young enough.
        return self._ledger.claim(keys, run, since=math.inf, reserves=reserves, cap=cap)

    def reserve(self, key: bytes, run: str, amount: int, cap: Cap) -> Future[Room | None]:
        """Reserve for one more attempt, as `Store.reserve` does."""
        return done(None) if self._ledger is None else self._ledger.reserve(key, run, amount, cap)

    def save(
        self, entries: Sequence[Entry], run: str, *, free: Sequence[bytes] = (), spends: Sequence[Spend] = ()
    ) -> Future[None]:
        """Note what was paid, without its question, and let go of claims."""
        if self._ledger is None:
            return done(None)
        bare = [spend._replace(key=None) for spend in spends]
        claimed = [*(entry.key for entry in entries), *free] if self._capped else []
        return self._ledger.save([], run, free=claimed, spends=bare) if bare or claimed else done(None)

    def journal(self, attempts: Sequence[Attempt], spends: Sequence[Spend] = ()) -> Future[None]:
        """Note what may have been paid; not what came back."""
        if self._ledger is None or not spends:
            return done(None)
        # Where there is a claim, with its key: what was reserved is spent now.
        return self._ledger.journal([], spends if self._capped else [spend._replace(key=None) for spend in spends])

    def begin(self, began: Began) -> Future[None]:
        """Enter a run into the ledger."""
        return done(None) if self._ledger is None else self._ledger.begin(began)

    def conclude(self, ended: Ended) -> Future[None]:
        """Enter how a run ended into the ledger."""
        return done(None) if self._ledger is None else self._ledger.conclude(ended)

    def end(self, run: str) -> None:
        """Let go of what a run claimed that could not release it."""
        if self._ledger is not None:
            self._ledger.end(run)


def done(result: T) -> Future[T]:
    """Return a future that is set."""
    future: Future[T] = Future()
    future.set_result(result)
    return future


async def heard(future: Future[T]) -> T:
    """Wait for a future of the store's thread, on an event loop."""
    return await asyncio.wrap_future(future)
