"""Ages: how long ago, as people say it."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeAlias

from dfllm._core.errors import OptionError

#: A span of time: as such, in seconds, or as text such as "30d".
Age: TypeAlias = "timedelta | float | str"

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")


def seconds_of(age: Age) -> float:
    """Return an age in seconds.

    Raises:
        OptionError: it is none.
    """
    given: object = age
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
    elif isinstance(given, str) and (found := _TEXT.fullmatch(given)):
        seconds = float(found[1]) * _SECONDS[found[2]]
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        seconds = float(given)
    else:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise OptionError(
            f"older_than takes a timedelta, seconds, or text such as '30d', '12h' or '90m' (s, m, h, d, w); "
            f"found {given!r}."
        )
    return seconds
