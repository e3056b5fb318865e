"""`dfllm store` counts, checks and mends, and never makes what it was only asked to look at."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dfllm._core.keys import text_of
from dfllm._run.store import Entry, Store
from dfllm.cli import main


def dfllm(*arguments: str, **more: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["store", *arguments], **more)


@pytest.fixture
def path() -> Path:
    """Return the path of a store with three answers."""
    path = Path(os.environ["DFLLM_STORE"])
    store = Store(path)
    keys = [bytes([number]) * 20 for number in range(3)]
    store.save(
        [Entry(key, b"{}", "openai", "gpt-mini", 1_699_963_200.0, 0.5, 1_500_000) for key in keys], "r_1"
    ).result()
    store.close()
    return path


@pytest.fixture
def damaged(path: Path) -> Path:
    """Return the path of a store with an answer that is not what its checksum says."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET body = x'5b5d' WHERE key = ?", (b"\1" * 20,))
    connection.close()
    return path


def test_path_is_where_the_settings_say(tmp_path: Path):
    """The option goes before the environment, a folder gets a file; nothing is made."""
    found = [dfllm("path").stdout, dfllm("path", "--store", str(tmp_path)).stdout]

    assert [f"{os.environ['DFLLM_STORE']}\n", f"{tmp_path / 'answers.db'}\n"] == found
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["stats", "verify", "repair"])
def test_no_store_is_made_by_looking(command, tmp_path: Path):
    """Where there is no store, that is said, and there is none afterwards."""
    place = tmp_path / "none" / "answers.db"

    ended = dfllm(command, "--store", str(place))

    assert (1, "", f"dfllm: There is no store at {place}") == (
        ended.exit_code,
        ended.stdout,
        ended.stderr.split(";")[0],
    )
    assert not place.exists()


def test_stats_are_a_table(path: Path):
    """Answers are counted by provider and model, with what they cost."""
    ended = dfllm("stats")

    lines = ended.stdout.splitlines()
    assert 0 == ended.exit_code
    assert ["answers", "3"] == lines[2].split()
    assert ["PROVIDER", "MODEL", "ANSWERS", "FIRST", "LAST", "COST"] == lines[-2].split()
    assert ["openai", "gpt-mini", "3", "2023-11-14", "2023-11-14", "0.0045"] == lines[-1].split()


def test_stats_are_json(path: Path):
    """The same counts for scripts."""
    facts = json.loads(dfllm("stats", "--json").stdout)

    assert (str(path), 3, 0) == (facts["path"], facts["entries"], facts["quarantine"])
    assert [("openai", "gpt-mini", 3)] == [(one["provider"], one["model"], one["entries"]) for one in facts["sources"]]


def test_whole_store_is_well(path: Path):
    """Every answer is read, and the end is 0."""
    ended = dfllm("verify")

    assert (0, f"{path}: 3 answers read, 0 damaged; file: ok\n") == (ended.exit_code, ended.stdout)


def test_damaged_answer_is_found(damaged: Path):
    """One damaged answer is named, what becomes of it is said, and the end is 1."""
    ended = dfllm("verify")

    lines = ended.stdout.splitlines()
    assert 1 == ended.exit_code
    assert [f"{damaged}: 3 answers read, 1 damaged; file: ok", "  " + text_of(b"\1" * 20)] == lines[:2]
    assert "asks again" in lines[2]


def test_damaged_answer_is_found_in_json(damaged: Path):
    """The same for scripts, with the keys as everywhere else."""
    ended = dfllm("verify", "--json")

    facts = json.loads(ended.stdout)
    assert (1, False, [text_of(b"\1" * 20)]) == (ended.exit_code, facts["ok"], facts["damaged"])


def test_foreign_file_is_refused_in_a_line(path: Path):
    """What is no store is not read, and the way out is said."""
    path.write_bytes(b"no database at all" * 100)

    ended = dfllm("verify")

    assert 1 == ended.exit_code
    assert "dfllm store repair" in ended.stderr
    assert 1 == ended.stderr.count("\n")


def test_repair_keeps_what_is_whole(damaged: Path):
    """The answers that can be read are in a new store, and the damaged one lies beside it."""
    ended = dfllm("repair", "--yes")

    assert 0 == ended.exit_code
    assert "2 answers kept, 1 lost" in ended.stdout
    assert ended.stdout.splitlines()[1].removeprefix("The damaged file is ").rstrip(".") in {
        str(file) for file in damaged.parent.iterdir()
    }
    assert 0 == dfllm("verify").exit_code


def test_repair_is_json(damaged: Path):
    """The same for scripts."""
    facts = json.loads(dfllm("repair", "--yes", "--json").stdout)

    assert (str(damaged), 2, 1, True) == (facts["path"], facts["kept"], facts["lost"], Path(facts["moved_to"]).exists())


@pytest.mark.parametrize(("said", "code"), [("n\n", 1), ("", 1), ("y\n", 0)])
def test_repair_asks_first(damaged: Path, said, code):
    """Nothing is moved without a yes."""
    before = damaged.read_bytes()

    ended = dfllm("repair", input=said)

    assert code == ended.exit_code
    assert (code == 1) == (before == damaged.read_bytes())
    assert "Move" in ended.stderr
