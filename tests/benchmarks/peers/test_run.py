"""The table of peers says what their scripts printed, and fails where it should."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest


def loaded(name):
    """Return a file of this folder as a module; the folder is no package, since its scripts run elsewhere."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


job, run = loaded("job"), loaded("run")


def printed(*, wall, cpu, wrong=0, first_wrong=None):
    """Return what a script prints for a thousand rows, after a line of the peer's own."""
    figures = {"version": "1.2", "rows": 1000, "wall": wall, "cpu": cpu, "wrong": wrong, "first_wrong": first_wrong}
    return run.run_of(f"tokens: 12\n{json.dumps(figures)}\n")


def test_line_is_the_median_of_its_rounds_ratios():
    """Each round is compared with ours of the same round; the median of those is shown."""
    ours = [printed(wall=0.1, cpu=0.1), printed(wall=0.2, cpu=0.1), printed(wall=0.1, cpu=0.1)]
    peer = [printed(wall=0.3, cpu=0.2), printed(wall=0.4, cpu=0.4), printed(wall=0.5, cpu=0.3)]

    lines = run.lines_of({"dfllm": ours, "other": peer})

    assert ["dfllm", "other"] == [line.name for line in lines]
    assert (2500, 0.3, 3, 3) == pytest.approx(lines[1][2:6])
    assert "| other | 1.2 | 2,500 | 0.300 | 3.00 | 3.00 | all right |" == run.table(lines).splitlines()[-1]
    assert [] == run.broken(lines)


def test_less_than_twice_the_fastest_fails():
    """Rate and CPU are each compared with the best peer in them."""
    ours = [printed(wall=0.1, cpu=0.1)]
    found = {"dfllm": ours, "quick": [printed(wall=0.15, cpu=0.5)], "lean": [printed(wall=1, cpu=0.125)]}

    said = run.broken(run.lines_of(found))

    assert ["1.50 x the rate of quick, 2 x is promised", "1.25 x less CPU than lean, 2 x is promised"] == said


def test_wrong_answers_and_failures_are_named():
    """A peer that did another job, or none, is in the table with what went wrong, and fails the run."""
    ours = [printed(wall=0.1, cpu=0.1)]
    bad, gone = [printed(wall=1, cpu=1, wrong=3, first_wrong=7)], [run.run_of("")]

    lines = run.lines_of({"dfllm": ours, "bad": bad, "gone": gone})

    assert ["bad: 3 of 1,000 wrong, the first in row 7", "gone: printed nothing"] == run.broken(lines)
    assert "| gone | | | | | | printed nothing |" == run.table(lines).splitlines()[-1]


def test_answers_are_checked_for_count_and_order():
    """Swapped, missing and surplus answers are found; the right ones are not."""
    right = [job.ANSWER.format(number=number) for number in range(3)]

    found = [job.wrong(range(3), said) for said in (right, [right[0], right[2], right[1]], right[:2], [*right, "more"])]

    assert [[], [1, 2], [2], [3]] == found


def test_every_peer_has_its_script_and_requirements():
    """What the table names can be run, and what is there is in the table."""
    folder = Path(run.__file__).parent

    ours_paced = f"with_{run.OURS}_paced"
    scripts = {path.stem for path in folder.glob("with_*.py")}
    assert scripts == {f"with_{name}" for name in run.PEERS} | {ours_paced}
    assert {path.stem for path in (folder / "requirements").iterdir()} == {name for name in run.PEERS.values() if name}
