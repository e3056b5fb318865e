"""The ledger: amounts add up, whatever was or may have been billed counts, and no schedule passes a cap."""

import json
import os
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from dfllm._core.budget import Cap
from dfllm._core.errors import StoreError
from dfllm._run.store import Entry, Store
from dfllm._run.store_claims import Claims
from dfllm._run.store_ledger import Began, Ended, room
from dfllm._run.store_rows import Attempt, Spend, note_of, row_of
from dfllm._run.store_schema import connected, prepare, transaction
from dfllm._run.store_work import Beat, Claim, Desk, Journal, Reserve, Save

SCHEDULES = int(os.environ.get("BUDGET_SCHEDULES", "10000"))
#: 2026-11-28, noon, in UTC
NOON = 1_795_867_200.0
DAY = "day:2026-11-28"


def key(number):
    """Return the key of a request by its number."""
    return number.to_bytes(20, "big")


def entry(number, cost):
    """Return a paid answer."""
    return Entry(key(number), b"body", "openai", "m", NOON, 0.5, cost)


def spend(number, cost, *, run="r", billing="paid"):
    """Return what an attempt cost."""
    return Spend(run, key(number), NOON, billing, 10, 5, 0, cost)


@pytest.fixture
def connection(tmp_path):
    """Return a connection to a new store."""
    path = tmp_path / "store.db"
    path.touch()
    with closing(connected(path, sqlite3.connect, wait_seconds=1.0)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        prepare(connection, path, journal="wal")
        yield connection


class Process:
    """A process that uses the store: an owner with claims of its own.

    Args:
        connection: to the store, which all share here.
        pid: tells it from the others.
        dead: who is gone, as all of them can see.
    """

    def __init__(self, connection, pid, dead):
        self.connection = connection
        self.claims = Claims(lambda: NOON, lease_seconds=60.0)
        self.claims._me = self.claims._me._replace(pid=pid)
        self.claims._lives = lambda owner, unheard: owner.pid not in dead
        self.desk = Desk(self.claims, lambda: NOON, lambda: StoreError("damaged"))
        self.pid = pid

    def do(self, *works):
        """Do works in one transaction; return what the last of them gives."""
        with transaction(self.connection):
            return self.desk.do(self.connection, works)[-1]


def test_what_is_paid_is_counted_for_run_day_and_tag(connection):
    """Each amount counts three times: for its run, its day in UTC, and its run's tag."""
    process = Process(connection, 1, set())
    process.do(Began("r", NOON, "mine", "openai", "m"), Began("q", NOON, None, "openai", "m"))

    process.do(
        Save([row_of(entry(1, 30))], "r", spends=[spend(1, 30)]),
        Journal([note_of(Attempt(key(2), "q", NOON, "maybe", "Timeout", None, None))], [spend(2, 500, run="q")]),
        Save([row_of(entry(3, None))], "r", spends=[spend(3, None)]),
    )

    totals = {scope.decode(): cost for scope, cost in connection.execute("SELECT scope, cost FROM totals")}
    assert {"run:r": 30, "run:q": 500, DAY: 530, "tag:mine": 30} == totals


def test_reserve_is_held_until_it_is_settled(connection):
    """A claim holds the most it can cost; saving gives back what it did not use."""
    process, cap = Process(connection, 1, set()), Cap(DAY, 100)

    first = process.do(Claim([key(1), key(2)], "r", 0.0, [60, 50], cap))
    process.do(Save([row_of(entry(1, 20))], "r", spends=[spend(1, 20)]))
    second = process.do(Claim([key(2)], "r", 0.0, [50], cap))

    assert ([key(1)], [key(2)], 40, 60) == (first.mine, first.dear, first.left, first.reserved)
    assert ([key(2)], [], 30, 50) == (second.mine, second.dear, second.left, second.reserved)


def test_smaller_rows_fit_where_a_larger_one_does_not(connection):
    """One row that is too dear does not stop those behind it."""
    claimed = Process(connection, 1, set()).do(Claim([key(1), key(2), key(3)], "r", 0.0, [90, 200, 10], Cap(DAY, 100)))

    assert ([key(1), key(3)], [key(2)]) == (claimed.mine, claimed.dear)


def test_maybe_billed_stays_reserved_and_another_attempt_reserves_anew(connection):
    """What a lost answer may have cost is spent; the row may be sent again only if that fits too."""
    process, cap = Process(connection, 1, set()), Cap(DAY, 100)
    process.do(Claim([key(1)], "r", 0.0, [40], cap))
    note = note_of(Attempt(key(1), "r", NOON, "maybe", "Timeout", None, None))

    process.do(Journal([note], [spend(1, 40, billing="maybe")]))
    once = process.do(Reserve(key(1), "r", 40, cap))
    process.do(Journal([note], [spend(1, 40, billing="maybe")]))
    twice = process.do(Reserve(key(1), "r", 40, cap))

    assert None is once
    assert (20, 0) == twice


@pytest.mark.parametrize(("scope", "left"), [("run:r", 60), (DAY, 30), ("tag:mine", 60), ("tag:other", 100)])
def test_cap_counts_what_it_is_for(connection, scope, left):
    """Another run counts for the day, and for a tag only if it has it."""
    process = Process(connection, 1, set())
    process.do(Began("r", NOON, "mine", "openai", "m"), Began("q", NOON, None, "openai", "m"))
    process.do(Claim([key(1)], "r", 0.0, [40], Cap("run:r", 1000)), Claim([key(2)], "q", 0.0, [30], Cap("run:q", 1000)))

    assert left == room(connection, Cap(scope, 100)).left


@pytest.mark.parametrize("by", ["sweep", "take over", "own end"])
def test_what_a_killed_process_had_reserved_counts_as_billed(connection, by):
    """It may have been in flight. Whoever clears away after it enters the whole reserve, once."""
    dead = set()
    gone, other = Process(connection, 1, dead), Process(connection, 2, dead)
    gone.do(Began("r", NOON, None, "openai", "m"), Claim([key(1), key(2)], "r", 0.0, [40, 30], Cap("run:r", 1000)))
    cap = Cap("run:q", 100)
    if by == "own end":
        gone.claims.end("r")
        gone.do(Beat())
    else:
        dead.add(1)
    if by == "take over":
        assert [key(1)] == other.do(Claim([key(1)], "q", 0.0, [5], cap)).mine
    other.do(Beat())
    other.do(Beat())

    lost = [
        (run.decode(), cost) for run, cost in connection.execute("SELECT run, cost FROM spend WHERE billing = 'maybe'")
    ]
    assert [("r", 30), ("r", 40)] == sorted(lost)
    assert 70 == connection.execute("SELECT cost FROM totals WHERE scope = ?", (DAY,)).fetchone()[0]


def test_runs_are_entered_and_those_of_the_killed_say_so(tmp_path):
    """A run says how it ended; one whose process is gone did not end by itself."""
    with closing(Store(tmp_path / "store.db", clock=lambda: NOON)) as store:
        store.begin(Began("r", NOON, "mine", "openai", "m"))
        store.save([entry(1, 30)], "r", spends=[spend(1, 30)])
        store.conclude(Ended("r", NOON + 2, "finished", json.dumps({"rows": 1})))
        store.begin(Began("q", NOON + 1, None, "vllm http://h", "n")).result()
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE runs SET owner = 77 WHERE id = 'q'")

        runs, spent = store.past()

    assert [("q", None, "vllm http://h", "killed", None), ("r", NOON + 2, "openai", "finished", '{"rows": 1}')] == [
        (one.run, one.ended, one.provider, one.status, one.facts) for one in runs
    ]
    assert [("r", "2026-11-28", 1, 0, 10, 5, 0, 30, 0)] == spent


@dataclass
class Schedule:
    """Random work of some processes under one cap, and the truth about what was billed.

    Attributes:
        dice: what decides.
        connection: to the store.
        billed: what the provider billed, which no client knows.
        flying: requests under way: process, run and reserve by key.
    """

    dice: random.Random
    connection: sqlite3.Connection
    billed: int = 0
    flying: dict = field(default_factory=dict)
    dead: set = field(default_factory=set)
    pids: int = 0

    def play(self):
        """Play it to its end, the cap looked at after each step."""
        for table in ("claims", "spend", "totals", "entries", "attempts", "runs", "owners"):
            self.connection.execute(f"DELETE FROM {table}")
        dice = self.dice
        self.scope = dice.choice(["run:r", DAY, "tag:t"])
        self.cap = Cap(self.scope, dice.randint(50, 400))
        self.prices = {key(number): dice.randint(1, 90) for number in range(dice.randint(3, 14))}
        self.waiting = set(self.prices)
        self.processes = [self.process() for _ in range(1 if self.scope == "run:r" else dice.randint(1, 3))]
        for _ in range(dice.randint(6, 20)):
            dice.choice([self.claim, self.claim, self.end, self.end, self.end, self.kill])()
            self.look()
        for one in list(self.flying):
            self.pay(one)
        self.look()
        self.end_of_all()

    def process(self):
        """Return a new process, its run entered."""
        self.pids += 1
        made = Process(self.connection, self.pids, self.dead)
        made.run = "r" if self.scope == "run:r" else f"r{self.pids}"
        made.do(Began(made.run, NOON, "t", "openai", "m"))
        return made

    def claim(self):
        """Claim some that wait."""
        process = self.dice.choice(self.processes)
        asked = self.dice.sample(sorted(self.waiting), min(len(self.waiting), self.dice.randint(0, 5)))
        claimed = process.do(Claim(asked, process.run, 0.0, [self.prices[one] for one in asked], self.cap))
        for one in claimed.mine:
            self.waiting.discard(one)
            self.flying[one] = process

    def end(self):
        """End one attempt in one of the ways there are."""
        if self.flying:
            one = self.dice.choice(sorted(self.flying))
            self.dice.choice([self.pay, self.pay, self.lose, self.fail])(one)

    def pay(self, one):
        """An answer, with what it cost."""
        process, cost = self.flying.pop(one), self.dice.randint(0, self.prices[one])
        self.billed += cost
        row = row_of(Entry(one, b"body", "openai", "m", NOON, 0.5, cost))
        process.do(Save([row], process.run, spends=[Spend(process.run, one, NOON, "paid", 1, 1, 0, cost)]))

    def lose(self, one):
        """An answer that was lost, and perhaps another attempt."""
        process, most = self.flying[one], self.prices[one]
        self.billed += self.dice.choice([0, self.dice.randint(0, most), most])
        note = note_of(Attempt(one, process.run, NOON, "maybe", "Timeout", None, None))
        process.do(Journal([note], [Spend(process.run, one, NOON, "maybe", None, None, None, most)]))
        if self.dice.random() < 0.5 or process.do(Reserve(one, process.run, most, self.cap)) is not None:
            del self.flying[one]
            process.do(Save([], process.run, [one]))
            self.waiting.add(one)

    def fail(self, one):
        """A refusal that is free: given up, or sent again under the same reserve."""
        if self.dice.random() < 0.5:
            process = self.flying.pop(one)
            process.do(Save([], process.run, [one]))
            self.waiting.add(one)

    def kill(self):
        """Kill a process; what it had in flight was billed or not. Another takes its place."""
        if self.dice.random() < 0.4:
            gone = self.processes.pop(self.dice.randrange(len(self.processes)))
            self.dead.add(gone.pid)
            for one in [one for one, process in self.flying.items() if process is gone]:
                del self.flying[one]
                self.billed += self.dice.choice([0, self.prices[one]])
                self.waiting.add(one)
            self.processes.append(self.process())
            if self.dice.random() < 0.5:
                self.processes[-1].do(Beat())

    def look(self):
        """See that the cap holds even if all in flight is billed in full, and that the ledger has no less."""
        most = self.billed + sum(self.prices[one] for one in self.flying)
        assert most <= self.cap.nano
        (spent,) = self.connection.execute("SELECT coalesce(sum(cost), 0) FROM spend").fetchone()
        (held,) = self.connection.execute("SELECT coalesce(sum(reserved), 0) FROM claims").fetchone()
        assert self.billed <= spent + held <= self.cap.nano

    def end_of_all(self):
        """See that what is left is too little for any row that was refused."""
        process = self.processes[0]
        process.do(Beat())
        asked = sorted(self.waiting)
        claimed = process.do(Claim(asked, process.run, 0.0, [self.prices[one] for one in asked], self.cap))
        (totals,) = self.connection.execute(
            "SELECT coalesce((SELECT cost FROM totals WHERE scope = ?), 0)", (self.scope,)
        ).fetchone()
        (spent,) = self.connection.execute("SELECT coalesce(sum(cost), 0) FROM spend").fetchone()
        assert spent == totals
        assert all(self.prices[one] > claimed.left for one in claimed.dear)


@pytest.mark.timeout(600)
def test_no_schedule_passes_a_cap(connection):
    """Claims, answers, losses, resends and kills in any order: what is billed stays within the cap."""
    seed = 1 if os.environ.get("CI") else random.randrange(1_000_000)
    for number in range(SCHEDULES):
        try:
            Schedule(random.Random(f"{seed}:{number}"), connection).play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, schedule {number}") from error
