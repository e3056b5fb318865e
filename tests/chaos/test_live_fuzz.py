"""One sender's life, made up: answers and failures at random, stops, abandons and cancelled workers at any moment."""

import asyncio
import random
from collections import Counter
from concurrent.futures import Future
from typing import ClassVar

import pytest
from tests import virtual

from dfllm._core.errors import StoreError
from dfllm._core.types import Failure, Response
from dfllm._run.asks import Ask
from dfllm._run.gate import Gate
from dfllm._run.live import Live
from dfllm._run.pace import Pace

#: Seconds of virtual time; whoever has not ended by then never will.
FOR_EVER = 100_000.0
GOOD = Response("good")
OUTCOMES = {
    "good": GOOD,
    "refused": Failure("Refused", "no", "paid", 200, response=GOOD),
    "limited": Failure("RateLimited", "slower", "free", 429, wait_seconds=4.0),
    "limited, no word how long": Failure("RateLimited", "slower", "free", 429),
    "limited for the day": Failure("RateLimited", "tomorrow", "free", 429, wait_seconds=70_000.0),
    "overloaded": Failure("Overloaded", "busy", "free", 529),
    "broken": Failure("ServerError", "broken", "free", 500),
    "bad request": Failure("BadRequest", "what?", "free", 400),
    "too long": Failure("ContextTooLong", "too long", "free", 400),
    "bad key": Failure("AuthFailed", "who?", "free", 401),
    "late": Failure("Timeout", "late", "maybe"),
    "lost": Failure("ConnectionLost", "lost", "maybe"),
    "unreached": Failure("ConnectFailed", "nobody there", "free"),
    "blank": Failure("EmptyResponse", "blank", "paid", 200, response=GOOD),
}
#: How likely each is at most; the rest is good.
WEIGHTS = (10, 1, 2, 1, 0.02, 2, 2, 0.3, 0.5, 0.05, 1, 1, 1, 1)


class Answer:
    """An HTTP answer."""

    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, status, body):
        self.status = status
        self.body = body


class Life:
    """One sender with everything around it at random.

    Attributes:
        added: the questions.
        landed: how often each has ended.
        dropped: how many requests were dropped in flight.
        journalled: how many of those were said to be.
    """

    def __init__(self, seed):
        self.dice = dice = random.Random(f"life {seed}")
        self.weights = [10, *(weight * dice.random() ** 2 for weight in WEIGHTS[1:])]
        self.latency = dice.choice([0.0, 0.001, 0.5, 30.0])
        self.commit = dice.choice([0.0, 0.0, 0.001, 0.5])
        self.concurrency = dice.choice([1, 2, 5, 20])
        self.lots = dice.choice([1, 3, 8])
        self.lot = dice.choice([1, 3, 10, 40])
        self.meddles = dice.choice([0, 0, 1, 2, 20])
        self.mends = dice.random() < 0.3
        self.added, self.landed, self.saved = [], Counter(), set()
        self.in_flight = self.most_in_flight = self.dropped = self.journalled = 0
        self.live = None

    async def post(self, content):
        """Answer, fail, or be dropped in the middle."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.dice.random() < 0.8:
                await asyncio.sleep(self.latency * self.dice.random())
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        finally:
            self.in_flight -= 1
        kind = self.dice.choices(list(OUTCOMES), self.weights)[0]
        outcome = OUTCOMES[kind]
        if isinstance(outcome, Failure) and outcome.status is None:
            return outcome
        return Answer(200, kind.encode())

    def read(self, status, headers, body):
        """Say what an answer means."""
        return OUTCOMES[body.decode()]

    def save(self, group):
        """Put a group on disk, now or in a while, or fail to."""
        future = Future()
        future.set_running_or_notify_cancel()

        def end():
            if self.dice.random() < 0.003:
                future.set_exception(StoreError("the disk is full"))
                return
            self.saved.update(landed.key for landed in group)
            future.set_result(None)

        if self.dice.random() < 0.3:
            end()
        else:
            asyncio.get_running_loop().call_later(self.commit * self.dice.random(), end)
        return future

    def tell(self, group, error):
        """Hear of a group that has ended."""
        for landed in group:
            assert error is not None or landed.key in self.saved
            self.landed[landed.key] += 1
        if error is not None or self.dice.random() < 0.005:
            self.live.stop(Failure("StoreError", "full") if error else Failure("Cancelled", "enough"))

    def miss(self, missed):
        """Hear of an attempt that gave nothing and may have been billed."""
        self.journalled += missed.failure.type == "Cancelled"

    def mend(self, ask, outcome, body):
        """Ask for a better answer, sometimes, and once."""
        if ask.repairs or isinstance(outcome, Failure) or self.dice.random() < 0.9:
            return None
        ask.repairs += 1
        self.saved.add(ask.key)
        return ask.content + b", better"

    def meddle(self):
        """Interfere as users, loops and bugs do."""
        what = self.dice.random()
        if what < 0.3:
            self.live.stop(Failure("Cancelled", "interrupted"), self.dice.choice([None, Failure("Cancelled", "so")]))
        elif what < 0.5:
            self.live.stop(Failure("Cancelled", "interrupted"))
            asyncio.get_running_loop().call_later(10.0 * self.dice.random(), self.live.abandon)
        elif what < 0.6:
            self.live.abandon()
        else:
            for task in [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_work"]:
                if self.dice.random() < 0.3:
                    task.cancel()

    async def pass_by(self):
        """Live it to its end."""
        loop = asyncio.get_running_loop()
        pace = Pace(clock=loop.time, uniform=self.dice.random, rule=self.dice.choice(["none", "openai"]))
        self.live = Live(
            post=self.post,
            read=self.read,
            save=self.save,
            tell=self.tell,
            missed=self.miss,
            pace=pace,
            seat=pace.join(concurrency=self.concurrency),
            gate=Gate(),
            mend=self.mend if self.mends else None,
            resend_ambiguous=self.dice.choice([0, 1]),
            patience=self.dice.choice([0.0, 60.0, 7200.0]),
            uniform=self.dice.random,
        )
        for _ in range(self.meddles):
            loop.call_later(self.dice.random() ** 2 * 20.0, self.meddle)
        for lot in range(self.lots):
            await self.live.room()
            if self.dice.random() < 0.5:
                await asyncio.sleep(self.latency * self.dice.random())
            asks = [Ask(b"%020d" % (100 * lot + number), b"%d-%d" % (lot, number)) for number in range(self.lot)]
            self.added += [ask.key for ask in asks]
            self.live.add(asks)
            if self.meddles and self.dice.random() < 0.2:
                self.meddle()
        await self.live.finish()
        self.live.seat.leave()


async def lived(seed):
    """Live one life, and see that it ends with each question landed once."""
    life = Life(seed)
    await asyncio.wait_for(life.pass_by(), FOR_EVER)
    for _ in range(3):
        await asyncio.sleep(0)  # who has just ended leaves
    assert dict.fromkeys(life.added, 1) == life.landed
    assert life.most_in_flight <= life.concurrency
    assert 0 == life.in_flight
    assert life.dropped == life.journalled
    assert [] == [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.mark.parametrize("part", range(4))
def test_every_question_lands_once(seed, size, part):
    """Whatever happens when, nothing hangs, nothing is lost, and nobody is left behind."""
    for number in range(part, size("lives"), 4):
        name = f"{seed}:{number}"
        try:
            virtual.run(lived(name))
        except BaseException as error:
            error.add_note(f"life {name}")
            raise
