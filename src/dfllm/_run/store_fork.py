"""Open stores across a fork: nothing of ours is inside SQLite when it happens, and the child begins anew."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forks(Protocol):
    """What must hear of forks."""

    def pause(self) -> None:
        """Keep every thread out of SQLite: a mutex taken at the fork stays taken in the child for ever."""

    def resume(self) -> None:
        """Undo `pause`, in the parent."""

    def restart(self) -> None:
        """Begin anew, in the child."""


# The system calls functions of the module and takes no call back, so the module has to know what is open.
_open: weakref.WeakSet[Forks] = weakref.WeakSet()
_paused: list[Forks] = []


def watch(store: Forks) -> None:
    """Tell a store of every fork as long as it lives."""
    _open.add(store)


def forget(store: Forks) -> None:
    """Undo `watch`."""
    _open.discard(store)


def keep_for_ever(parents: object) -> None:
    """Let an object of the parent never be freed in the child: to close its SQLite connection could harm the file."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(parents))


def _before() -> None:
    for store in list(_open):
        store.pause()
        _paused.append(store)


def _after_in_parent() -> None:
    while _paused:
        _paused.pop().resume()


def _after_in_child() -> None:
    while _paused:
        _paused.pop().restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
