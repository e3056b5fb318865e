"""The house keeps its promises: what lies where, who imports whom, and what is public is documented."""

import ast
import inspect
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import dfllm
from dfllm._core.tasks import INTO
from dfllm._series_verbs import SeriesVerbs
from dfllm._verbs import Verbs
from dfllm.accessor import DataFrameLLM, SeriesLLM

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
#: Slow to import, or a sign that something was started; only those who need them pay for them.
_HEAVY = ("IPython", "anthropic", "dfllm.simulator", "genai_prices", "jsonschema", "matplotlib", "openai")
_IGNORED = re.compile(r"#\s*(?:noqa(?::\s*[A-Z0-9, ]+)?|type:\s*ignore(?:\[[^\]]*\])?)")


def tracked() -> list[str]:
    """Return what git has, below the root; what else lies there is somebody's own."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout, so nothing says what belongs to it")
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_top_level_is_what_the_design_names():
    """The root holds a handful of things, each of them known; dotfiles are the tools' own."""
    known = {"pyproject.toml", "src", "tests", "notebooks", "docs", "README.md", "LICENSE"}

    there = {name for path in tracked() if not (name := path.split("/")[0]).startswith(".")}

    assert known == there


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "dfllm")))
def test_file_opens_with_a_sentence_and_is_short(path):
    """A file says what belongs in it, and its body fits a reader's head."""
    text = path.read_text("utf-8")

    opening = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split("\n")[0]

    assert re.fullmatch(r"\S.*[.:]", opening), f"{path.name} opens with {opening!r}"
    assert text.count("\n") <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "dfllm")))
def test_ignored_lints_have_a_reason(path):
    """A `noqa` or `type: ignore` is followed by a comment that says why."""
    lines = path.read_text("utf-8").splitlines()

    bare = [
        number
        for number, line in enumerate(lines, 1)
        for found in _IGNORED.finditer(line)
        if not re.match(r"\s*[#-]+ \w\S* \S+", line[found.end() :])
    ]

    assert [] == bare


def test_nothing_that_is_read_becomes_code():
    """No file knows a way from bytes to objects or to code: what is stored, answered or in a cell stays data."""
    modules = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "code", "importlib.util"}
    calls = {"eval", "exec", "compile", "__import__"}

    found = [
        f"{path.name}:{node.lineno} {name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in _reached(node)
        if name in modules | calls
    ]

    # The one compiler is the sandbox's own, of templates it has rewritten.
    assert [] == [one for one in found if not re.match(r"sandbox\.py:\d+ (compile|exec)$", one)]


def _reached(node: ast.AST) -> list[str]:
    """Return what a node imports, or calls by a bare name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return [node.func.id]
    return []


def test_public_names_are_sorted_and_there():
    """`__all__` is sorted, without repeats, and every name in it exists."""
    assert sorted(set(dfllm.__all__)) == dfllm.__all__
    assert [] == [name for name in dfllm.__all__ if not hasattr(dfllm, name)]


def test_public_names_are_in_the_docs():
    """docs/api.md documents every public name, and the accessor's verbs with them."""
    page = (ROOT / "docs" / "api.md").read_text("utf-8")

    documented = set(re.findall(r"^\.\. auto\w+:: dfllm\.(?:\w+\.)*(\w+)$", page, re.M))

    assert {name for name in dfllm.__all__ if name != "__version__"} <= documented
    assert {"DataFrameLLM", "SeriesLLM"} <= documented


@pytest.mark.parametrize("owner", [DataFrameLLM, SeriesLLM, Verbs, SeriesVerbs], ids=lambda owner: owner.__name__)
def test_verbs_are_documented(owner):
    """Every verb of the accessors has a docstring that says what comes back."""
    verbs = {name: verb for name, verb in vars(owner).items() if not name.startswith("_")}

    assert [] == [name for name, verb in verbs.items() if not re.search(r"Returns:|Yields:", verb.__doc__ or "")]


def test_public_functions_have_an_example():
    """Functions of `__all__` and the verbs of a frame show how they are used; tests/test_docs.py runs it."""
    functions = {name: public for name in dfllm.__all__ if inspect.isfunction(public := getattr(dfllm, name))}
    verbs = {name: verb for name, verb in vars(DataFrameLLM).items() if not name.startswith("_")}
    verbs |= {name: verb for name, verb in vars(Verbs).items() if name in INTO}
    verbs |= {name: getattr(dfllm.prompts, name) for name in INTO}

    assert [] == [name for name, one in {**functions, **verbs}.items() if "Example:" not in (one.__doc__ or "")]


def test_public_classes_have_a_docstring_of_their_own():
    """A class of `__all__` does not inherit its docstring."""
    classes = {name: public for name in dfllm.__all__ if inspect.isclass(public := getattr(dfllm, name))}

    assert [] == [name for name, one in classes.items() if not vars(one).get("__doc__")]


def test_imports_go_down_only():
    """The floors, as pyproject.toml states them; import-linter is in the group of lints, and CI runs it anyway."""
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_importing_is_light_and_opens_no_socket():
    """`import dfllm` neither talks nor drags in what most calls never need."""
    program = f"""
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(event) if event.startswith("socket.") else None)
import dfllm
print([name for name in {_HEAVY!r} if name in sys.modules], [event for event in opened if event != "socket.__new__"])
"""

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=100, check=True
    )

    assert "[] []" == ended.stdout.strip()


def test_command_is_the_one_pyproject_names():
    """The console script leads to a click command."""
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]

    assert {"dfllm": "dfllm.cli:main"} == scripts
    assert callable(EntryPoint("dfllm", scripts["dfllm"], "console_scripts").load())


def test_version_is_said_once():
    """The package's version is pyproject.toml's, and the changelog knows it."""
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert version == dfllm.__version__
    assert f"## {version}" in (ROOT / "docs" / "changelog.md").read_text("utf-8")
