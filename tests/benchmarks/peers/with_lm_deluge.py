"""lm-deluge: `LLMClient.process_prompts_async`, its concurrency raised and its rate limits out of the way."""

from __future__ import annotations

import os

import pandas as pd
from job import Answering, main, prompts
from lm_deluge import LLMClient
from lm_deluge.models import register_model

#: A minute's limit that no run comes near.
_NO_LIMIT = 10**12


def opened(url: str, in_flight: int) -> Answering:
    """Answer with one client; its session lives for one call, as is its way."""
    os.environ["PEERS_API_KEY"] = "none"
    register_model(id="bench", name="bench", api_base=url, api_key_env_var="PEERS_API_KEY")
    client = LLMClient(
        "bench",
        max_requests_per_minute=_NO_LIMIT,
        max_tokens_per_minute=_NO_LIMIT,
        max_concurrent_requests=in_flight,
    )

    async def answer(frame: pd.DataFrame) -> list[str | None]:
        return await client.process_prompts_async(prompts(frame), return_completions_only=True, show_progress=False)

    return answer


if __name__ == "__main__":
    main("lm-deluge", opened)
