"""The openai SDK: `AsyncOpenAI`, a semaphore, `asyncio.gather`."""

from __future__ import annotations

import asyncio
from typing import Any

import pandas as pd
from job import Answering, main, prompts
from openai import AsyncOpenAI


def opened(url: str, in_flight: int, transport: Any = None) -> Answering:
    """Answer with one client, its retries and its pool as they come."""
    client = AsyncOpenAI(base_url=url, api_key="none", http_client=transport)
    places = asyncio.Semaphore(in_flight)

    async def one(prompt: str) -> str | None:
        async with places:
            made = await client.chat.completions.create(model="bench", messages=[{"role": "user", "content": prompt}])
        return made.choices[0].message.content

    async def answer(frame: pd.DataFrame) -> list[str | None]:
        return await asyncio.gather(*map(one, prompts(frame)))

    return answer


if __name__ == "__main__":
    main("openai", opened)
