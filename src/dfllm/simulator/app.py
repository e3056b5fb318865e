"""The web application: which path leads where, who is let in, and a request's way from its body to its reply."""

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from aiohttp import web

from . import luck, openai, openai_faults, openai_read
from .answers import answers_to
from .asks import Ask
from .bill import Bill
from .delivery import deliver
from .faults import NO_FAULTS, Faults
from .ledger import Line
from .replies import Reply, packed
from .schemas import BadSchema

MOST_BYTES = 64 * 2**20

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class Manners:
    """How a simulator behaves; may be changed while it runs, for the requests to come.

    Attributes:
        latency_seconds: how long an answer takes.
        latency_spread: by which share of it an answer may be faster or slower, by its hash and attempt.
        faults: what goes wrong.
        seed: another seed, other answers.
        key: the only API key let in; None lets everyone in.
    """

    latency_seconds: float = 0.0
    latency_spread: float = 0.0
    faults: Faults = NO_FAULTS
    seed: int = 0
    key: str | None = None

    def latency(self, request_hash: str, attempt: int) -> float:
        """Return how long this attempt takes."""
        swing = 2 * luck.share(self.seed, request_hash, attempt, "latency") - 1
        return self.latency_seconds * (1 + self.latency_spread * swing)


def application(manners: Manners, bill: Bill, hosts: frozenset[str]) -> web.Application:
    """Return the application.

    Args:
        manners: how it behaves.
        bill: what it charges to.
        hosts: values of the Host header it answers to, in lower case. Another one, or an Origin elsewhere, means that a
            page in a browser is asking, and is refused.
    """
    return _Desk(manners, bill, hosts).application()


class _Desk:
    def __init__(self, manners: Manners, bill: Bill, hosts: frozenset[str]) -> None:
        self.manners = manners
        self.bill = bill
        self.hosts = hosts
        self.serial = itertools.count(1)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.guard], client_max_size=MOST_BYTES)
        app.router.add_post("/v1/chat/completions", self.completions)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/v1/models/{id}", self.model)
        app.router.add_get("/_bill", self.show_bill)
        app.router.add_get("/_health", self.health)
        app.router.add_post("/_reset", self.reset)
        return app

    @web.middleware
    async def guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let in who asks for this host, and say what went wrong in the vendor's way."""
        origin = request.headers.get("Origin")
        named = [request.headers.get("Host", "")] + ([origin.partition("://")[2]] if origin is not None else [])
        if not self.hosts.issuperset(map(str.lower, named)):
            refusal = openai.error(403, "The simulator answers to loopback names only.", code="host_not_allowed")
            return await self.send(request, refusal)
        try:
            return await handler(request)
        except openai.Rejected as rejected:
            return await self.send(request, rejected.reply)
        except web.HTTPException as error:
            messages = {
                404: f"Invalid URL ({request.method} {request.path})",
                405: f"Not allowed to {request.method} on {request.path}.",
                413: f"The request is larger than {MOST_BYTES} bytes.",
            }
            return await self.send(request, openai.error(error.status, messages.get(error.status, error.reason)))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            self.check_key(request)
            ask = openai_read.read(raw)
        except openai.Rejected as rejected:
            refusal = rejected.reply
            return await self.served(request, hashlib.sha256(raw).hexdigest(), lambda attempt: refusal)
        return await self.served(request, ask.hash, lambda attempt: self.reply_to(ask, attempt))

    async def served(
        self, request: web.Request, request_hash: str, reply_to: Callable[[int], Reply]
    ) -> web.StreamResponse:
        """Charge a call, wait as long as an answer takes, and deliver. Whoever hangs up meanwhile pays all the same."""
        attempt = self.bill.enter(request_hash)
        try:
            reply = reply_to(attempt)
            status = 0 if reply.delivery == "reset" else reply.status
            self.bill.charge(
                Line(request_hash, status, 1, int(reply.billed), reply.prompt_tokens, reply.completion_tokens)
            )
            seconds = self.manners.latency(request_hash, attempt)
            if seconds:
                await asyncio.sleep(seconds)
            return await self.send(request, reply, seconds)
        finally:
            self.bill.leave()

    def reply_to(self, ask: Ask, attempt: int) -> Reply:
        """Answer a question, or let it go wrong."""
        try:
            answers = answers_to(ask, self.manners.seed)
        except BadSchema as error:
            return openai.error(400, f"Invalid schema for response_format: {error}", code="invalid_json_schema")
        body = openai.completion(ask, answers, attempt)
        faults = self.manners.faults
        fault = faults.choose(ask.hash, attempt, ask.text)
        return openai.good(body) if fault is None else openai_faults.go_wrong(fault, ask, body, faults)

    async def models(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        return await self.send(request, openai.models())

    async def model(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        return await self.send(request, openai.model(request.match_info["id"]))

    async def show_bill(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        totals, entries = await asyncio.to_thread(lambda: (self.bill.totals(), self.bill.entries()))
        shown = {request_hash: asdict(entry) for request_hash, entry in entries.items()}
        return await self.send(request, Reply(200, packed({"totals": totals, "requests": shown})))

    async def health(self, request: web.Request) -> web.StreamResponse:
        return await self.send(request, Reply(200, packed({"status": "ok"})))

    async def reset(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        await asyncio.to_thread(self.bill.reset)
        return await self.send(request, Reply(200, packed({"status": "reset"})))

    def check_key(self, request: web.Request) -> None:
        if self.manners.key is None:
            return
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        given = presented.encode("utf-8", "surrogateescape")  # headers are bytes that need not be text
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self.manners.key.encode()):
            raise openai.Rejected(openai.bad_key(presented))

    async def send(self, request: web.Request, reply: Reply, seconds: float = 0.0) -> web.StreamResponse:
        headers = {
            **openai.HEADERS,
            "server": "simulator",
            "x-request-id": f"req_{next(self.serial):032x}",
            "openai-processing-ms": str(1 + round(1000 * seconds)),
        }
        return await deliver(request, reply, headers, self.manners.faults.stall_seconds)
