"""The workload is the one that is described, and the measurement fails where it should."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

from dfllm.simulator.asks import tokens_of


@pytest.fixture(scope="module")
def measure():
    """Return the script as a module; its folder is no package, since half of it runs elsewhere."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location("money_measure", folder / "measure.py")
    module = importlib.util.module_from_spec(spec)
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    for name in sys.modules.keys() - known & {"run", "workload", spec.name}:
        del sys.modules[name]


@pytest.fixture
def workload(measure):
    """Return the workload."""
    return measure.workload


def ours(measure, **changed):
    """Return what ours came to, all well."""
    good = {
        "name": "dfllm",
        "version": "1",
        "answered": measure.answerable(),
        "billed": 419,
        "at_kill": 200,
        "worst": 2,
    }
    return measure.Found(**good | changed)


def test_rows_are_the_prompts_and_some_again(workload):
    """600 rows of 400 prompts, the same at each run."""
    rows = workload.rows()

    assert (600, 400) == (len(rows), len(set(rows)))
    assert rows == workload.rows()
    assert set(workload.questions()) == set(rows)


def test_every_call_is_100_tokens_and_50(workload):
    """By the simulator's rule; the answer is the question."""
    sizes = {(8 + tokens_of(workload.SYSTEM) + tokens_of(one), tokens_of(one)) for one in workload.questions()}

    assert {(100, 50)} == sizes


def test_faults_have_their_shares(workload):
    """To the prompt; each prompt at most one, and by nothing but its hash."""
    faults = workload.faults()

    assert {fault: round(share * 400) for fault, share in workload.SHARES.items()} == Counter(faults.values())
    assert faults == workload.faults()
    assert (396, 20, 80) == (workload.necessary(), workload.lost(), len(faults))


def test_answers_are_held_against_their_questions(workload):
    """An empty text is none, the beginning of the right one is one, and another row's is counted."""
    rows = workload.rows()

    found = workload.checked([*rows[:-4], None, " ", rows[-2][:50], "something else"])

    assert {"answered": 598, "wrong": 1} == found


def test_table_has_a_line_for_each(measure):
    """Ratios to the necessary; what failed says how."""
    lines = measure.table([ours(measure), measure.Found("other", failed="exit code 1: no such thing")]).splitlines()

    assert [
        "| dfllm | 1 | 419 | 1.058 | 591 | 0 | 2 |",
        "| other |  | exit code 1: no such thing | | | | |",
    ] == lines[2:]


def test_all_well_is_no_complaint(measure):
    """Up to the last call that is allowed."""
    assert [] == measure.broken(ours(measure)) == measure.broken(ours(measure, billed=431))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"billed": 432}, ["billed / necessary is 1.091, 1.09 is promised"]),
        ({"warm": 1}, ["the warm run billed 1"]),
        ({"wrong": 2}, ["2 rows have another row's answer"]),
        ({"answered": 590}, ["590 rows answered, 591 can be"]),
        ({"failed": "took more than 300 s"}, ["took more than 300 s"]),
    ],
)
def test_broken_promise_is_named(measure, changed, said):
    """One line for each."""
    assert said == measure.broken(ours(measure, **changed))


def test_more_than_anybody_needs_is_named(measure):
    """Necessary, lost by the server and in flight at the kill are 432."""
    assert "billed 433, at most 432 is what nobody can avoid" == measure.broken(ours(measure, billed=433))[0]
