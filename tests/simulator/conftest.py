"""What the simulator's tests share: a way to ask a simulator over a real socket."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from dfllm.simulator import Simulator


@pytest.fixture
def post() -> Iterator[Callable[..., httpx.Response]]:
    """Return a function that posts a body, or a single user message, and keeps a connection to each simulator."""
    with ExitStack() as opened:
        clients: dict[str, httpx.Client] = {}

        def send(simulator: Simulator, asked: str | dict | bytes, **headers: str) -> httpx.Response:
            if simulator.base_url not in clients:
                clients[simulator.base_url] = opened.enter_context(httpx.Client(base_url=simulator.base_url))
            if isinstance(asked, str):
                asked = {"model": "small", "messages": [{"role": "user", "content": asked}]}
            body = {"content": asked} if isinstance(asked, bytes) else {"json": asked}
            return clients[simulator.base_url].post("/chat/completions", headers=headers, **body)

        yield send


@pytest.fixture
def until() -> Callable[..., bool]:
    """Return a function that waits for something to become true, and tells whether it did."""

    def wait(claim: Callable[[], object], *, seconds: float = 5.0) -> bool:
        ends = time.monotonic() + seconds
        while not claim():
            if time.monotonic() > ends:
                return False
            time.sleep(0.005)
        return True

    return wait
