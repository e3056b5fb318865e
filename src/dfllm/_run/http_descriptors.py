"""File descriptors: how many sockets the system lets us have."""

from __future__ import annotations

import contextlib
import resource

#: What stands for "no limit".
_PLENTY = 2**20


def allow_descriptors(wanted: int) -> int:
    """Raise the soft limit of open files towards the hard one, as far as wanted, and return what it is then.

    Never lowered, and never raised beyond what is wanted: programs that loop over all possible descriptors get slow.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _PLENTY
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    # macOS names no hard limit and still refuses more than kern.maxfilesperproc.
    for attempt in (goal, min(goal, 10_240)):
        if attempt > soft:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (attempt, hard))
                return attempt
    return soft
