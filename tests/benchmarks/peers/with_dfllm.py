"""Ours, everything included: frame, render, key, claim, store on disk, columns. Runs in the current environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from job import PROMPT, Answering, main

import dfllm


def opened(url: str, in_flight: int, **told: float) -> Answering:
    """Answer with the accessor, into a new store; within these limits, if any are told."""
    os.environ["VLLM_BASE_URL"] = url
    prompt = PROMPT.replace("{number}", "{{ number }}")
    limits = dfllm.Limits(concurrency=in_flight, **told)

    def answer(frame: pd.DataFrame) -> list[str]:
        made = frame.llm.complete(prompt, model="vllm/bench", limits=limits, progress=False)
        return made["completion"].tolist()

    return answer


def measure(opened: Callable[[str, int], Answering]) -> None:
    """Do the job with a store on disk that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="dfllm-peers-", ignore_cleanup_errors=True) as folder:
        os.environ["DFLLM_STORE"] = str(Path(folder) / "answers.db")
        main("dfllm", opened)


if __name__ == "__main__":
    measure(opened)
