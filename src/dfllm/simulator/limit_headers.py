"""How providers tell of their limits: names of headers, and how each writes an amount and a time."""

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

Style = Literal["openai", "anthropic", "none"]

STYLES: tuple[Style, ...] = ("openai", "anthropic", "none")


class State(NamedTuple):
    """One limit, as it stands.

    Attributes:
        limit: how much is allowed a minute.
        left: how much could be taken at once.
        seconds_to_full: until all of it is there again, if nobody comes.
    """

    limit: float
    left: float
    seconds_to_full: float


def tell(style: Style, states: Mapping[str, State], wall: Callable[[], float]) -> dict[str, str]:
    """Return the headers that every answer has.

    Args:
        style: whose.
        states: ``"requests"`` and ``"tokens"``, as far as they are limited.
        wall: seconds since 1970.
    """
    headers: dict[str, str] = {}
    for which, state in states.items():
        if style == "openai":
            headers[f"x-ratelimit-limit-{which}"] = str(int(state.limit))
            headers[f"x-ratelimit-remaining-{which}"] = str(int(state.left))
            headers[f"x-ratelimit-reset-{which}"] = duration(state.seconds_to_full)
        elif style == "anthropic":
            name = f"anthropic-ratelimit-{which}"
            # Anthropic rounds tokens to the nearest thousand.
            left = int(state.left) if which == "requests" else min(int(state.limit), 1000 * round(state.left / 1000))
            headers |= {
                f"{name}-limit": str(int(state.limit)),
                f"{name}-remaining": str(left),
                f"{name}-reset": moment(wall() + state.seconds_to_full),
            }
    return headers


def waits(style: Style, seconds: float) -> dict[str, str]:
    """Return the headers of a refusal that ask to wait; there are none where no wait would help."""
    if style == "none" or math.isinf(seconds):
        return {}
    whole = {"retry-after": str(math.ceil(seconds))}
    return {"retry-after-ms": str(math.ceil(1000 * seconds)), **whole} if style == "openai" else whole


def duration(seconds: float) -> str:
    """Return a time as Go writes it and OpenAI sends it: ``6m0s``, ``1.5s``, ``17ms``, ``0s``; never too short."""
    # Milliseconds are enough, and a hair above one is not the next.
    total = math.ceil(round(1000 * seconds, 6))
    if 0 < total < 1000:
        return f"{total}ms"
    minutes, milliseconds = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    said = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{said}"
    return f"{minutes}m{said}" if minutes else said


def moment(seconds: float) -> str:
    """Return a time since 1970 as RFC 3339 in UTC, in whole seconds and never too early."""
    when = dt.datetime.fromtimestamp(math.ceil(seconds), dt.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
