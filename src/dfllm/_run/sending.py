"""Sending: one request through the gate, at the pace, to what its answer means."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from dfllm._core.health import Health
from dfllm._core.retry import TRIES, backoff_seconds, is_kept, may_retry, next_step, stops_run
from dfllm._core.types import Failure, Outcome
from dfllm._run.asks import Answered, Ask, Attempt, Missed
from dfllm._run.gate import Gate
from dfllm._run.pace import Pace, Seat, Ticket, TooLarge

_NO_HEADERS: Mapping[str, str] = {}


class Sender:
    """Sends requests and counts what they say of the provider.

    Args:
        post: one HTTP exchange: body in; an answer out, or why there is none.
        read: the dialect's reading of an answer.
        missed: takes each attempt that was or may have been billed for nothing.
        fatal: hears of an answer at the gate that may end the run, before anyone else gets through.
        pace: where all senders to this provider wait.
        seat: this run's place there.
        gate: where the first request goes alone.
        resend_ambiguous: how often a request is sent again that may have been billed.
        max_tokens: the most output tokens a request asks for.
        seen: hears of each attempt; None where nobody looks.
        uniform: a random number in [0, 1).

    Attributes:
        health: what the attempts say of the provider.
        retries: further attempts by their cause.
        unsure: attempts that may have been billed without an answer.
        unsent: what is not sent any more comes to this; None while requests are sent.
    """

    def __init__(
        self,
        *,
        post: Callable[[bytes], Awaitable[Answered | Failure]],
        read: Callable[[int, Mapping[str, str], bytes], Outcome],
        missed: Callable[[Missed], None],
        fatal: Callable[[Failure], None],
        pace: Pace,
        seat: Seat,
        gate: Gate,
        resend_ambiguous: int,
        max_tokens: int | None = None,
        seen: Callable[[Attempt], None] | None = None,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._post = post
        self._read = read
        self._missed = missed
        self._fatal = fatal
        self._pace = pace
        self._seat = seat
        self._gate = gate
        self._resend_ambiguous = resend_ambiguous
        self._max_tokens = max_tokens
        self._seen = seen
        self._uniform = uniform
        self._clock = asyncio.get_running_loop().time
        self.health = Health()
        self.retries: Counter[str] = Counter()
        self.unsure = 0
        self.unsent: Failure | None = None

    def may_retry(self, ask: Ask, failure: Failure) -> bool:
        """Return whether the question has a try left."""
        return may_retry(failure, unsure=ask.unsure, resend_ambiguous=self._resend_ambiguous)

    async def send(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        """Send a question once, or as often as it takes to reach anybody; return what came of it, and the bytes."""
        try:
            return await (self._paced(ask) if self._gate.is_open else self._first(ask))
        except TooLarge as error:
            return error.failure, None

    def dropped(self, ask: Ask) -> Failure:
        """Return what a question that is dropped in flight comes to; it may have been billed."""
        failure = Failure("Cancelled", "in flight when the run was interrupted", "maybe", tries=ask.tries)
        self.unsure += 1
        self._missed(Missed(ask.key, failure, None, ask.size))
        if self._seen is not None:
            self._seen(Attempt(ask.key, ask.tries, failure, self._clock() - ask.started, ask.content, None))
        return failure

    async def _first(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        """Go alone through the closed gate, or wait for whoever does."""
        gate = self._gate
        seen = gate.fatal_count
        async with gate.lock:
            if self.unsent is not None:
                return self.unsent, None
            if gate.fatal_count > seen:
                return gate.fatal, None
            if not gate.is_open:
                outcome, body = await self._knock(ask)
                gate.is_open = True
                self._judge_gate(ask, outcome)
                return outcome, body
        return await self._paced(ask)

    def _judge_gate(self, ask: Ask, outcome: Outcome) -> None:
        if isinstance(outcome, Failure) and stops_run(outcome, first=True) and not self.may_retry(ask, outcome):
            if outcome.type != "BadRequest":  # which is this run's own trouble; others may ask better
                self._gate.shut(outcome)
            self._fatal(outcome)

    async def _knock(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        while True:
            outcome, body = await self._paced(ask)
            unreached = isinstance(outcome, Failure) and outcome.type == "ConnectFailed"
            if not unreached or ask.tries >= TRIES or self.unsent is not None:
                return outcome, body
            self.retries["ConnectFailed"] += 1
            await asyncio.sleep(backoff_seconds(ask.tries, self._uniform()))

    async def _paced(self, ask: Ask) -> tuple[Outcome, bytes | None]:
        size = ask.weight
        ticket = self._seat.take(size, self._max_tokens) or await self._seat.wait(size, self._max_tokens)
        if self.unsent is not None:
            self._seat.done(ticket, None, _NO_HEADERS, 0.0, ok=False)
            return self.unsent, None
        return await self._exchange(ask, ticket)

    async def _exchange(self, ask: Ask, ticket: Ticket) -> tuple[Outcome, bytes | None]:
        self.health.requests += 1
        if not ask.tries:
            ask.answered = self.health.answered
        ask.tries += 1
        ask.under_way = True
        started = ask.started = self._clock()
        outcome: Outcome | None = None
        answer: Answered | Failure | None = None
        try:
            answer = await self._post(ask.content)
            ask.under_way = False
            if isinstance(answer, Failure):
                outcome = answer
            else:
                outcome = ask.judged(self._read(answer.status, answer.headers, answer.body))
        finally:
            ask.seconds = self._clock() - started
            response = outcome.response if isinstance(outcome, Failure) else outcome
            headers = _NO_HEADERS if answer is None or isinstance(answer, Failure) else answer.headers
            self._seat.done(ticket, response, headers, ask.seconds, ok=response is not None)
        if self._seen is not None:
            self._seen(Attempt(ask.key, ask.tries, outcome, ask.seconds, ask.content, answer))
        body = None if isinstance(answer, Failure) else answer.body
        if not isinstance(outcome, Failure):
            self.health.heard(ask.key, None, first=ask.tries == 1)
            return outcome, body
        return self._judged(ask, outcome, body), body

    def _judged(self, ask: Ask, failure: Failure, body: bytes | None) -> Failure:
        """Count what a failed attempt cost and what it says of the provider; return the failure as the row's."""
        many_timeouts = self.health.heard(ask.key, failure, first=ask.tries == 1)
        if failure.type == "Overloaded" or many_timeouts:
            self._pace.overloaded(slow_down=failure.code == "slow_down")
        if next_step(failure) == "limiter":
            ask.tries -= 1
            if self.unsent is not None:
                return self.unsent  # told to wait, and nobody does any more
        if failure.billing == "maybe":
            ask.unsure += 1
            self.unsure += 1
        if failure.billing in ("paid", "maybe") and not is_kept(failure):
            self._missed(Missed(ask.key, failure, body, ask.size))
            ask.missed, ask.is_reserved = failure, False
        return replace(failure, tries=ask.tries) if ask.tries > 1 else failure
