"""LiteLLM: `batch_completion`, ``max_workers`` raised; threads, as is its way."""

from __future__ import annotations

import os

import pandas as pd
from job import Answering, main, prompts

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks the network for prices
import litellm


def opened(url: str, in_flight: int) -> Answering:
    """Answer with the module's function; where a row failed it gives the exception, which is no right answer."""

    def answer(frame: pd.DataFrame) -> list[str | None]:
        asks = [[{"role": "user", "content": prompt}] for prompt in prompts(frame)]
        made = litellm.batch_completion(
            model="openai/bench", messages=asks, api_base=url, api_key="none", max_workers=in_flight
        )
        return [None if isinstance(one, Exception) else one.choices[0].message.content for one in made]

    return answer


if __name__ == "__main__":
    main("litellm", opened)
