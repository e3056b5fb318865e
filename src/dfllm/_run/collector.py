"""Python's garbage collector, given room for the requests in flight while a run lasts.

A request in flight is some sixty objects. With the usual threshold of 700 the collector would look at a thousand of
them again and again, and at all of the process every few hundred requests: a tenth of the rate at 1,000 in flight.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 100

_runs: list[int] = []
_before: list[tuple[int, int, int]] = []


@contextmanager
def room_for(in_flight: int) -> Iterator[None]:
    """Let the youngest generation hold so many requests before it is looked through; undone after the last run.

    To be used on the private loop only. A collector that is switched off stays so, and a threshold that was changed
    meanwhile stays as it is.
    """
    _runs.append(in_flight)
    if len(_runs) == 1:
        _before.append(gc.get_threshold())
    _set(_before[0])
    try:
        yield
    finally:
        _runs.remove(in_flight)
        if _runs:
            _set(_before[0])
        else:
            before = _before.pop()
            if gc.get_threshold()[1:] == before[1:]:
                gc.set_threshold(*before)


def _set(before: tuple[int, int, int]) -> None:
    if before[0]:
        gc.set_threshold(max(before[0], _OBJECTS * max(_runs)), *before[1:])
