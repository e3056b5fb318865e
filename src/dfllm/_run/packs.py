"""Packs: many texts in one request, each of which has its own question, claim, answer on disk and share of the bill.

To `Live` a pack is one question. Here texts are gathered into packs on their way in, and what a pack came to is cut
into what each of its texts came to on the way out, before anything is on disk. A pack that is refused for what is in
it goes round again as two halves, down to the one text that is to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from dfllm._core.retry import TRIES
from dfllm._core.types import Failure, Key, Outcome
from dfllm._core.vectors import Vector, Vectors, ordered, packed, shared_out
from dfllm._run.asks import Ask, Missed
from dfllm._run.commits import Landed
from dfllm._run.live import Live
from dfllm._wire.embeddings import Packing

#: How long the last pack waits for more texts, where nobody says that there are none.
_HOLD_SECONDS = 0.05
#: What a provider says of a request, and not of who asks: one of its texts may be to blame.
_BLAMED = frozenset({"BadRequest", "ContextTooLong", "TooLarge", "ContentFiltered"})
#: So many texts refused on their own, and none taken: then it is the request that is wrong.
_ALONE = 2


class Pack(Ask):
    """Some texts on their way in one request; its key is that of the first.

    Attributes:
        members: the texts' own questions, whose contents are the texts as they stand in the body.
        sizes: bytes of each text.
        owes: whether an attempt was or may have been billed for nothing since the last reserve.
        half_of: what the two halves of one that was refused have in common; None for one that was not.
    """

    __slots__ = ("_packing", "half_of", "members", "owes", "sizes")

    def __init__(self, members: Sequence[Ask], packing: Packing) -> None:
        texts = [member.messages[-1].content for member in members]
        super().__init__(members[0].key, packing.body(texts))
        self._packing = packing
        self.members = members
        self.sizes = [len(text.encode()) for text in texts]
        self.owes = False
        self.half_of: _Halves | None = None

    def judged(self, outcome: Outcome) -> Outcome:
        """Return what the answer means, held against what was asked."""
        if not isinstance(outcome, Vectors):
            return outcome
        return ordered(outcome, len(self.members), self._packing.dimensions)

    def split(self, middle: int) -> Pack:
        """Keep so many texts from the first on, and return the others as a pack of their own."""
        other = Pack(self.members[middle:], self._packing)
        other.unsure, other.owes, other.missed, other.is_reserved = self.unsure, self.owes, self.missed, not self.owes
        self.members, self.sizes = self.members[:middle], self.sizes[:middle]
        self.content = self._packing.body([member.messages[-1].content for member in self.members])
        self.half_of = other.half_of = _Halves(max(len(self.members), len(other.members)))
        return other


class _Halves:
    """Two packs that were one.

    Attributes:
        texts: how many the larger of them has.
        taken: how many of them were answered.
    """

    __slots__ = ("taken", "texts")

    def __init__(self, texts: int) -> None:
        self.texts = texts
        self.taken = 0


class Packs(Live):
    """Sends texts in packs until each has an outcome.

    Args:
        packing: how texts are put together.
        save: begins to put ended texts on disk.
        tell: hears of them when that has ended.
        missed: takes each text whose attempt was or may have been billed for nothing.
        afford: reserves the cost of one more attempt for one text; None where there is no budget.
        **live: what else `Live` takes.
    """

    def __init__(
        self,
        *,
        packing: Packing,
        save: Callable[[list[Landed]], Future[None]],
        tell: Callable[[list[Landed], BaseException | None], None],
        missed: Callable[[Missed], None],
        afford: Callable[[Ask], Awaitable[bool]] | None = None,
        **live: Any,
    ) -> None:
        live["mend"] = self._halve
        super().__init__(
            save=self._save_texts,
            tell=self._tell_texts,
            missed=self._miss_texts,
            afford=None if afford is None else self._afford_texts,
            **live,
        )
        self._packing = packing
        self._most = packing.texts
        self._save_each, self._tell_each, self._miss_each, self._afford_each = save, tell, missed, afford
        self._packs: dict[Key, Pack] = {}
        self._landed: dict[int, list[Landed]] = {}
        self._filling: list[Ask] = []
        self._filled = 0
        self._holding: asyncio.TimerHandle | None = None
        self._alone = 0

    # In.

    def add(self, asks: Sequence[Ask]) -> None:
        """Take texts to send; the last of them may wait a moment for more."""
        for ask in asks:
            size = len(ask.content)
            if self._filling and self._filled + size > self._packing.size:
                self._seal()
            self._filling.append(ask)
            self._filled += size
            if len(self._filling) >= self._most:
                self._seal()
        if self.stopped is not None:
            self._seal()
        elif self._filling and self._holding is None:
            self._holding = asyncio.get_running_loop().call_later(_HOLD_SECONDS, self._seal)

    async def finish(self) -> None:
        """Take no more texts and wait until all have landed."""
        self._seal()
        await super().finish()

    def stop(self, cause: Failure, unsent: Failure | None = None) -> None:
        """Send nothing more, as `Live.stop`; the texts that waited for more are not sent either."""
        super().stop(cause, unsent)
        self._seal()

    def _seal(self) -> None:
        """Send what has been gathered."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        if self._filling:
            pack = Pack(self._filling, self._packing)
            self._filling, self._filled = [], 0
            self._send(pack)

    def _send(self, pack: Pack) -> None:
        self._packs[pack.key] = pack
        super().add([pack])

    # Halves.

    def _halve(self, ask: Ask, outcome: Outcome, body: bytes | None) -> bytes | None:
        """Return the body of the first half of a pack that was refused for what is in it, and send the other half."""
        assert isinstance(ask, Pack)
        if not isinstance(outcome, Failure):
            self._learn(ask)
            return None
        if outcome.type not in _BLAMED or outcome.billing != "free" or (outcome.again and ask.tries < TRIES):
            return None
        if len(ask.members) == 1:
            self._alone += outcome.type == "BadRequest"
            return None
        self.retries[outcome.type] += 2
        # While nothing was ever taken, one text alone tells soonest whether it is the texts or the whole request.
        self._send(ask.split(len(ask.members) // 2 if self.succeeded or self.proven else 1))
        return ask.content

    def _learn(self, pack: Pack) -> None:
        """Send fewer at a time, if it was not one text that was to blame but their number."""
        halves = pack.half_of
        if halves is not None:
            halves.taken += 1
            if halves.taken == 2:
                self._most = max(1, min(self._most, halves.texts))

    def _consider_stop(self, failure: Failure) -> None:
        # A text that is refused on its own says nothing of the others, unless none was ever taken.
        one_to_blame = self.succeeded or self.proven or self._alone < _ALONE
        if failure.type != "BadRequest" or not one_to_blame:
            super()._consider_stop(failure)

    # Out.

    def _save_texts(self, group: list[Landed]) -> Future[None]:
        each = self._landed[id(group)] = [one for landed in group for one in self._cut(landed)]
        return self._save_each(each)

    def _tell_texts(self, group: list[Landed], error: BaseException | None) -> None:
        self._tell_each(self._landed.pop(id(group), []), error)

    def _cut(self, landed: Landed) -> list[Landed]:
        """Return what each text of a pack came to."""
        pack = self._packs.pop(landed.key)
        outcome, seconds = landed.outcome, landed.seconds
        if isinstance(outcome, Vectors):
            vectors = shared_out(outcome, pack.sizes)
            return [
                self._received(member, vector, seconds, whole)
                for member, vector, whole in zip(pack.members, vectors, _finite(vectors), strict=True)
            ]
        return [
            Landed(member.key, outcome, None, seconds, len(member.content) if landed.size else 0)
            for member in pack.members
        ]

    def _received(self, ask: Ask, vector: Vector, seconds: float, is_finite: bool) -> Landed:  # noqa: FBT001  # one of a row
        size = len(ask.content)
        if is_finite:
            return Landed(ask.key, vector, packed(vector), seconds, size)
        failure = Failure("BadResponse", "a vector with NaN or infinity", "paid")
        self._miss_each(Missed(ask.key, failure, None, size))
        return Landed(ask.key, failure, None, seconds, size)

    def _miss_texts(self, missed: Missed) -> None:
        pack = self._packs[missed.key]
        pack.owes = True
        # What came back for several is noted for none: purging one text must leave no byte of it under another's key.
        body = missed.body if len(pack.members) == 1 else None
        for member in pack.members:
            self._miss_each(Missed(member.key, missed.failure, body, len(member.content)))

    async def _afford_texts(self, ask: Ask) -> bool:
        """Reserve one more attempt for each text, where the last was or may have been billed."""
        assert isinstance(ask, Pack)
        assert self._afford_each is not None
        if ask.owes:
            for member in ask.members:
                if not await self._afford_each(member):
                    return False
        ask.owes, ask.is_reserved = False, True
        return True


def _finite(vectors: Sequence[Vector]) -> list[bool]:
    """Return for each vector whether all its numbers are finite."""
    numbers = np.frombuffer(b"".join([one.vector for one in vectors]), "<f4").reshape(len(vectors), -1)
    made: list[bool] = np.isfinite(numbers).all(axis=1).tolist()
    return made
