"""docs/security.md cannot drift: each threat names tests, and the tests are there."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def threats(page):
    """Return the cells of each line of the table, by its name."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| T\d+ \|", line)]
    return [(cells[0], [cell.strip() for cell in cells[1:]]) for cells in rows]


@cache
def functions_of(path):
    """Return the names of the functions in a file; none where there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text("utf-8") if file.is_file() else "")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def drift(page):
    """Return what is wrong with the page, a sentence each."""
    found = threats(page)
    numbers = [int(name[1:]) for name, _ in found]
    odd = [f"T{one} is out of order" for one, other in pairwise(numbers) if one >= other]
    for name, cells in found:
        tests = re.findall(r"`(tests/[^`]+)`", cells[-1])
        if len(cells) != 3 or not all(cells):
            odd.append(f"{name} has not all its cells")
        if not tests:
            odd.append(f"{name} names no test")
        odd += [f"{name}: {test} is not there" for test in tests if not _is_there(*test.split("::"))]
    return odd


def _is_there(path, name):
    return name.startswith("test_") and name in functions_of(path)


def test_page_has_not_drifted():
    """Each threat says what is done, and its tests are there."""
    assert [] == drift(PAGE)
    assert len(threats(PAGE)) >= 15


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("::test_nothing_gets_out", "::test_something_gets_out", "test_something_gets_out is not there"),
        ("tests/test_browser.py::", "tests/test_gone.py::", "tests/test_gone.py::"),
        ("| T2 |", "| T1 |", "T1 is out of order"),
        ("`tests/test_security.py::test_odd_names_are_data_to_the_store_and_the_disk`", "a test", "T14 names no test"),
    ],
)
def test_drift_is_noticed(old, new, complaint):
    """A page that was changed, or left behind by the tests, has a complaint that says where."""
    assert old in PAGE

    assert [one for one in drift(PAGE.replace(old, new, 1)) if complaint in one]


def test_numbers_of_the_page_are_those_of_the_tests():
    """How many payloads there are is counted, not remembered."""
    from tests import test_browser
    from tests._core import test_sandbox

    assert len(test_sandbox.ESCAPES) >= 60
    assert len(test_sandbox.BOMBS) >= 80
    assert len(test_browser.PAYLOADS) >= 50
