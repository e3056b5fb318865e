"""LiteLLM: `acompletion`, a semaphore, `asyncio.gather`."""

from __future__ import annotations

import asyncio
import os

import pandas as pd
from job import Answering, main, prompts

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks the network for prices
import litellm


def opened(url: str, in_flight: int) -> Answering:
    """Answer with the module's function, which keeps a client of its own."""
    places = asyncio.Semaphore(in_flight)

    async def one(prompt: str) -> str | None:
        messages = [{"role": "user", "content": prompt}]
        async with places:
            made = await litellm.acompletion(model="openai/bench", messages=messages, api_base=url, api_key="none")
        return made.choices[0].message.content

    async def answer(frame: pd.DataFrame) -> list[str | None]:
        return await asyncio.gather(*map(one, prompts(frame)))

    return answer


if __name__ == "__main__":
    main("litellm", opened)
