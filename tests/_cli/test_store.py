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


@pytest.mark.parametrize(
    "command", ["stats", "verify", "repair", "prune --older-than 1d", "purge --tag a", "export out.parquet"]
)
def test_no_store_is_made_by_looking(command, tmp_path: Path):
    """Where there is no store, that is said, and there is none afterwards."""
    place = tmp_path / "none" / "answers.db"

    ended = dfllm(*command.split(), "--store", str(place))

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


def test_prune_makes_room(path: Path):
    """What is old goes, and what that came to is said."""
    ended = dfllm("prune", "--older-than", "1d", "--yes")

    assert 0 == ended.exit_code
    assert "3 answers and 0 attempts or damaged ones removed" in ended.stdout
    assert 0 == json.loads(dfllm("stats", "--json").stdout)["entries"]


def test_prune_is_json(path: Path):
    """The same for scripts; a model that said nothing here loses nothing."""
    facts = json.loads(dfllm("prune", "--model", "openai/gpt-max", "--max-bytes", "1", "--yes", "--json").stdout)

    assert (str(path), 0, 0) == (facts["path"], facts["answers"], facts["others"])


@pytest.mark.parametrize(
    "given", [["--key", text_of(b"\1" * 20)], ["--key", text_of(b"\1" * 20), "--key", text_of(b"\2" * 20)]]
)
def test_purge_removes_by_key(path: Path, given):
    """One key or several."""
    facts = json.loads(dfllm("purge", *given, "--yes", "--json").stdout)

    assert (len(given) // 2, 3 - len(given) // 2) == (
        facts["answers"],
        json.loads(dfllm("stats", "--json").stdout)["entries"],
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_purge_removes_the_answers_of_a_table(path: Path, suffix):
    """A table made with --details has the keys."""
    table = path.with_name(f"out.{suffix}")
    key = text_of(b"\1" * 20)
    table.write_text(f"a,into_key\n1,{key}\n" if suffix == "csv" else json.dumps({"a": 1, "into_key": key}) + "\n")

    ended = dfllm("purge", "--table", str(table), "--yes")

    assert (0, "1 answers") == (ended.exit_code, ended.stdout[:9])


def test_purge_says_what_a_table_lacks(path: Path):
    """No keys and no file are one line each, and nothing is removed."""
    table = path.with_name("out.csv")
    table.write_text("a\n1\n")

    ended = [dfllm("purge", "--table", str(name), "--yes") for name in (table, path.with_name("none.csv"))]

    assert [1, 1] == [one.exit_code for one in ended]
    assert "no column of keys" in ended[0].stderr
    assert "none.csv cannot be read: No such file or directory. Nothing was removed." in ended[1].stderr
    assert 3 == json.loads(dfllm("stats", "--json").stdout)["entries"]


@pytest.mark.parametrize(
    "command", [["prune"], ["purge"], ["purge", "--tag", "a", "--older-than", "1d"], ["prune", "--max-bytes", "-1"]]
)
def test_what_is_to_be_removed_must_be_said(path: Path, command):
    """A command that does not say it is called wrongly, and removes nothing."""
    ended = dfllm(*command, "--yes")

    assert (2, 3) == (ended.exit_code, json.loads(dfllm("stats", "--json").stdout)["entries"])


@pytest.mark.parametrize("command", ["prune --older-than 1d", "purge --older-than 1d"])
@pytest.mark.parametrize(("said", "left"), [("n\n", 3), ("", 3), ("y\n", 0)])
def test_removing_asks_first(path: Path, command, said, left):
    """Nothing is removed without a yes; the question goes to stderr."""
    ended = dfllm(*command.split(), input=said)

    assert (1 if left else 0, left) == (ended.exit_code, json.loads(dfllm("stats", "--json").stdout)["entries"])
    assert f"Remove answers from {path}" in ended.stderr


def test_answers_travel(path: Path, tmp_path: Path):
    """Out of one store, into another, which is made."""
    file, other = str(tmp_path / "out.parquet"), str(tmp_path / "other.db")

    ended = [dfllm("export", file), dfllm("load", file, "--store", other), dfllm("load", file, "--store", other)]

    assert [0, 0, 0] == [one.exit_code for one in ended]
    assert [
        f"3 answers written to {file}; 0 damaged ones left out.\n",
        "3 of 3 answers taken in, 0 known before, 0 damaged ones left out.\n",
        "0 of 3 answers taken in, 3 known before, 0 damaged ones left out.\n",
    ] == [one.stdout for one in ended]


def test_damaged_answers_do_not_travel(damaged: Path, tmp_path: Path):
    """They are left out and counted, and the end is 3."""
    file = str(tmp_path / "out.parquet")

    exported = dfllm("export", file, "--json")
    loaded = dfllm("load", file, "--json")

    assert (3, {"path": file, "answers": 2, "damaged": 1}) == (exported.exit_code, json.loads(exported.stdout))
    assert (0, {"path": str(damaged), "answers": 2, "taken": 0, "known": 2, "damaged": 0}) == (
        loaded.exit_code,
        json.loads(loaded.stdout),
    )


def test_damaged_cells_of_an_export_are_left_out(path: Path, tmp_path: Path):
    """Loading counts them, and the end is 3."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "out.parquet"
    dfllm("export", str(file))
    table = pq.read_table(file)
    pq.write_table(table.set_column(5, "cost", pa.array([1, 2, 1_500_000])), file)

    ended = dfllm("load", str(file), "--store", str(tmp_path / "other.db"))

    assert (3, "1 of 3 answers taken in, 0 known before, 2 damaged ones left out.\n") == (
        ended.exit_code,
        ended.stdout,
    )
