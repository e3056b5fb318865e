"""Docstrings in Google's style: what a function says of itself, and of each of its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SECTION = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def opening(text: str) -> str:
    r"""Return a docstring's first paragraph on one line.

    Example:
        >>> opening("Find a town\nby its name.\n\nMore of it.")
        'Find a town by its name.'
    """
    first = text.strip().split("\n\n")[0]
    return "" if _SECTION.match(first) else " ".join(first.split())


def described(text: str) -> Mapping[str, str]:
    r"""Return what a docstring, its indentation taken off, says of each argument.

    Example:
        >>> described("Find.\n\nArgs:\n    name: of the town,\n        or its code.\n    most (int): so many.\n")
        {'name': 'of the town, or its code.', 'most': 'so many.'}
    """
    said: dict[str, list[str]] = {}
    lines = iter(text.splitlines())
    if not any(_SECTION.fullmatch(line) for line in lines):
        return {}
    outer, current = None, None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip() and not depth:
            break  # the next section
        if not line.strip():
            continue
        outer = depth if outer is None else outer
        if depth <= outer:
            found = _ARGUMENT.fullmatch(line.strip())
            current = said.setdefault(found[1], [found[2]]) if found else None
        elif current is not None:
            current.append(line.strip())
    return {name: " ".join(filter(None, parts)) for name, parts in said.items()}
