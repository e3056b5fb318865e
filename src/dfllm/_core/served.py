"""The model that served: whether it is the one that was asked for under another name, or another one."""

from __future__ import annotations

import re
from functools import lru_cache

#: What names of one model differ in: a date or a snapshot, and words that say which of them is meant.
_SNAPSHOT = re.compile(r"[-@:](?:v?\d{4,}[\d.-]*|latest|preview|stable|default|free|beta|exp|it)$")


@lru_cache(256)
def is_another(served: str, asked: str) -> bool:
    """Return whether an answer's model is another than the one asked for.

    Gateways put a vendor before the name and providers a date behind it; neither makes it another one.

    Example:
        >>> is_another("gpt-4o-2024-08-06", "gpt-4o"), is_another("gpt-4o-mini", "gpt-4o")
        (False, True)
    """
    return _bare(served) != _bare(asked)


def _bare(name: str) -> str:
    name = name.rpartition("/")[2].lower()
    while (shorter := _SNAPSHOT.sub("", name)) != name:
        name = shorter
    return name
