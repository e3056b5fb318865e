"""Ours with limits told, far above what is sent: each request is charged to clocks that the host's processes share."""

from __future__ import annotations

from job import Answering
from with_dfllm import measure, opened


def paced(url: str, in_flight: int) -> Answering:
    """Answer as `with_dfllm` does, paced."""
    return opened(url, in_flight, rpm=10_000_000.0, tpm=100_000_000_000.0)


if __name__ == "__main__":
    measure(paced)
