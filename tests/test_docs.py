"""The README, the docs and the examples in docstrings do what they say: they are run here, page by page.

A comment before a fence says how: ``<!-- not run -->``,
``<!-- warns -->`` (it gives RowsFailedWarning; ``<!-- warns: X -->`` gives X),
``<!-- output -->`` (what the block before printed), ``<!-- run -->`` (a shell block; ``<!-- run: 3 -->`` exits with 3).
"""

import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import NamedTuple

import pytest

import dfllm
from dfllm._core.types import FailureType

ROOT = Path(__file__).parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_MARK = re.compile(r"<!--\s*(.*?)\s*-->")
_MODULES = [
    module.name for module in pkgutil.walk_packages(dfllm.__path__, "dfllm.") if not module.name.endswith("__main__")
]


class Block(NamedTuple):
    """A fenced block of a page; `line` is that of its first line, counted from 1."""

    language: str
    mark: str
    line: int
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return the page's fenced blocks, each with the comment on the line before it."""
    blocks, mark, fence, language, start = [], "", "", "", 0
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if fence:
            if line.strip() == fence:
                blocks.append(Block(language, mark, start, "\n".join(lines[start - 1 : number - 1]) + "\n"))
                mark, fence = "", ""
        elif opened := re.match(r"\s*(`{3,}|:{3,})(.*)", line):
            fence, language, start = opened[1], opened[2].strip(), number + 1
        elif line.strip():
            found = _MARK.fullmatch(line.strip())
            mark = found[1] if found else ""
    return blocks


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, the current one, that holds what the docs say a checkout holds."""
    folder = tmp_path / "desk"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.chdir(folder)
    return folder


def run_python(page: Path, block: Block, names: dict[str, object]) -> str:
    """Run one block and return what it printed; lines in tracebacks are the page's."""
    code = compile("\n" * (block.line - 1) + block.text, page.name, "exec")
    printed = io.StringIO()
    word, _, kind = block.mark.partition(": ")
    warning = getattr(dfllm, kind or "RowsFailedWarning")
    warns = pytest.warns(warning) if word == "warns" else contextlib.nullcontext()
    with contextlib.redirect_stdout(printed), warns:
        exec(code, names)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_runs_and_prints_what_it_says(page, desk):
    """Every Python block runs, in order and in one namespace, and output that the page shows is what was printed."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""

    for block in blocks_of(page):
        if block.mark == "output":
            assert doctest.OutputChecker().check_output(block.text, printed, FLAGS), (
                f"{page.name}:{block.line}\n{printed}"
            )
        elif block.language == "python" and block.mark != "not run":
            printed = run_python(page, block, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fences_of_a_page_are_marked_with_known_words(page):
    """A misspelt mark would leave a block out of these tests without a word."""
    known = ("", "not run", "warns", "output", "main command", "test command")

    odd = [
        block
        for block in blocks_of(page)
        if block.mark not in known and not re.fullmatch(r"run(: \d+)?|warns: \w+", block.mark)
    ]

    assert [] == odd


def test_shell_of_the_cli_page_runs(desk):
    """Every shell block that is marked as run ends with the code the page says, 0 where it says none."""
    blocks = [block for block in blocks_of(ROOT / "docs" / "cli.md") if block.mark.startswith("run")]
    environment = {**os.environ, "PYTHON": sys.executable}
    wanted = [int(block.mark.partition(":")[2] or 0) for block in blocks]

    # A function, so that the command is this interpreter's, installed or not.
    ended = [
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", 'dfllm() { "$PYTHON" -W error -m dfllm "$@"; }\n' + block.text],
            env=environment,
            cwd=desk,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
        for block in blocks
    ]

    assert wanted
    assert wanted == [one.returncode for one in ended], [one.stderr for one in ended]


@pytest.mark.parametrize("name", _MODULES)
def test_examples_in_docstrings_run(name, desk):
    """Examples print what they show."""
    module = importlib.import_module(name)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS)

    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(example, out=said.write)

    assert 0 == runner.summarize(verbose=False).failed, said.getvalue()


def test_errors_page_lists_every_type_of_failure():
    """The table of failures and the closed list in the code are the same, no type left out and none made up."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")

    listed = re.findall(r"^\| `(\w+)` \|", page.split("<!-- types -->")[1].split("<!-- end of types -->")[0], re.M)

    assert sorted(typing.get_args(FailureType)) == sorted(listed)


def test_errors_page_lists_every_exception():
    """Every exception and warning in `dfllm.__all__` is on the errors page."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    public = {
        name
        for name in dfllm.__all__
        if isinstance(kind := getattr(dfllm, name), type) and issubclass(kind, BaseException)
    }

    assert set() == {name for name in public if f"`{name}`" not in page}


def test_faults_page_lists_every_fault():
    """The simulator's page names every fault there is."""
    from dfllm.simulator import FAULTS

    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")

    assert [] == [name for name in FAULTS if f"`{name}`" not in page]
