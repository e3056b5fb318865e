"""Processes killed at a random moment, over real sockets: no answer on disk is lost, and no more is asked twice than
was in flight.
"""

import json
import os
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.chaos.nursery import Nursery
from tests.chaos.provider import Provider

ROWS = 90
#: Kills before a frame is let through to its end and a new one is begun.
KILLS_A_FRAME = 5


@pytest.fixture
def world(tmp_path):
    """Return a provider and a nursery whose children ask it."""
    with ExitStack() as started:
        provider = Provider(tmp_path / "bill.db", latency_seconds=0.012, latency_spread=0.9)
        started.callback(provider.close)
        environment = {
            "DFLLM_SIMULATOR_URL": provider.base_url,
            "DFLLM_STORE": os.environ["DFLLM_STORE"],
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        nursery = Nursery(tmp_path, environment)
        started.callback(nursery.close)
        yield provider, nursery


def committed():
    """Return the answers on disk, nothing where there is no store yet, and see that the file is whole."""
    path = Path(os.environ["DFLLM_STORE"])
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchall():
            return {}
        return {
            key: (created, body) for key, created, body in connection.execute("SELECT key, created, body FROM entries")
        }


def texts_of(entries):
    """Return the texts of stored answers."""
    return {json.loads(body)["choices"][0]["message"]["content"] for _, body in entries.values()}


def hashes_of(entries):
    """Return the request each stored answer was given to, by the beginning of its hash."""
    return Counter(json.loads(body)["id"].removeprefix("chatcmpl-")[:24] for _, body in entries.values())


def test_kills_lose_no_answer(world, dice, size):
    """What was on disk or heard of is there, the file is whole, and at most what was in flight is lost."""
    provider, nursery = world
    kept, billed, lost, frame, moments = {}, 0, 0, 0, []
    for number in range(size("kills")):
        prompt = f"frame {frame}, row {{{{ n }}}}."
        concurrency, by_row, moment = dice.randint(1, 12), dice.random() < 0.5, dice.uniform(0.0, 0.25)
        where = f"kill {number} after {moment:.3f} s, concurrency {concurrency}, by row {by_row}"
        child = nursery.start(prompt, range(ROWS), concurrency=concurrency, by_row=by_row)
        time.sleep(moment)
        moments.append(child.kill())
        now, paid = committed(), provider.bill().total()
        assert kept.items() <= now.items(), where
        heard = child.heard() if by_row else {}
        assert {f"frame {frame}, row {row}." for row in heard} <= texts_of(now), where
        assert 0 <= paid - billed - (len(now) - len(kept)) <= concurrency, where
        lost += paid - billed - (len(now) - len(kept))
        kept, billed = now, paid
        if number % KILLS_A_FRAME == KILLS_A_FRAME - 1:
            child = nursery.start(prompt, range(ROWS), concurrency=12)
            assert 0 == child.ends(), where
            assert {row: (f"frame {frame}, row {row}.", None) for row in range(ROWS)} == child.heard(), where
            kept, billed, frame = committed(), provider.bill().total(), frame + 1

    bill = provider.close()

    assert -9 in moments
    assert bill.total() == len(kept) + lost
    assert hashes_of(kept).keys() <= {request[:24] for request in bill}
    assert set(hashes_of(kept).values()) == {1}
    assert max(bill.values()) <= 1 + KILLS_A_FRAME
