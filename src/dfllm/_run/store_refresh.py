"""Refreshes: when each began, so that one that was broken off goes on instead of paying again for what it has.

A refresh is known by its templates and terms, not by its rows: the same call on a frame that has grown goes on too.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

#: How long after its end a refresh still goes on whose rows failed for a reason that may pass.
RESUMED_SECONDS = 3600.0
_FIND = "SELECT since FROM refreshes WHERE id = ? AND (ended IS NULL OR ended >= ?)"


class Refresh(NamedTuple):
    """A call asks from when on answers count for it.

    Attributes:
        id: 20 bytes.
        at: when it asks, in unix seconds.
    """

    id: bytes
    at: float


class Refreshed(NamedTuple):
    """A refresh came to its own end.

    Attributes:
        id: 20 bytes.
        at: when, in unix seconds.
        whole: whether no row failed for a reason that may pass.
    """

    id: bytes
    at: float
    whole: bool


def since(connection: sqlite3.Connection, refresh: Refresh) -> float | None:
    """Return when the refresh began that this call would go on with; None where it would begin one."""
    found = connection.execute(_FIND, (refresh.id, refresh.at - RESUMED_SECONDS)).fetchone()
    return None if found is None else float(found[0])


def begin(connection: sqlite3.Connection, refresh: Refresh) -> float:
    """Go on with a refresh, or begin one; return when it began."""
    began = since(connection, refresh)
    if began is None:
        connection.execute("INSERT OR REPLACE INTO refreshes(id, since) VALUES (?, ?)", refresh)
        return refresh.at
    connection.execute("UPDATE refreshes SET ended = NULL WHERE id = ?", (refresh.id,))
    return began


def conclude(connection: sqlite3.Connection, refreshed: Refreshed) -> None:
    """Forget a refresh that is whole; note the end of another."""
    if refreshed.whole:
        connection.execute("DELETE FROM refreshes WHERE id = ?", (refreshed.id,))
    else:
        connection.execute("UPDATE refreshes SET ended = ? WHERE id = ?", (refreshed.at, refreshed.id))
