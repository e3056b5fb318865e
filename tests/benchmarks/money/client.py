"""Clients: each asks the workload's rows as its documentation says to, with a cache on disk where it has one.

``python client.py NAME URL FOLDER`` prints how many rows were answered. Runs in the client's own environment.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import workload

sys.path.append(str(Path(__file__).parents[1] / "peers"))

Asking = Callable[[str, Path], Sequence[str | None] | Awaitable[Sequence[str | None]]]


def ours(url: str, folder: Path) -> Sequence[str | None]:
    """Ask with `df.llm.complete`."""
    import pandas as pd

    import dfllm

    os.environ["DFLLM_STORE"] = str(folder / "answers.db")
    os.environ["DFLLM_SIMULATOR_URL"] = url
    made = pd.DataFrame({"question": workload.rows()}).llm.complete(
        "{{ question }}",
        system=workload.SYSTEM,
        model="simulator/echo",
        timeout=workload.TIMEOUT_SECONDS,
        limits=dfllm.Limits(concurrency=workload.IN_FLIGHT),
        progress=False,
    )
    return made["completion"].tolist()


def langchain(url: str, folder: Path) -> Sequence[str | None]:
    """Ask with `ChatOpenAI.batch`, which keeps what it can where one row fails, and `SQLiteCache`."""
    from langchain_community.cache import SQLiteCache
    from langchain_core.globals import set_llm_cache
    from langchain_openai import ChatOpenAI

    set_llm_cache(SQLiteCache(database_path=str(folder / "cache.db")))
    chat = ChatOpenAI(model="echo", base_url=url, api_key="none", timeout=workload.TIMEOUT_SECONDS)
    made = chat.batch(
        [[("system", workload.SYSTEM), ("user", question)] for question in workload.rows()],
        config={"max_concurrency": workload.IN_FLIGHT},
        return_exceptions=True,
    )
    return [None if isinstance(one, Exception) else one.content for one in made]


async def lm_deluge(url: str, folder: Path) -> Sequence[str | None]:
    """Ask with `LLMClient` and `SqliteCache`."""
    from lm_deluge import Conversation
    from lm_deluge.cache import SqliteCache
    from with_lm_deluge import client_of

    cache = SqliteCache(str(folder / "cache.db"))
    client = client_of(url, workload.IN_FLIGHT, "echo", cache=cache, request_timeout=workload.TIMEOUT_SECONDS)
    asked = [Conversation().system(workload.SYSTEM).user(question) for question in workload.rows()]
    return await client.process_prompts_async(asked, return_completions_only=True, show_progress=False)


async def openai(url: str, folder: Path) -> Sequence[str | None]:
    """Ask with `AsyncOpenAI`, a semaphore and `asyncio.gather`; there is no cache."""
    from openai import AsyncOpenAI, OpenAIError

    client = AsyncOpenAI(base_url=url, api_key="none", timeout=workload.TIMEOUT_SECONDS)
    places = asyncio.Semaphore(workload.IN_FLIGHT)

    async def one(question: str) -> str | None:
        turns = [{"role": "system", "content": workload.SYSTEM}, {"role": "user", "content": question}]
        async with places:
            try:
                made = await client.chat.completions.create(model="echo", messages=turns)
            except (OpenAIError, ValueError):  # the second where the JSON is cut
                return None
        return made.choices[0].message.content

    return await asyncio.gather(*map(one, workload.rows()))


#: Client to its package and to what asks with it.
CLIENTS: dict[str, tuple[str, Asking]] = {
    "dfllm": ("dfllm", ours),
    "langchain": ("langchain-openai", langchain),
    "lm_deluge": ("lm-deluge", lm_deluge),
    "openai": ("openai", openai),
}

if __name__ == "__main__":
    package, asking = CLIENTS[sys.argv[1]]
    answers = asking(sys.argv[2], Path(sys.argv[3]))
    found = workload.checked(asyncio.run(answers) if inspect.iscoroutine(answers) else answers)
    print(json.dumps({"version": version(package), **found}))
