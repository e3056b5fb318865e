"""The desk: a request's way from its bytes to its reply, whichever door it came through, with its place on the bill."""

import hashlib
import hmac
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from . import openai, openai_faults
from .answers import answers_to
from .asks import Ask
from .bill import Bill
from .ledger import Line
from .limiter import Limiter, RateLimits
from .manners import Manners
from .prefixes import Prefixes
from .replies import Reply
from .schemas import BadSchema
from .wires import NOTHING, OPENAI, Wire


class Served(NamedTuple):
    """What a request has come to.

    Attributes:
        reply: what goes back.
        seconds: how long it takes until it does.
    """

    reply: Reply
    seconds: float


class _Reserve(NamedTuple):
    """Tokens that a request has taken from a limiter, and is to settle."""

    limiter: Limiter
    tokens: int


class Desk:
    """Takes requests in: checks the key, reads, counts attempts, limits, lets go wrong, answers and charges.

    It neither waits nor sends; that is for the doors.

    Args:
        manners: how it behaves.
        bill: what it charges to.
        clock: seconds that only go up. Outages and limits begin at the moment it shows now.
        wall: seconds since 1970, for what names a date.
    """

    def __init__(
        self,
        manners: Manners,
        bill: Bill,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.manners = manners
        self.bill = bill
        self.wall = wall
        self._clock = clock
        self._born = clock()
        self._limits: RateLimits | None = None
        self._limiters: dict[str, Limiter] = {}
        self.prefixes = Prefixes()
        self._serial = itertools.count(1)

    @property
    def outage(self) -> str | None:
        """What every request meets now; None if there is no outage."""
        return self.manners.outage(self._clock() - self._born) if self.manners.outages else None

    @contextmanager
    def serve(
        self, raw: bytes, authorization: str, wire: Wire = OPENAI, given: Mapping[str, str] = NOTHING
    ) -> Iterator[Served]:
        """Take in a request for an answer and charge it; the call is over where the context ends.

        Whoever hangs up meanwhile pays all the same.

        Args:
            raw: its body.
            authorization: its header of that name, empty if it has none.
            wire: whose words it speaks.
            given: what it says beside its body, such as a version.
        """
        ask, reply = None, None
        try:
            self.check_key(authorization)
            ask = wire.read(raw, given)
        except openai.Rejected as rejected:
            reply = wire.say(rejected.reply)
        request_hash = ask.hash if ask is not None else hashlib.sha256(raw).hexdigest()
        attempt = self.bill.enter(request_hash)
        reserve = None
        try:
            if ask is not None:
                ask = replace(ask, cached_tokens=self.prefixes.tokens_of(ask.marks)) if ask.marks else ask
                reply, reserve = self._reply_to(ask, attempt, wire)
                if reply.billed:
                    self.prefixes.keep(ask.marks)
            assert reply is not None
            status = 0 if reply.delivery == "reset" else reply.status
            self.bill.charge(
                Line(request_hash, status, 1, int(reply.billed), reply.prompt_tokens, reply.completion_tokens)
            )
            yield Served(reply, self.manners.latency(request_hash, attempt))
        finally:
            if reserve is not None and reply is not None:
                used = reply.prompt_tokens + reply.completion_tokens
                reserve.limiter.settle(reserve.tokens, min(used, reserve.tokens))
            self.bill.leave()

    def check_key(self, authorization: str) -> None:
        """Turn away who has not the right key.

        Raises:
            Rejected: with a 401.
        """
        if self.manners.key is None:
            return
        scheme, _, presented = authorization.partition(" ")
        given = presented.encode("utf-8", "surrogateescape")  # headers are bytes that need not be text
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self.manners.key.encode()):
            raise openai.Rejected(openai.bad_key(presented))

    def headers(self, seconds: float = 0.0, wire: Wire = OPENAI) -> dict[str, str]:
        """Return the headers that every response on a wire has, one that took so long."""
        return {"server": "simulator", **wire.headers(f"req_{next(self._serial):032x}", seconds)}

    def _reply_to(self, ask: Ask, attempt: int, wire: Wire) -> tuple[Reply, _Reserve | None]:
        """Answer a question, refuse it, or let it go wrong, in the words of its wire."""
        reply, reserve = self._answer(ask, attempt, wire)
        return wire.say(reply), reserve

    def _answer(self, ask: Ask, attempt: int, wire: Wire) -> tuple[Reply, _Reserve | None]:
        try:
            answers = answers_to(ask, self.manners.seed, attempt)
        except BadSchema as error:
            text = f"Invalid schema for response_format: {error}"
            return openai.error(400, text, code="invalid_json_schema"), None
        body = openai.completion(ask, answers, attempt, self.wall())
        faults = self.manners.faults
        outage = self.outage
        if outage is not None:
            return openai_faults.go_wrong(outage, ask, body, faults), None
        limiter = self.limiter_of_now(wire)
        if limiter is None:
            return self._good_or_not(ask, attempt, body), None
        answer_tokens = ask.choices * ask.allowance if ask.allowance else body["usage"]["completion_tokens"]
        reserve = _Reserve(limiter, ask.prompt_tokens + answer_tokens)
        verdict = limiter.enter(reserve.tokens)
        if not verdict.admitted:
            return wire.limited(ask, verdict), None
        reply = self._good_or_not(ask, attempt, body)
        return replace(reply, headers={**verdict.headers, **reply.headers}), reserve

    def _good_or_not(self, ask: Ask, attempt: int, body: openai.Body) -> Reply:
        faults = self.manners.faults
        fault = faults.choose(ask.hash, attempt, ask.text)
        return openai.good(body) if fault is None else openai_faults.go_wrong(fault, ask, body, faults)

    def limiter_of_now(self, wire: Wire) -> Limiter | None:
        """Return what keeps the limits that a wire has now; None where it has none."""
        limits = self.manners.limits
        if limits is not self._limits:
            self._limits = limits
            self._limiters.clear()
        if limits is None:
            return None
        limiter = self._limiters.get(wire.name)
        if limiter is None:
            named = limits if limits.headers != "openai" else replace(limits, headers=wire.limit_headers)
            limiter = self._limiters[wire.name] = Limiter(named, self._clock, self.wall)
        return limiter
