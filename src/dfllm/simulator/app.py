"""The web application: which path leads where, and who is let in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from types import ModuleType

from aiohttp import web

from . import anthropic, gemini, openai, sigv4
from .bill import Bill
from .delivery import deliver
from .desk import Desk
from .manners import Manners
from .replies import Reply, packed
from .vector_desk import VectorDesk
from .vector_wires import PATHS, VectorWire
from .wires import ANTHROPIC, CONVERSE, GEMINI, NOTHING, ON_VERTEX, OPENAI, RESPONSES, Wire

MOST_BYTES = 128 * 2**20

#: Where Google's cloud keeps the models of each maker.
_PUBLISHERS = "/projects/{project}/locations/{location}/publishers/"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(manners: Manners, bill: Bill, hosts: frozenset[str]) -> web.Application:
    """Return the application.

    Args:
        manners: how it behaves.
        bill: what it charges to.
        hosts: values of the Host header it answers to, in lower case. Another one, or an Origin elsewhere, means that a
            page in a browser is asking, and is refused.
    """
    return _Door(Desk(manners, bill), hosts).application()


class _Door:
    def __init__(self, desk: Desk, hosts: frozenset[str]) -> None:
        self.desk = desk
        self.bill = desk.bill
        self.hosts = hosts

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self.guard], client_max_size=MOST_BYTES)
        app.router.add_post("/v1/chat/completions", self.completions)
        app.router.add_post("/v1/messages", self.messages)
        app.router.add_post("/v1/responses", self.responses)
        for version in ("/v1", "/v1beta"):  # Google's has both
            app.router.add_post(version + "/models/{id}:generateContent", self.content)
            app.router.add_get(version + "/models", self.models)
            app.router.add_get(version + "/models/{id}", self.model)
        for version in ("/v1", "/v1beta1"):
            app.router.add_post(version + _PUBLISHERS + "google/models/{id}:generateContent", self.content)
        app.router.add_post("/v1" + _PUBLISHERS + "anthropic/models/{id}:rawPredict", self.on_vertex)
        app.router.add_post("/model/{id}/converse", self.converse)
        for path, wire in PATHS.items():
            app.router.add_post(path, partial(self.vectors, wire))
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
            return await self.say(request, refusal)
        try:
            return await handler(request)
        except openai.Rejected as rejected:
            return await self.say(request, rejected.reply)
        except web.HTTPException as error:
            messages = {
                404: f"Invalid URL ({request.method} {request.path})",
                405: f"Not allowed to {request.method} on {request.path}.",
                413: f"The request is larger than {MOST_BYTES} bytes.",
            }
            return await self.say(request, openai.error(error.status, messages.get(error.status, error.reason)))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, OPENAI)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, ANTHROPIC, {"version": request.headers.get("anthropic-version", "")})

    async def responses(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, RESPONSES)

    async def content(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, GEMINI, {"model": request.match_info["id"]})

    async def on_vertex(self, request: web.Request) -> web.StreamResponse:
        # Claude's models are told from others by their name.
        return await self.answer(request, ON_VERTEX, {"model": request.match_info["id"].removeprefix("claude-")})

    async def converse(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, CONVERSE, {"model": request.match_info["id"]})

    async def answer(self, request: web.Request, wire: Wire, given: Mapping[str, str] = NOTHING) -> web.StreamResponse:
        raw = await request.read()
        with self.desk.serve(raw, self.authorization(request, raw), wire, given) as served:
            if served.seconds:
                await asyncio.sleep(served.seconds)
            return await self.send(request, served.reply, served.seconds, wire)

    async def vectors(self, wire: VectorWire, request: web.Request) -> web.StreamResponse:
        given = {"model": request.match_info.get("id", ""), "many": "batch" if ":batch" in request.path else ""}
        raw = await request.read()
        with VectorDesk(self.desk).serve(raw, _authorization(request), wire, given) as served:
            if served.seconds:
                await asyncio.sleep(served.seconds)
            return await self.send(request, served.reply, served.seconds, wire.wire)

    async def models(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        return await self.send(request, _LISTS[_wire_of(request).name].models())

    async def model(self, request: web.Request) -> web.StreamResponse:
        self.check_key(request)
        return await self.say(request, _LISTS[_wire_of(request).name].model(request.match_info["id"]))

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
        self.desk.prefixes.forget()
        return await self.send(request, Reply(200, packed({"status": "reset"})))

    def authorization(self, request: web.Request, raw: bytes) -> str:
        """Return what a request is let in by; a signature counts as the key that it was made with."""
        said = _authorization(request)
        if not sigv4.is_signature(said):
            return said
        key = sigv4.key_of(request.method, request.raw_path, request.headers, raw, self.desk.manners.key or "")
        return f"Bearer {key}"

    def check_key(self, request: web.Request) -> None:
        self.desk.check_key(_authorization(request))

    async def say(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        wire = _wire_of(request)
        return await self.send(request, wire.say(reply), wire=wire)

    async def send(
        self, request: web.Request, reply: Reply, seconds: float = 0.0, wire: Wire = OPENAI
    ) -> web.StreamResponse:
        faults = self.desk.manners.faults
        return await deliver(request, reply, self.desk.headers(seconds, wire), faults.stall_seconds)


_LISTS: Mapping[str, ModuleType] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}


def _wire_of(request: web.Request) -> Wire:
    """Return whose words a request speaks, by its headers: paths are shared, as that of the models."""
    if "anthropic-version" in request.headers:
        return ANTHROPIC
    for end, wire in ((":rawPredict", ON_VERTEX), ("/converse", CONVERSE)):
        if request.path.endswith(end):
            return wire
    is_google = "x-goog-api-key" in request.headers or request.path.endswith(("Content", "Contents"))
    return GEMINI if is_google else OPENAI


def _authorization(request: web.Request) -> str:
    """Return the header of that name, or the key from where the vendor has it."""
    key = request.headers.get("x-api-key", request.headers.get("x-goog-api-key"))
    return request.headers.get("Authorization", "") if key is None else f"Bearer {key}"
