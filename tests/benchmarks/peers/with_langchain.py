"""LangChain: `ChatOpenAI.batch`, ``max_concurrency`` raised; threads, as is its way."""

from __future__ import annotations

import pandas as pd
from job import Answering, main, prompts
from langchain_openai import ChatOpenAI


def opened(url: str, in_flight: int) -> Answering:
    """Answer with one chat model."""
    chat = ChatOpenAI(model="bench", base_url=url, api_key="none")

    def answer(frame: pd.DataFrame) -> list[str]:
        return [made.content for made in chat.batch(prompts(frame), config={"max_concurrency": in_flight})]

    return answer


if __name__ == "__main__":
    main("langchain-openai", opened)
