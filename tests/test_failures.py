"""docs/failures.md cannot drift: its lines name tests that are there, and quote words that the code says.

What its lines with a fault promise is run in tests/test_failure_table.py.
"""

import ast
import re
import typing
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from dfllm._core.types import FailureType
from dfllm.simulator import FAULTS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "failures.md").read_text("utf-8")
TYPES = typing.get_args(FailureType)
#: What runs a line with a fault as it stands; it knows what the code says better than any list of ours.
HERE = "tests/test_failure_table.py::test_fault_"
#: The words that a line with a fault may use, and that tests/test_failure_table.py knows how to check.
RUN = ("goes on", "stops", "stops if first", "waits", "goes on; stops if first")
TRIED = ("no", "once", "3 times", "as told", "mended once")
KEPT = ("nothing", "answer", "error", "answer, or nothing")
#: An error text ends in its word on the bill, or has no facts at all, where nothing was sent.
_BILL = re.compile(r"\((.+, )?(free|paid|maybe)\)$|^[^()]+$")


class Line(NamedTuple):
    """A line of a table: its cells, as they stand."""

    name: str
    what: str
    row: str
    run: str
    tried: str
    kept: str
    fault: str
    test: str

    @property
    def texts(self) -> list[str]:
        """The error texts it quotes."""
        quoted = re.findall(r"`([^`]+)`", self.row)
        return [one for one in quoted if re.match(r"[A-Z]\w+: ", one)]

    @property
    def faults(self) -> list[str]:
        """The simulator's faults that show it."""
        return re.findall(r"`([^`]+)`", self.fault)

    @property
    def tests(self) -> list[str]:
        """The tests it names."""
        return re.findall(r"`([^`]+)`", self.test)

    @property
    def course(self) -> str:
        """What the run does, in the words of `RUN`; a comma begins what is said beyond that."""
        return self.run.partition(",")[0]

    def says(self, error: str | None) -> bool:
        """Whether a row's error is one of those that the line quotes; `…` is any text, and no error an answer."""
        if error is None:
            return "an answer" in self.row
        return any(re.fullmatch(pattern_of(text), error) for text in self.texts)


def pattern_of(text: str) -> str:
    """Return the regular expression of a quoted text, in which `…` stands for any words."""
    return ".+".join(re.escape(part) for part in text.split("…"))


def lines_of(page: str) -> list[Line]:
    """Return the lines of the page's tables."""
    rows = [line for line in page.splitlines() if re.match(r"\| [A-Z]\d+\w* \|", line)]
    return [Line(*(cell.strip() for cell in row.strip("| ").split(" | "))) for row in map(_filled, rows)]


def _filled(row: str) -> str:
    return re.sub(r"\|\s+\|", "| - |", row)


@cache
def functions_of(path: str) -> frozenset[str]:
    """Return the names of the test functions in a file; none where there is no such file."""
    return frozenset(
        node.name
        for node in ast.walk(_tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@cache
def constants_of(path: str) -> frozenset[str]:
    """Return the texts that a file's code holds, docstrings left out."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(_tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return frozenset(
        node.value
        for node in ast.walk(_tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )


def _tree_of(path: str) -> ast.Module:
    file = ROOT / path
    return ast.parse(file.read_text("utf-8") if file.is_file() else "")


def drift(page: str) -> list[str]:
    """Return what is wrong with the page, a sentence each."""
    lines = lines_of(page)
    names = [line.name for line in lines]
    faults = [fault for line in lines for fault in line.faults]
    quoted = {text.partition(":")[0] for line in lines for text in line.texts}
    return [
        *(f"{name} stands there twice" for name in sorted(set(names)) if names.count(name) > 1),
        *(f"{fault} is the fault of more than one line" for fault in sorted(set(faults)) if faults.count(fault) > 1),
        *(f"no line has the fault {fault}" for fault in FAULTS if fault not in faults),
        *(f"there is no fault {fault}" for fault in faults if fault not in FAULTS),
        *(f"no line says {kind}" for kind in TYPES if kind not in quoted),
        *(f"there is no type {kind}" for kind in sorted(quoted - {*TYPES})),
        *(trouble for line in lines for trouble in _drift_of(line)),
    ]


def _drift_of(line: Line) -> list[str]:
    files = [test.partition("::")[0] for test in line.tests]
    said = {constant for file in files for constant in constants_of(file)}
    odd = [
        *(f"{test} is not there" for test in line.tests if not _is_there(*test.partition("::"))),
        *(f"{text!r} has no word on the bill" for text in line.texts if not _BILL.search(text)),
    ]
    if not line.tests:
        odd.append("names no test")
    if not line.texts and not re.search("an answer|no row|nothing", line.row):
        odd.append("does not say what the row says")
    if line.faults:
        odd += [f"{word!r} is no word for this" for word, known in _words_of(line) if word not in known]
        if any(test.startswith(HERE) for test in line.tests):
            return [f"{line.name}: {one}" for one in odd]
        odd += [f"its tests know no fault {fault}" for fault in line.faults if fault not in said]
    odd += [f"its tests do not say {text!r}" for text in line.texts if not _is_said(text, said)]
    return [f"{line.name}: {one}" for one in odd]


def _is_there(path: str, _: str, name: str) -> bool:
    return name in functions_of(path)


def _words_of(line: Line) -> list[tuple[str, tuple[str, ...]]]:
    return [(line.course, RUN), (line.tried, TRIED), (line.kept, KEPT)]


def _is_said(text: str, said: set[str]) -> bool:
    pattern = re.compile(pattern_of(text).replace(".+", ".*"))
    return any(pattern.search(constant) for constant in said)


def test_page_has_not_drifted():
    """Each line's tests are there, each fault and each type has its line, each text is said somewhere."""
    assert [] == drift(PAGE)


def test_page_is_read_whole():
    """No line of a table is passed over, and each has all its cells."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\| \||\|---", line)]

    lines = lines_of(PAGE)

    assert len(rows) == len(lines) > 60
    assert [] == [line.name for line in lines if not all(line[:6]) or not line.tests]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("::test_a_dead_key_costs_one_request_in_two_threads", "::test_gone", "test_gone is not there"),
        ("tests/test_report.py::", "tests/test_gone.py::", "tests/test_gone.py::"),
        ("| `drip` |", "| |", "no line has the fault drip"),
        ("| `drip` |", "| `drop` |", "there is no fault drop"),
        ("| `drip` |", "| `stall` |", "stall is the fault of more than one line"),
        ("`AuthFailed: key", "`KeyFailed: key", "no line says AuthFailed"),
        ("`AuthFailed: key", "`KeyFailed: key", "there is no type KeyFailed"),
        ("`TlsError: certificate expired", "`TlsError: certificate too old", "its tests do not say"),
        (
            "`ConnectFailed: name does not resolve (try 4, free)`",
            "`ConnectFailed: name (try 4)`",
            "no word on the bill",
        ),
        ("| A2 |", "| A1 |", "A1 stands there twice"),
        ("| goes on | once | nothing | `drip` |", "| hopes | once | nothing | `drip` |", "'hopes' is no word for this"),
    ],
)
def test_drift_is_noticed(old, new, complaint):
    """A page that was changed, or left behind by the code, has a complaint that says where."""
    assert old in PAGE

    found = drift(PAGE.replace(old, new, 1))

    assert [one for one in found if complaint in one]
