"""Claims: one run asks, the others wait, and the dead hold nothing."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from dfllm._run import store_claims
from dfllm._run.store import Claimed, Entry, Store
from dfllm._run.store_claims import Claims, Owner, this_owner
from dfllm._run.store_schema import WINDOW, connected, prepare, transaction

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes live")


def key_of(number):
    """Return the key of a number."""
    return number.to_bytes(20, "big")


KEYS = [key_of(number) for number in range(6)]


class Clock:
    """Unix seconds that pass when told."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        """Return the time."""
        return self.now


@pytest.fixture
def clock():
    """Return a clock of the test's own."""
    return Clock()


@pytest.fixture
def connection(tmp_path):
    """Return a connection to a new store."""
    path = tmp_path / "store.db"
    path.touch()
    with closing(connected(path, sqlite3.connect, wait_seconds=1.0)) as connection:
        prepare(connection, path, journal="wal")
        yield connection


@pytest.fixture
def claims(clock):
    """Return the claims of this process."""
    return Claims(clock, lease_seconds=60.0)


def stranger(clock, **changes):
    """Return the claims of another process, as this one would see them."""
    claims = Claims(clock, lease_seconds=60.0)
    claims._me = claims._me._replace(**changes)
    return claims


def count_of(connection, table):
    """Return how many rows a table has."""
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_the_first_run_gets_the_key(connection, claims):
    """A second run of the same process waits for the first one."""
    assert Claimed(KEYS, [], []) == claims.take(connection, KEYS, "first", 0.0)
    assert Claimed([], [], KEYS) == claims.take(connection, KEYS, "second", 0.0)


def test_a_run_may_claim_again(connection, claims):
    """Its own claims are still its own, and are kept once."""
    claims.take(connection, KEYS[:3], "run", 0.0)

    assert Claimed(KEYS, [], []) == claims.take(connection, KEYS, "run", 0.0)
    assert 6 == count_of(connection, "claims")


def test_keys_keep_their_order_and_count_once(connection, claims):
    """Each list is in the order asked, repeats left out."""
    claims.take(connection, [KEYS[3], KEYS[1]], "other", 0.0)

    claimed = claims.take(connection, [KEYS[5], KEYS[1], KEYS[0], KEYS[5], KEYS[3]], "run", 0.0)

    assert Claimed([KEYS[5], KEYS[0]], [], [KEYS[1], KEYS[3]]) == claimed


def test_what_is_answered_needs_no_claim(tmp_path):
    """A key with an answer is neither mine nor held; with one that is too old it is mine."""
    store = Store(tmp_path / "store.db")
    store.save([Entry(KEYS[0], b"old", "p", "m", 10.0, 0.1, None)], "other").result()

    claimed = store.claim(KEYS[:2], "run", since=10.0).result()
    again = store.claim(KEYS[:2], "refresh", since=10.5).result()
    store.close()

    assert Claimed([KEYS[1]], [KEYS[0]], []) == claimed
    assert Claimed([KEYS[0]], [], [KEYS[1]]) == again


def test_many_keys_are_claimed_in_windows(connection, claims):
    """More keys than fit one statement are claimed all the same."""
    keys = [key_of(number) for number in range(2 * WINDOW + 5)]
    held = keys[WINDOW - 1 : WINDOW + 1] + keys[-1:]

    with transaction(connection):
        claims.take(connection, held, "other", 0.0)
        claimed = claims.take(connection, keys, "run", 0.0)

    assert held == claimed.held
    assert [key for key in keys if key not in held] == claimed.mine


def test_claims_are_given_back_by_whoever_made_them(connection, claims, clock):
    """Another run, or another process, frees nothing of ours."""
    claims.take(connection, KEYS, "run", 0.0)
    other = stranger(clock, pid=-1, boot="")
    other.take(connection, [key_of(99)], "run", 0.0)

    other.free(connection, [(key, "run") for key in KEYS])
    claims.free(connection, [(KEYS[0], "run"), (KEYS[1], "another")])

    assert Claimed([KEYS[0]], [], KEYS[1:]) == claims.take(connection, KEYS, "next", 0.0)


def test_nothing_claimed_is_nothing_freed(connection, claims):
    """A process that never claimed does not even look."""
    claims.free(connection, [(KEYS[0], "run")])

    assert 0 == count_of(connection, "owners")


@linux
@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"start": "1"}], ids=str)
def test_the_dead_are_taken_over_at_once(connection, claims, clock, changes):
    """A process that is gone, or whose number another one has by now, holds nothing."""
    stranger(clock, **changes).take(connection, KEYS, "run", 0.0)

    assert Claimed(KEYS, [], []) == claims.take(connection, KEYS, "next", 0.0)


@linux
def test_a_zombie_is_dead(connection, claims, clock):
    """A killed child that nobody has waited for sends nothing any more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = stranger(clock, pid=child.pid, start=store_claims._start_of(child.pid))
    other.take(connection, KEYS, "run", 0.0)

    while_alive = claims.take(connection, KEYS, "next", 0.0)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    as_zombie = claims.take(connection, KEYS, "next", 0.0)
    child.communicate()

    assert Claimed([], [], KEYS) == while_alive
    assert Claimed(KEYS, [], []) == as_zombie


@pytest.mark.parametrize(
    "changes",
    [{"host": "elsewhere"}, {"boot": "another/1", "pid": 2**22 + 1}, {"boot": "", "pid": 2**22 + 1}],
    ids=["host", "boot or container", "unknown boot"],
)
def test_who_cannot_be_looked_at_has_a_lease(connection, claims, clock, changes):
    """On another host, boot or container only silence tells."""
    stranger(clock, **changes).take(connection, KEYS, "run", 0.0)

    clock.now += 60.0
    in_time = claims.take(connection, KEYS, "next", 0.0)
    clock.now += 0.5
    too_late = claims.take(connection, KEYS, "next", 0.0)

    assert Claimed([], [], KEYS) == in_time
    assert Claimed(KEYS, [], []) == too_late


def test_who_runs_here_keeps_its_claims_whatever_the_clock_says(connection, claims, clock):
    """A clock that was set, or a laptop that slept, makes nobody's questions asked twice."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            start = store_claims._start_of(other.pid)
            stranger(clock, pid=other.pid, start=start).take(connection, KEYS, "run", 0.0)
            clock.now += 86_400.0
            alive = claims.take(connection, KEYS, "next", 0.0)
        finally:
            other.kill()
    dead = claims.take(connection, KEYS, "next", 0.0)

    assert Claimed([], [], KEYS) == alive
    assert Claimed(KEYS, [], []) == dead


def test_a_sign_of_life_renews_the_lease(connection, claims, clock):
    """Who beats keeps its claims."""
    other = stranger(clock, host="elsewhere")
    other.take(connection, KEYS, "run", 0.0)

    clock.now += 50.0
    other.beat(connection)
    clock.now += 50.0

    assert Claimed([], [], KEYS) == claims.take(connection, KEYS, "next", 0.0)


def test_beating_ends_with_the_last_claim(connection, claims):
    """A process without claims is quiet."""
    claims.take(connection, KEYS[:1], "run", 0.0)
    claims.beat(connection)
    holding = claims.holding

    claims.free(connection, [(KEYS[0], "run")])
    claims.beat(connection)

    assert [True, False] == [holding, claims.holding]


def test_a_beat_clears_away_after_the_dead(connection, claims, clock):
    """Claims of owners that are gone, and the owners, do not pile up."""
    stranger(clock, host="elsewhere").take(connection, KEYS, "run", 0.0)
    clock.now += 100.0

    claims.beat(connection)

    assert [0, 1] == [count_of(connection, table) for table in ("claims", "owners")]


def test_who_was_swept_comes_back_as_somebody_new(connection, clock):
    """Its number may be another's by now, so nobody frees or keeps what is not its own."""
    first, second = stranger(clock, host="one"), stranger(clock, host="two")
    first.take(connection, KEYS[:1], "run", 0.0)
    clock.now += 100.0
    second.sweep(connection)
    second.take(connection, KEYS, "run", 0.0)

    first.free(connection, [(key, "run") for key in KEYS])
    claimed = first.take(connection, [*KEYS, key_of(99)], "run", 0.0)

    assert Claimed([key_of(99)], [], KEYS) == claimed
    assert [(b"one", 1), (b"two", 6)] == connection.execute(
        "SELECT host, count(*) FROM claims JOIN owners ON owners.id = owner GROUP BY host ORDER BY host"
    ).fetchall()


def test_claims_of_no_owner_are_nobodys(connection, claims):
    """A claim whose owner was removed is taken."""
    connection.execute("INSERT INTO claims VALUES (?, 77, 'run', 1.0, 0)", (KEYS[0],))

    assert Claimed([KEYS[0]], [], []) == claims.take(connection, KEYS[:1], "run", 0.0)


def test_leaving_gives_everything_back(connection, claims):
    """A store that is closed holds nothing; another store of the same process keeps its own."""
    second = Claims(lambda: 1_000.0, lease_seconds=60.0)
    claims.take(connection, KEYS[:3], "first", 0.0)
    second.take(connection, KEYS[3:], "second", 0.0)

    claims.leave(connection)
    left = [count_of(connection, table) for table in ("claims", "owners")]
    second.leave(connection)

    assert [3, 1] == left
    assert [0, 0] == [count_of(connection, table) for table in ("claims", "owners")]


def test_a_failed_transaction_takes_the_number_back(connection, claims):
    """An owner that was not committed is entered again."""
    with suppress(ZeroDivisionError), transaction(connection):
        claims.take(connection, KEYS, "run", 0.0)
        raise ZeroDivisionError

    claims.free(connection, [(KEYS[0], "run")])
    claimed = claims.take(connection, KEYS, "run", 0.0)

    assert Claimed(KEYS, [], []) == claimed
    assert 1 == count_of(connection, "owners")


@linux
def test_an_owner_is_known_by_more_than_its_number():
    """Host, boot, container, number and start tell a process from any other."""
    owner = this_owner()

    boot, space = owner.boot.split("/")
    assert (os.getpid(), 36) == (owner.pid, len(boot))
    assert all(part.isdecimal() for part in (space, owner.start))


def test_without_proc_there_are_leases(monkeypatch, tmp_path, connection, clock):
    """Where the system does not show its processes an owner is known by host and number, and heard of or not."""
    monkeypatch.setattr(store_claims, "_PROC", tmp_path / "nothing")
    mine = Claims(clock, lease_seconds=60.0)
    stranger(clock, pid=-1).take(connection, KEYS, "run", 0.0)

    assert Owner(this_owner().host, "", os.getpid(), "") == this_owner()
    assert Claimed([], [], KEYS) == mine.take(connection, KEYS, "next", 0.0)


def test_each_owner_is_looked_at_once(connection, claims, clock, monkeypatch):
    """However many keys a stranger holds, its process is looked at once."""
    keys = [key_of(number) for number in range(500)]
    with transaction(connection):
        stranger(clock, start="1").take(connection, keys, "run", 0.0)
    looks = []
    monkeypatch.setattr(store_claims, "_start_of", looks.append)

    with transaction(connection):
        claims.take(connection, keys, "next", 0.0)

    assert [os.getpid()] == looks


def test_claims_of_a_run_that_ended_are_anyones(tmp_path):
    """A run that could not release them, as with the store locked, does not keep the next one waiting."""
    store = Store(tmp_path / "answers.db")
    store.claim([key_of(1)], "first").result()
    assert [key_of(1)] == store.claim([key_of(1)], "second").result().held

    store.end("first")

    assert [key_of(1)] == store.claim([key_of(1)], "second").result().mine
    assert {"first"} == store.ended
    store.close()
