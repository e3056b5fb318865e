"""A world in virtual time: one provider, processes that are born and killed, one store, and a record of all of it."""

import json
import zlib
from typing import NamedTuple

from tests.chaos.process import Process

from dfllm.simulator import Bill, Unanswered

#: A schedule has hundreds of events, or thousands on a bad day.
_MOST_EVENTS = 100_000


class Wild(KeyboardInterrupt):
    """A schedule goes round in circles; nothing that is under way catches this."""


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        at: virtual seconds.
        run: the run it happened to; empty for the world's own.
        text: the question it is about; empty for none.
        what: what it was.
        more: what came of it.
    """

    at: float
    run: str
    text: str
    what: str
    more: object = None

    def __str__(self) -> str:
        return f"{self.at:.6f} {self.run} {self.text!r} {self.what} {'' if self.more is None else self.more}"


class Heard(NamedTuple):
    """What a process got to hear of one request.

    Attributes:
        status: the HTTP status; 0 where there was no whole answer.
        headers: the answer's.
        body: the answer's, as far as it came.
        trouble: why there was no whole answer; empty where there was one.
        sent: whether the request reached the provider.
    """

    status: int
    headers: object
    body: bytes
    trouble: str = ""
    sent: bool = True

    def __str__(self) -> str:
        return f"{self.trouble or self.status} {zlib.crc32(self.body):08x}"


class World:
    """Everything there is.

    Args:
        loop: its time.
        path: the store's file.

    Attributes:
        events: all that happened, in order.
        pace_folder: where the processes keep their tempo together.
        provider: who is asked; set anew at will.
        echoes: whether its errors repeat what it was sent.
        living: the processes that live.
        keys: the questions by their keys.
        bodies: what was sent first for each question.
    """

    def __init__(self, loop, path):
        self.loop = loop
        self.path = path
        self.events = []
        self.pace_folder = path.parent / "pace"
        self.pace_folder.mkdir()
        self.bill = Bill()
        self.provider = None
        self.echoes = False
        self.living = set()
        self.processes = []
        self.owner = 0
        self.keys = {}
        self.bodies = {}
        self.broken = []

    def note(self, run, text, what, more=None):
        """Record an event."""
        if len(self.events) > _MOST_EVENTS:
            raise Wild(f"more than {_MOST_EVENTS} events")
        self.events.append(Event(self.loop.now, run, text, what, more))

    def text_of(self, body):
        """Return the question in a body: the row's own words, whatever was added to them later."""
        text = next(turn["content"] for turn in json.loads(body)["messages"] if turn["role"] == "user")
        self.bodies.setdefault(text, body)
        return text

    async def ask(self, body, headers, timeout_seconds):
        """Ask the provider; return what is heard of it."""
        try:
            received = await self.provider.post(body, headers, timeout_seconds)
        except Unanswered as trouble:
            return Heard(0, {}, trouble.received or b"", trouble.trouble, trouble.sent)
        answer = received.body
        if self.echoes and received.status >= 400:
            sent = headers.get("Authorization", "")
            answer = answer.replace(b'"message":"', f'"message":"Authorization: {sent} '.encode(), 1)
        return Heard(received.status, received.headers, answer)

    def saved(self, done, keys):
        """Hear that a group of answers is on disk, or is not."""
        if done.exception() is None:
            for key in keys:
                self.note("", self.keys[key], "saved")

    def new_process(self):
        """Return a process that has just begun."""
        process = Process(self, len(self.processes) + 1)
        self.processes.append(process)
        self.living.add(process.pid)
        return process
