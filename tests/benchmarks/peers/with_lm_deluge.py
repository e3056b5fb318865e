"""lm-deluge: `LLMClient.process_prompts_async`, its concurrency raised and its rate limits out of the way."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from job import Answering, main, prompts
from lm_deluge import LLMClient
from lm_deluge.models import register_model

#: A minute's limit that no run comes near.
_NO_LIMIT = 10**12


def client_of(url: str, in_flight: int, model: str = "bench", **options: Any) -> LLMClient:
    """Return a client of the server at this URL, with any of its own options."""
    os.environ["PEERS_API_KEY"] = "none"
    register_model(id=model, name=model, api_base=url, api_key_env_var="PEERS_API_KEY")
    return LLMClient(
        model,
        max_requests_per_minute=_NO_LIMIT,
        max_tokens_per_minute=_NO_LIMIT,
        max_concurrent_requests=in_flight,
        **options,
    )


def opened(url: str, in_flight: int) -> Answering:
    """Answer with one client; its session lives for one call, as is its way."""
    client = client_of(url, in_flight)

    async def answer(frame: pd.DataFrame) -> list[str | None]:
        return await client.process_prompts_async(prompts(frame), return_completions_only=True, show_progress=False)

    return answer


if __name__ == "__main__":
    main("lm-deluge", opened)
