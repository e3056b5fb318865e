"""Rate limit headers to what they say: how much is allowed, how much of it is left, and until when.

Two families: OpenAI's, which most compatible servers share, with Go's durations (``6m0s``), and Anthropic's, with
RFC 3339 times, which count from the answer's own ``Date``, never from the local clock. What has an unknown form says
nothing. This is read for every answer: one without such headers must cost next to nothing, and times are read only
where somebody asks for them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple


class Allowance(NamedTuple):
    """One limit, as an answer states it.

    Attributes:
        remaining: what is left of it.
        limit: what is allowed in its window; 0 where the answer does not say.
        reset: when all of it is there again, as the answer wrote it.
        date: the answer's own time, from which `reset` counts if it is a time.
    """

    remaining: float
    limit: float
    reset: str
    date: str

    @property
    def reset_seconds(self) -> float | None:
        """How long until all of it is there again; None where that is not said."""
        return _until(self.reset, self.date) if self.date else _duration(self.reset)


class Stated(NamedTuple):
    """What one answer says about the limits; None where it says nothing.

    Attributes:
        requests: of requests.
        tokens: of tokens, or of input tokens where output has a limit of its own.
        output: of output tokens.
    """

    requests: Allowance | None
    tokens: Allowance | None
    output: Allowance | None


_OPENAI = tuple(
    tuple(f"x-ratelimit-{what}-{kind}" for what in ("remaining", "limit", "reset"))
    for kind in ("requests", "tokens", "project-tokens")
)
_ANTHROPIC = tuple(
    tuple(f"anthropic-ratelimit-{kind}-{what}" for what in ("remaining", "limit", "reset"))
    for kind in ("requests", "input-tokens", "output-tokens", "tokens")
)
_REQUESTS, _TOKENS, _PROJECT = _OPENAI


def read(headers: Mapping[str, str]) -> Stated | None:
    """Return what the headers of an answer say; None where that is nothing.

    Args:
        headers: looked up by lower-case name.
    """
    if _REQUESTS[0] in headers or _TOKENS[0] in headers:
        tokens = _allowance(headers, _TOKENS, "")
        if _PROJECT[0] in headers:
            tokens = _tighter(tokens, _allowance(headers, _PROJECT, ""))
        requests = _allowance(headers, _REQUESTS, "")
        return Stated(requests, tokens, None) if requests or tokens else None
    if _ANTHROPIC[0][0] in headers:
        date = headers.get("date", "") or "unknown"
        requests, tokens_in, tokens_out, tokens = (_allowance(headers, names, date) for names in _ANTHROPIC)
        stated = Stated(requests, tokens_in or tokens, tokens_out)
        return stated if any(stated) else None
    return None


def _allowance(headers: Mapping[str, str], names: tuple[str, ...], date: str) -> Allowance | None:
    remaining, limit, reset = names
    try:
        left = float(headers.get(remaining, ""))
    except ValueError:
        return None
    try:
        allowed = float(headers.get(limit) or 0)
    except ValueError:
        allowed = 0.0
    if not 0.0 <= left < math.inf or not 0.0 <= allowed < math.inf:
        return None
    return Allowance(left, allowed, headers.get(reset, ""), date)


def _tighter(one: Allowance | None, other: Allowance | None) -> Allowance | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda allowance: (allowance.limit or math.inf, allowance.remaining))


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)


def _duration(text: str) -> float | None:
    """Return the seconds of a duration as Go writes it; None where it is none."""
    found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return None
    hours, minutes, seconds, thousandths = (float(part) if part else 0.0 for part in found.groups())
    return hours * 3600.0 + minutes * 60.0 + seconds + thousandths / 1000.0


def _until(moment: str, now: str) -> float | None:
    """Return the seconds from a ``Date`` header to an RFC 3339 time; None where either is unreadable."""
    try:
        seconds = (datetime.fromisoformat(moment) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(seconds, 0.0)
