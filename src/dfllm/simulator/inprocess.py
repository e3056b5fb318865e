"""The simulator without sockets: the same answers, faults, limits and bill, in the time of the loop that asks.

On a loop with a virtual clock an hour of it takes no time.
"""

import asyncio
import email.utils
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from .bill import Bill
from .delivery import DRIPS
from .desk import Desk
from .manners import UNREACHED, Manners
from .replies import Reply

#: When the loop's clock shows 0, it is New Year 2026 here, so that the same requests get the same bytes.
EPOCH_SECONDS = 1_767_225_600

Trouble = Literal["dns", "refuse", "reset", "cut", "twice", "timeout"]


class Received(NamedTuple):
    """An HTTP response, whole.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: the bytes as sent; a ``content-encoding`` header says if they are packed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unanswered(Exception):
    """What a client would see in place of a whole answer.

    Attributes:
        trouble: ``"dns"``, the name does not resolve; ``"refuse"``, nobody listens; ``"reset"``, the connection went
            before any byte of an answer; ``"cut"``, it ended in the middle of the body; ``"twice"``, a second answer
            came behind the first; ``"timeout"``, the client's time was over.
        sent: whether the question had been sent, so that the provider may have charged for it.
        received: as much of the body as came; None where not even a status did.
    """

    def __init__(self, trouble: Trouble, *, sent: bool = True, received: bytes | None = None) -> None:
        super().__init__(trouble)
        self.trouble = trouble
        self.sent = sent
        self.received = received


class InProcess:
    """A provider to call as a coroutine.

    Args:
        manners: how it behaves; may be changed at any time.
        bill: what it charges to; None for a new one in memory.
        clock: seconds that only go up; None for that of the running loop. Outages are counted from now on.
        wall: seconds since 1970, which may be wrong; None for the clock's seconds after New Year 2026.

    Raises:
        RuntimeError: there is neither a clock nor a running loop.

    Example:
        >>> import asyncio
        >>> from dfllm.simulator import InProcess, Manners, Outage
        >>> async def ask() -> int:
        ...     provider = InProcess(Manners(outages=[Outage(0, 60, "503")]))
        ...     question = b'{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'
        ...     return (await provider.post(question)).status
        >>> asyncio.run(ask())
        503
    """

    def __init__(
        self,
        manners: Manners | None = None,
        bill: Bill | None = None,
        *,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        now = clock or asyncio.get_running_loop().time
        self.manners = manners or Manners()
        self.bill = bill or Bill()
        self._desk = Desk(self.manners, self.bill, now, wall or (lambda: EPOCH_SECONDS + now()))

    async def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, timeout_seconds: float | None = None
    ) -> Received:
        """Ask for a chat completion.

        Args:
            body: the request's, as JSON.
            headers: the request's; only the key in ``Authorization`` is looked at.
            timeout_seconds: how long the client waits for the whole answer; None for as long as it takes.

        Raises:
            Unanswered: there is no whole answer.
        """
        outage = self._desk.outage
        if outage in UNREACHED:
            await asyncio.sleep(0)
            raise Unanswered("dns" if outage == "dns" else "refuse", sent=False)
        given = {name.lower(): value for name, value in (headers or {}).items()}
        coming = _Coming()
        try:
            async with asyncio.timeout(timeout_seconds):
                with self._desk.serve(body, given.get("authorization", "")) as served:
                    await asyncio.sleep(served.seconds)
                    await self._deliver(served.reply, coming)
        except TimeoutError:
            raise Unanswered("timeout", received=coming.received) from None
        reply = served.reply
        return Received(reply.status, self._headers(reply, served.seconds), reply.body)

    async def _deliver(self, reply: Reply, coming: "_Coming") -> None:
        """Let a reply take its time, and break off where it says so."""
        stall_seconds = self.manners.faults.stall_seconds
        match reply.delivery:
            case "reset":
                raise Unanswered("reset")
            case "cut" | "cut_reset" | "cut_chunked":
                raise Unanswered("cut", received=reply.body[: len(reply.body) // 2])
            case "twice":
                raise Unanswered("twice", received=reply.body)
            case "late":
                await asyncio.sleep(stall_seconds)
            case "drip":
                for drip in range(1, DRIPS + 1):
                    coming.received = reply.body[: len(reply.body) * drip // DRIPS]
                    await asyncio.sleep(stall_seconds / DRIPS)

    def _headers(self, reply: Reply, seconds: float) -> dict[str, str]:
        return {
            "date": email.utils.formatdate(self._desk.wall(), usegmt=True),
            "content-type": reply.content_type,
            "content-length": str(len(reply.body)),
            **self._desk.headers(seconds),
            **reply.headers,
        }


class _Coming:
    """An answer on its way, as far as the client has got it."""

    def __init__(self) -> None:
        self.received: bytes | None = None
