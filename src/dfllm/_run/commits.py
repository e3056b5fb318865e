"""Commits: ended questions gathered into groups, each on disk before anyone hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from dfllm._core.types import Key, Outcome

#: Answers that wait for one commit, and for how long: enough to share its cost, too short to be felt.
GROUP = 64
_GROUP_SECONDS = 0.003


class Landed(NamedTuple):
    """The end of one question.

    Attributes:
        key: the question's key.
        outcome: its answer or failure.
        body: the provider's bytes, where the outcome is kept.
        seconds: how long the last attempt took.
        size: bytes of its request's body.
    """

    key: Key
    outcome: Outcome
    body: bytes | None
    seconds: float
    size: int


class Commits:
    """Groups on their way to the disk.

    Args:
        save: begins to put a group on disk.
        tell: hears of each group when that has ended, and of what went wrong.
        crash: hears of what broke here.
        ended: called after each group.

    Attributes:
        unsaved: ended questions that are not on disk yet.
    """

    def __init__(
        self,
        save: Callable[[list[Landed]], Future[None]],
        tell: Callable[[list[Landed], BaseException | None], None],
        crash: Callable[[BaseException], None],
        ended: Callable[[int], None],
    ) -> None:
        self._save = save
        self._tell = tell
        self._crash = crash
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._group: list[Landed] = []
        self._committed: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self.unsaved = 0

    def put(self, landed: Landed, full: int) -> asyncio.Future[None]:
        """Join the next group, which is full with so many; return what tells of its commit."""
        committed = self._committed
        self._group.append(landed)
        self.unsaved += 1
        if len(self._group) >= full:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_GROUP_SECONDS, self._flush)
        return committed

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        self.unsaved -= len(group)
        if not committed.done():
            committed.set_result(None)
        try:
            self._tell(group, error)
        except BaseException as broken:  # noqa: BLE001  # as above
            self._crash(broken)
        finally:
            self._ended(len(group))
