"""Eight processes at once on one frame in which a third of the rows are repeats: each question is paid for once."""

import os
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.chaos.nursery import Nursery
from tests.chaos.provider import Provider

from dfllm._run.store import Store

PROCESSES = 8
DISTINCT = 240
REPEATED = 160
CONCURRENCY = 6
PROMPT = "row {{ n }}."


@pytest.fixture
def world(tmp_path):
    """Return a provider and a nursery whose children ask it."""
    with ExitStack() as started:
        provider = Provider(tmp_path / "bill.db", latency_seconds=0.02, latency_spread=0.9)
        started.callback(provider.close)
        environment = {
            "DFLLM_SIMULATOR_URL": provider.base_url,
            "DFLLM_STORE": os.environ["DFLLM_STORE"],
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        nursery = Nursery(tmp_path, environment)
        started.callback(nursery.close)
        yield provider, nursery


@pytest.fixture
def values(dice):
    """Return the frame's values: each of them, and 40 % more that are among them already."""
    values = [*range(DISTINCT), *(dice.randrange(DISTINCT) for _ in range(REPEATED))]
    dice.shuffle(values)
    return values


def start(nursery, values, go):
    """Start eight processes on one frame, at one moment."""
    children = [
        nursery.start(PROMPT, values, concurrency=CONCURRENCY, by_row=number % 2 == 0, go=go)
        for number in range(PROCESSES)
    ]
    go.touch()
    return children


def whole(values):
    """Return what each row is to get."""
    return {position: (f"row {value}.", None) for position, value in enumerate(values)}


def claims_left():
    """Return how many claims are still held, and see that the store is well."""
    with closing(Store(Path(os.environ["DFLLM_STORE"]))) as store:
        assert store.verify().ok
        assert DISTINCT == store.stats().entries
        return store.stats().claims


def test_eight_processes_pay_once(world, values, tmp_path):
    """Each of them gets every answer, and no question is sent twice."""
    provider, nursery = world

    children = start(nursery, values, tmp_path / "go")
    codes = [child.ends() for child in children]

    assert [0] * PROCESSES == codes
    assert [whole(values)] * PROCESSES == [child.heard() for child in children]
    assert [1] * DISTINCT == list(provider.bill().values())
    assert 0 == claims_left()


def test_seven_go_on_when_one_is_killed(world, values, tmp_path, dice):
    """What a killed process had in flight is asked again by the others, and nothing else."""
    provider, nursery = world
    children = start(nursery, values, tmp_path / "go")
    killed = children.pop(dice.randrange(PROCESSES))
    enough = DISTINCT * dice.uniform(0.2, 0.6)
    while provider.now()["totals"]["requests"] < enough:
        time.sleep(0.002)
    code = killed.kill()

    codes = [child.ends() for child in children]
    calls = Counter(provider.bill().values())

    assert -9 == code
    assert [0] * len(children) == codes
    assert [whole(values)] * len(children) == [child.heard() for child in children]
    assert killed.heard().items() <= whole(values).items()
    assert {1, 2} >= calls.keys()
    assert DISTINCT == calls.total()
    assert calls[2] <= CONCURRENCY
    assert 0 == claims_left()
