"""Control characters: what a terminal obeys instead of showing it, and what turns the reading order around."""

from __future__ import annotations

import re
from typing import Final

# C0, DEL and C1, of which line break and tab stay; and the marks that make text read in another order than it is
# written (https://trojansource.codes).
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return the text without control characters: prompts and answers are data, also to a terminal.

    Example:
        >>> visible("fine\x1b[2J")
        'fine[2J'
    """
    return _CONTROLS.sub("", text)
