"""A simulator as a server: a loopback socket, a thread with an event loop of its own, starting and stopping."""

import asyncio
import atexit
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from aiohttp import web

from .app import application
from .bill import Bill
from .faults import NO_FAULTS, Faults
from .limiter import RateLimits
from .manners import UNREACHED, Manners, Outage

_LOOPBACK = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
_BACKLOG = 8_192
_KEEP_ALIVE_SECONDS = 3_600


class Simulator:
    """A provider on this computer: OpenAI's wire, made-up answers, faults on request, and a bill.

    Use it as a context manager, or call `start` and `stop`. Started again, it comes back on the same port.

    Args:
        host: ``"127.0.0.1"``, ``"localhost"`` or ``"::1"``; nothing else is served.
        port: 0 for a free one.
        latency_seconds: how long an answer takes.
        latency_spread: by which share of it an answer may be faster or slower, from 0 to 1.
        faults: what goes wrong; may be set anew at any time.
        outages: when everything goes wrong, in seconds from the start; may be set anew at any time.
        limits: how much may be asked in a minute; None for as much as one likes. May be set anew at any time, and then
            starts anew.
        seed: another seed, other answers.
        bill_path: a file for the bill, to which the next simulator adds; None keeps it in memory.
        key: the only API key let in; None lets everyone in.

    Raises:
        ValueError: the host is no loopback address, a number is out of its range, or an outage is one that a server
            cannot have.

    Example:
        >>> from dfllm.simulator import Faults, Simulator
        >>> with Simulator(faults=Faults(rates={"rate429": 0.1})) as simulator:
        ...     simulator.base_url.endswith("/v1"), simulator.bill.requests
        (True, 0)
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        latency_seconds: float = 0.0,
        latency_spread: float = 0.0,
        faults: Faults = NO_FAULTS,
        outages: Sequence[Outage] = (),
        limits: RateLimits | None = None,
        seed: int = 0,
        bill_path: Path | None = None,
        key: str | None = None,
    ) -> None:
        if host not in _LOOPBACK:
            raise ValueError(f"The simulator is for this computer only; {host!r} is not one of {', '.join(_LOOPBACK)}.")
        self.host = host
        self.port = port
        self.bill = Bill(bill_path)
        self._manners = Manners(
            latency_seconds=latency_seconds,
            latency_spread=latency_spread,
            faults=faults,
            limits=limits,
            seed=seed,
            key=key,
        )
        self.outages = outages
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] = _do_nothing

    @property
    def base_url(self) -> str:
        """Where an OpenAI client should be pointed at."""
        return f"{self._root}/v1"

    @property
    def faults(self) -> Faults:
        """What goes wrong; set it to change that for the requests to come."""
        return self._manners.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._manners.faults = faults

    @property
    def outages(self) -> Sequence[Outage]:
        """When everything goes wrong, in seconds from the start; set it to change that."""
        return self._manners.outages

    @outages.setter
    def outages(self, outages: Sequence[Outage]) -> None:
        for outage in outages:
            if outage.fault in UNREACHED:
                raise ValueError(
                    f"A server that is asked is not {outage.fault!r}. Stop the simulator, or use InProcess."
                )
        self._manners.outages = outages

    @property
    def limits(self) -> RateLimits | None:
        """How much may be asked in a minute; set it to start anew with other limits."""
        return self._manners.limits

    @limits.setter
    def limits(self, limits: RateLimits | None) -> None:
        self._manners.limits = limits

    def start(self) -> Self:
        """Listen, and return once it does; a simulator that runs is left alone.

        Raises:
            OSError: the port is taken.
        """
        if self._thread is not None:
            return self
        listening = self._listen()
        self.port = listening.getsockname()[1]
        self.bill.open()
        ready: Future[Callable[[], None]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, ready)), name="dfllm-simulator", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)  # the thread ends with the process, but the bill is to be complete
        try:
            self._stop = ready.result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Hang up on everyone and write the bill; a simulator that does not run is left alone."""
        if self._thread is None:
            return
        atexit.unregister(self.stop)
        self._stop()
        self._thread.join()
        self._thread, self._stop = None, _do_nothing
        self.bill.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Simulator {self._root}, {'running' if self._thread else 'stopped'}>"

    @property
    def _root(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def _listen(self) -> socket.socket:
        try:
            return socket.create_server((self.host, self.port), family=_LOOPBACK[self.host], backlog=_BACKLOG)
        except OSError as error:
            raise OSError(
                error.errno,
                f"The simulator cannot listen on port {self.port} of {self.host} ({error.strerror}). "
                "Choose another port, or 0 for a free one.",
            ) from error

    async def _serve(self, listening: socket.socket, ready: "Future[Callable[[], None]]") -> None:
        try:
            names = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
            app = application(self._manners, self.bill, frozenset(names))
            runner = web.AppRunner(
                app, access_log=None, keepalive_timeout=_KEEP_ALIVE_SECONDS, handle_signals=False, shutdown_timeout=0.05
            )
            await runner.setup()
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the thread that called start
            listening.close()
            ready.set_exception(error)
            return
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)

        ready.set_result(stop)
        await stopped.wait()
        await runner.cleanup()


def _do_nothing() -> None:
    """End what was never begun."""


def serve(simulator: Simulator, announce: Callable[[str], None]) -> None:
    """Run a simulator until this process is told to end, by SIGINT or SIGTERM.

    Args:
        simulator: started here, and stopped before this returns.
        announce: is told the base URL once the simulator listens.

    Raises:
        OSError: the port is taken.
        ValueError: this is not the main thread, which alone hears signals.
    """
    told: SimpleQueue[int] = SimpleQueue()  # of all ways to wait, the one that a signal handler may safely end

    def hear(number: int, frame: FrameType | None) -> None:
        told.put(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with simulator:
            announce(simulator.base_url)
            told.get()
    finally:
        for number, old in before.items():
            signal.signal(number, old)
