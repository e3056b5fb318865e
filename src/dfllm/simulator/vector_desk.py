"""The desk for vectors: a request's way from its bytes to its reply, with each of its texts on the bill."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from . import openai, openai_faults
from .asks import Ask, tokens_of
from .desk import Desk, Served
from .faults import Faults
from .ledger import Line
from .limiter import Limiter
from .replies import Reply
from .vector_faults import VECTOR_FAULTS, gone_wrong
from .vector_wires import VectorWire, openai_body
from .vectors import Texts, vector_of

#: Faults that change what is said in words, which vectors do not know.
_OF_WORDS = frozenset(
    {"failed200", "nochoices", "blank", "refusal", "filter", "length", "think_out", "prose", "fenced", "badshape"}
    | {"weirdjson", "fncall", "badargs", "surrogate", "xss", "sse_err", "bomb"}
)


class VectorDesk:
    """Takes in requests for vectors, and puts the request on the bill as a call and each text as what is billed.

    Args:
        desk: whose key, manners, limits and bill these are.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @contextmanager
    def serve(self, raw: bytes, authorization: str, wire: VectorWire, given: Mapping[str, str]) -> Iterator[Served]:
        """Take in a request and charge it; the call is over where the context ends.

        Args:
            raw: its body.
            authorization: its header of that name, empty if it has none.
            wire: whose words it speaks.
            given: what it says beside its body, such as the model in its path.
        """
        desk, asked, reply = self._desk, None, None
        try:
            desk.check_key(authorization)
            asked = wire.read(raw, given)
        except openai.Rejected as rejected:
            reply = wire.say(rejected.reply)
        ask = asked.ask() if asked is not None else Ask(hashlib.sha256(raw).hexdigest(), "", "", 0)
        attempt = desk.bill.enter(ask.hash)
        limiter = None
        try:
            if asked is not None:
                reply, limiter = self._reply_to(asked, ask, attempt, wire)
            assert reply is not None
            self._charge(ask, asked, reply)
            yield Served(reply, desk.manners.latency(ask.hash, attempt))
        finally:
            if limiter is not None and reply is not None:
                limiter.settle(ask.prompt_tokens, min(reply.prompt_tokens, ask.prompt_tokens))
            desk.bill.leave()

    def _charge(self, ask: Ask, asked: Texts | None, reply: Reply) -> None:
        status = 0 if reply.delivery == "reset" else reply.status
        bill = self._desk.bill
        bill.charge(Line(ask.hash, status, 1, 0, 0, 0))
        if reply.billed and asked is not None:
            for text, text_hash in zip(asked.texts, asked.hashes(), strict=True):
                bill.charge(Line(text_hash, status, 0, 1, tokens_of(text), 0))

    def _reply_to(self, asked: Texts, ask: Ask, attempt: int, wire: VectorWire) -> tuple[Reply, Limiter | None]:
        desk, limiter = self._desk, None
        if desk.outage is not None:
            return wire.say(self._answer(asked, ask, desk.outage), asked), None
        headers: Mapping[str, str] = {}
        if (limiter := desk.limiter_of_now(wire.wire)) is not None:
            verdict = limiter.enter(ask.prompt_tokens)
            if not verdict.admitted:
                return wire.say(wire.wire.limited(ask, verdict)), None
            headers = verdict.headers
        reply = self._answer(asked, ask, desk.manners.faults.choose(ask.hash, attempt, ask.text))
        return replace(wire.say(reply, asked), headers={**headers, **reply.headers}), limiter

    def _answer(self, asked: Texts, ask: Ask, fault: str | None) -> Reply:
        """Answer, or let it go wrong, in OpenAI's words."""
        faults = self._desk.manners.faults
        said = list(enumerate(vector_of(asked, text, self._desk.manners.seed) for text in asked.texts))
        if fault is not None and fault in VECTOR_FAULTS:
            said = gone_wrong(fault, said, _struck(asked, faults))
        body = openai_body(asked, said)
        if fault is None or fault in VECTOR_FAULTS or fault in _OF_WORDS:
            return openai.good(body)
        if fault == "empty":
            return openai.good(body | {"data": []})
        # What names a date takes it from the answer, and vectors have none.
        dated = fault.startswith(("rate429", "day429", "ra_"))
        return openai_faults.go_wrong(fault, ask, body | ({"created": self._desk.wall()} if dated else {}), faults)


def _struck(asked: Texts, faults: Faults) -> int:
    """Return the place of the text that a fault is for; the last, if it is for none of them."""
    places = (place for place, text in enumerate(asked.texts) if any(part in text for part in faults.by_text))
    return next(places, len(asked.texts) - 1)
