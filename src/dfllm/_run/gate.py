"""The gate: the first request to a provider, model and key goes alone, so a dead key costs one call."""

from __future__ import annotations

import asyncio

from dfllm._core.types import Failure


class Gate:
    """Lets the first request to a provider, model and key go alone: a dead key costs one call.

    Any answer that is not fatal opens it for good; a fatal one is the answer of all who were waiting.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.lock = asyncio.Lock()
        self.fatal_count = 0
        self.fatal = Failure("NotSent", "the gate was never shut")

    def shut(self, failure: Failure) -> None:
        """Let the next request go alone again, and give this failure to those who wait."""
        self.is_open = False
        self.fatal_count += 1
        self.fatal = failure
