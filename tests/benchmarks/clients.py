"""Clients to compare: each sends so many requests and prints its CPU and wall seconds. Run in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

PROMPT = "Classify the review number {number} of this product in one word: " + "it works well and looks good. " * 12


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def body(number: int) -> bytes:
    """Return a request's body as a client without a template would make it."""
    messages = [{"role": "user", "content": PROMPT.format(number=number)}]
    return json.dumps({"model": "bench", "messages": messages}).encode()


async def gathered(one: Callable[[int], Awaitable[object]], rows: int, in_flight: int) -> None:
    """Send all rows with so many workers."""
    numbers = iter(range(rows))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def timed(run: Callable[[int], Awaitable[None]], rows: int, warm: int) -> tuple[float, float]:
    """Return CPU and wall seconds of a run, the connections opened before."""
    await run(warm)
    cpu, wall = cpu_seconds(), time.perf_counter()
    await run(rows)
    return cpu_seconds() - cpu, time.perf_counter() - wall


async def bare_aiohttp(url: str, rows: int, in_flight: int) -> tuple[float, float]:
    """A session, post, read, json: what anyone would write."""
    import aiohttp

    headers = {"Authorization": "Bearer none", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def one(number: int) -> None:
            async with session.post(f"{url}/chat/completions", data=body(number)) as answer:
                json.loads(await answer.read())["choices"][0]["message"]["content"]

        return await timed(lambda n: gathered(one, n, in_flight), rows, in_flight)


async def bare_httpx(url: str, rows: int, in_flight: int) -> tuple[float, float]:
    """Httpx with its own pool."""
    import httpx

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def one(number: int) -> None:
            answer = await client.post(f"{url}/chat/completions", content=body(number))
            answer.json()["choices"][0]["message"]["content"]

        return await timed(lambda n: gathered(one, n, in_flight), rows, in_flight)


async def openai_sdk(url: str, rows: int, in_flight: int) -> tuple[float, float]:
    """The official SDK with gather."""
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def one(number: int) -> None:
            messages = [{"role": "user", "content": PROMPT.format(number=number)}]
            made = await client.chat.completions.create(model="bench", messages=messages)
            return made.choices[0].message.content

        return await timed(lambda n: gathered(one, n, in_flight), rows, in_flight)


def ours(url: str, rows: int, in_flight: int, **limits: float) -> tuple[float, float]:
    """Ours, everything included: frame, render, key, claim, store, columns."""
    import pandas as pd

    import dfllm

    os.environ["DFLLM_STORE"] = tempfile.mkdtemp(prefix="dfllm-bench-")
    os.environ["VLLM_BASE_URL"] = url
    prompt = PROMPT.replace("{number}", "{{ number }}")
    options = {"model": "vllm/bench", "limits": dfllm.Limits(in_flight, **limits), "progress": False}
    pd.DataFrame({"number": range(-in_flight, 0)}).llm.complete(prompt, **options)
    frame = pd.DataFrame({"number": range(rows)})
    cpu, wall = cpu_seconds(), time.perf_counter()
    made = frame.llm.complete(prompt, **options)
    spent = cpu_seconds() - cpu, time.perf_counter() - wall
    assert int(made["completion_error"].notna().sum()) == 0, made["completion_error"].dropna().iloc[0]
    return spent


def paced(url: str, rows: int, in_flight: int) -> tuple[float, float]:
    """Ours, each request charged to clocks for requests and tokens, as where a provider has limits; far from them."""
    return ours(url, rows, in_flight, rpm=10_000_000.0, tpm=100_000_000_000.0)


CLIENTS = {"paced": paced, "aiohttp": bare_aiohttp, "httpx": bare_httpx, "openai": openai_sdk, "ours": ours}

if __name__ == "__main__":
    name, url, rows, in_flight = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, the server has the others
    sys.path.insert(0, str(Path(__file__).parent))
    made = CLIENTS[name](url, rows, in_flight)
    cpu, wall = asyncio.run(made) if asyncio.iscoroutine(made) else made
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "wall": wall, "rows": rows, "peak_mb": peak}))
