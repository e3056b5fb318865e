"""Random fault schedules in virtual time: the whole library, bad days, impatient users, sudden deaths."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos import play
from tests.chaos.schedules import Act, Schedule

from dfllm.simulator import Manners, Outage

ROOT = Path(__file__).parents[2]
#: Schedules that are played twice to compare their traces.
TWICE = 40


def players(*ranges, seed):
    """Play ranges of numbers, each in a process of its own; return what each of them told, line by line."""
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.chaos.play", str(seed), *map(str, numbers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(place)},
        )
        for place, numbers in enumerate(ranges)
    ]
    told = []
    for each in running:
        out, complained = each.communicate()
        assert 0 == each.returncode, complained
        told.append([json.loads(line) for line in out.splitlines()])
    return told


@pytest.mark.timeout(900)
def test_no_schedule_breaks_a_promise(seed, size):
    """After each of them every invariant of docs/failures.md holds."""
    cores = min(size("schedules"), os.cpu_count() or 1, 8)

    told = players(*((first, size("schedules"), cores) for first in range(cores)), seed=seed)
    wrong = [line for lines in told for line in lines if "digest" not in line]
    count = sum(line["played"] for lines in told for line in lines if "digest" in line)

    assert [] == [
        f"python -m tests.chaos.play {seed} {one['number']}\n{one['schedule']}\n" + "\n".join(one["complaints"])
        for one in sorted(wrong, key=lambda one: one["number"])[:5]
    ], f"{len(wrong)} of {size('schedules')}: {sorted(one['number'] for one in wrong)}"
    assert size("schedules") == count


def test_same_seed_same_trace(seed):
    """Two processes, which hash otherwise, play the same schedules to the same traces, byte for byte."""
    one, other = players((0, TWICE), (0, TWICE), seed=seed)

    assert TWICE == one[-1]["played"]
    assert one[-1] == other[-1]


@pytest.fixture
def stage(monkeypatch):
    """Return a stage for schedules that are not drawn."""
    return play.stage(monkeypatch)


@pytest.mark.parametrize("fault", ["503", "html", "refuse", "dns", "529"])
def test_an_hour_of_outage_costs_a_few_requests(stage, fault):
    """The run pauses, looks now and then, and goes on when the provider is back; nothing is paid for twice."""
    rows, concurrency = 200, 10
    schedule = Schedule(
        seed=f"outage {fault}",
        model="lab/echo",
        manners=Manners(latency_seconds=1.0, outages=[Outage(5.0, 3_605.0, fault)]),
        concurrency=concurrency,
        timeout=60.0,
        resend_ambiguous=1,
        patience=7_200.0,
        has_key=True,
        echoes=False,
        labels=False,
        acts=(Act(tuple(range(rows))),),
    )

    played = play.play(stage, schedule)
    first = played.story.runs[0]
    during = [event for event in played.story.world.events if event.what == "sent" and 6.0 < event.at < 3_606.0]

    assert [] == played.complaints
    assert rows == sum(told.answer is not None for told in first.told.values())
    assert 3_600.0 < first.ended < 4_200.0
    assert len(during) < 60
    assert rows == played.story.world.bill.billed
