"""The openai SDK on aiohttp, as its README advises for many requests at once; else as in `with_openai`."""

from __future__ import annotations

from job import Answering, main
from openai import DefaultAioHttpClient
from with_openai import opened as opened_on


def opened(url: str, in_flight: int) -> Answering:
    """Answer with one client on the SDK's own aiohttp transport."""
    return opened_on(url, in_flight, DefaultAioHttpClient())


if __name__ == "__main__":
    main("openai", opened)
