"""The ledger: what each attempt cost, what each run came to, and what a cap leaves. It holds amounts, no content."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from dfllm._core.budget import Cap, day_of
from dfllm._run.store_rows import Spend
from dfllm._run.store_schema import text_of

_LOTS = (64, 16, 4, 1)
T = TypeVar("T")

_SPEND = "INSERT INTO spend(run, key, at, billing, tokens_in, tokens_out, tokens_cached, cost) VALUES {rows}"
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_ADD = "INSERT INTO totals(scope, cost) VALUES (?, ?) ON CONFLICT(scope) DO UPDATE SET cost = cost + excluded.cost"
_BEGIN = (
    "INSERT OR IGNORE INTO runs(id, started, tag, provider, model, owner, status) VALUES (?, ?, ?, ?, ?, ?, 'running')"
)
_END = "UPDATE runs SET ended = ?, status = ?, facts = ? WHERE id = ?"
#: Runs, and what their attempts came to on each day (UTC). Whoever is no owner any more has not ended them.
_RUNS = """
    SELECT id, started, ended, tag, provider, model,
        CASE WHEN status = 'running' AND owner NOT IN (SELECT id FROM owners) THEN 'killed' ELSE status END, facts
    FROM runs ORDER BY started DESC, id
"""
_SPENT = """
    SELECT run, date(at, 'unixepoch'), count(*), sum(billing = 'maybe'), coalesce(sum(tokens_in), 0),
        coalesce(sum(tokens_out), 0), coalesce(sum(tokens_cached), 0), coalesce(sum(cost), 0), sum(cost IS NULL)
    FROM spend GROUP BY run, date(at, 'unixepoch')
"""
#: What is reserved now, by what a cap is for. Claims are as many as are in flight, so this is no long look.
_RESERVED = {
    "run": "SELECT coalesce(sum(reserved), 0) FROM claims WHERE run = ?",
    "day": "SELECT coalesce(sum(reserved), 0) FROM claims WHERE ? NOT NULL",
    "tag": "SELECT coalesce(sum(c.reserved), 0) FROM claims c JOIN runs r ON r.id = c.run WHERE r.tag = ?",
}


class Began(NamedTuple):
    """A run that begins.

    Attributes:
        run: its id.
        at: when, in unix seconds.
        tag: the user's word for it.
        provider: the provider's identity.
        model: the model asked.
    """

    run: str
    at: float
    tag: str | None
    provider: str
    model: str


class Ended(NamedTuple):
    """A run that has ended.

    Attributes:
        run: its id.
        at: when, in unix seconds.
        status: finished, interrupted or stopped.
        facts: what it came to, as JSON.
    """

    run: str
    at: float
    status: str
    facts: str


class Past(NamedTuple):
    """A run as the ledger has it.

    Attributes:
        run: its id.
        started: when, in unix seconds.
        ended: when; None where it has not, or was killed.
        tag: the user's word for it.
        provider: the provider's identity.
        model: the model asked.
        status: running, finished, interrupted, stopped or killed.
        facts: what it came to, as JSON; None where it did not end by itself.
    """

    run: str
    started: float
    ended: float | None
    tag: str | None
    provider: str
    model: str
    status: str
    facts: str | None


class Spent(NamedTuple):
    """What a run's attempts came to on one day.

    Attributes:
        run: its id.
        day: the day in UTC.
        attempts: how many were or may have been billed.
        maybe: those of them of which nobody knows.
        tokens_in: input tokens.
        tokens_out: output tokens.
        tokens_cached: input tokens read from the provider's cache.
        cost: in 1e-9 USD, the most it can have been where nobody knows.
        unpriced: attempts whose cost is unknown.
    """

    run: str
    day: str
    attempts: int
    maybe: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: int
    unpriced: int


class Room(NamedTuple):
    """What a cap leaves.

    Attributes:
        left: what may still be reserved, in 1e-9 USD.
        reserved: what others and we have reserved and not settled.
    """

    left: int
    reserved: int


def in_lots(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut rows into lots for one statement each, of few different sizes, so that SQLite knows the statements.

    A statement a row would hand the interpreter's lock to and fro for each, against an event loop that is always busy:
    commits would take ten times as long as their work.
    """
    start = 0
    for size in _LOTS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def begin(connection: sqlite3.Connection, began: Began, owner: int) -> None:
    """Enter a run."""
    run, at, tag, provider, model = began
    connection.execute(_BEGIN, (run, at, tag, provider, model, owner))


def end(connection: sqlite3.Connection, ended: Ended) -> None:
    """Enter how a run ended."""
    run, at, status, facts = ended
    connection.execute(_END, (at, status, facts, run))


def pay(connection: sqlite3.Connection, spends: Sequence[Spend]) -> None:
    """Enter what attempts cost."""
    for lot in in_lots(spends):
        rows = ", ".join([_ROW] * len(lot))
        connection.execute(_SPEND.format(rows=rows), list(chain.from_iterable(lot)))
    if spends:
        connection.executemany(_ADD, list(_totals(connection, spends).items()))


def _totals(connection: sqlite3.Connection, spends: Iterable[Spend]) -> Counter[str]:
    sums: Counter[str] = Counter()
    tags: dict[str, str | None] = {}
    for spend in spends:
        run = spend.run
        if run not in tags:
            found = connection.execute("SELECT tag FROM runs WHERE id = ?", (run,)).fetchone()
            tags[run] = None if found is None or found[0] is None else text_of(found[0])
        cost = spend.cost or 0
        sums[f"run:{run}"] += cost
        sums[f"day:{day_of(spend.at)}"] += cost
        if (tag := tags[run]) is not None:
            sums[f"tag:{tag}"] += cost
    return sums


def room(connection: sqlite3.Connection, cap: Cap) -> Room:
    """Return what a cap leaves now."""
    spent = connection.execute("SELECT cost FROM totals WHERE scope = ?", (cap.scope,)).fetchone()
    kind, _, name = cap.scope.partition(":")
    reserved = connection.execute(_RESERVED[kind], (name,)).fetchone()[0]
    return Room(cap.nano - (0 if spent is None else spent[0]) - reserved, reserved)


def forfeit(connection: sqlite3.Connection, where: str, values: Sequence[object], at: float) -> None:
    """Count what is reserved by claims that nobody will settle as spent: it may have been billed.

    Args:
        connection: in a transaction.
        where: which claims, as SQL.
        values: the statement's.
        at: unix seconds.
    """
    sql = f"SELECT run, key, reserved FROM claims WHERE reserved > 0 AND ({where})"  # noqa: S608  # ours, no data in it
    lost = [
        Spend(text_of(run), bytes(key), at, "maybe", None, None, None, cost)
        for run, key, cost in connection.execute(sql, values)
    ]
    if lost:
        # Whoever has counted it once must not do so again, whatever becomes of the claim.
        connection.execute(f"UPDATE claims SET reserved = 0 WHERE {where}", values)  # noqa: S608  # as above
        pay(connection, lost)


def lose_runs(connection: sqlite3.Connection, owner: int, at: float) -> None:
    """Enter that the runs of a process that is gone did not end by themselves."""
    connection.execute(
        "UPDATE runs SET status = 'killed', ended = ? WHERE owner = ? AND status = 'running'", (at, owner)
    )


def past(connection: sqlite3.Connection) -> tuple[list[Past], list[Spent]]:
    """Return every run, newest first, and what was spent by run and day."""
    runs = [Past(*map(_plain, row)) for row in connection.execute(_RUNS)]
    spent = [Spent(*map(_plain, row)) for row in connection.execute(_SPENT)]
    return runs, spent


def _plain(value: Any) -> Any:
    return text_of(value) if isinstance(value, bytes) else value
