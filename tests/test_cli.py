"""The command `dfllm`: tables in and out, exit codes a script can trust, and nothing is paid or lost for nothing."""

import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import dfllm
from dfllm._core.tasks import INTO
from dfllm.cli import main
from dfllm.simulator import Faults, Simulator

#: Processes of their own stand in another folder, where a relative PYTHONPATH leads nowhere.
APART = {"PYTHONPATH": str(Path(dfllm.__file__).parents[1])}
ECHO = ["-p", "{{ review }}", "-m", "simulator/echo"]
REVIEWS = 'id,review\n007,"good, very ""good"""\n008,\n009,"two\nlines =1+1"\n'
ANSWERED = (
    'id,review,completion,completion_error\n007,"good, very ""good""","good, very ""good""",\n'
    '008,,,Skipped: column \'review\' is missing\n009,"two\nlines =1+1","two\nlines =1+1",\n'
)


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a table and a prompt; return the folder."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("reviews.csv").write_text(REVIEWS, "utf-8")
    Path("prompt.txt").write_text("Sum up: {{ review }}", "utf-8")
    return folder


def here(*arguments: str, **more: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments, **more)


def command(*arguments: str) -> list[str]:
    """Return what runs the command in a process of its own, with every Python warning an error."""
    return [sys.executable, "-W", "error", "-m", "dfllm", *arguments]


def apart(*arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run(command(*arguments), capture_output=True, timeout=60, env={**os.environ, **APART}, **more)


def started(*arguments: str) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own that hears Ctrl-C."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **APART},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def until(claim: Callable[[], object]) -> None:
    """Wait for something to become true."""
    ends = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < ends
        time.sleep(0.005)


def table(rows: int) -> None:
    """Write a table of many rows to many.csv."""
    Path("many.csv").write_text("review\n" + "".join(f"number {row}\n" for row in range(rows)), "utf-8")


# ---- what it says of itself


@pytest.mark.parametrize(
    "names",
    [
        *([], ["run"], ["plan"], ["simulate"], ["store"], *([verb] for verb in INTO)),
        *(["store", n] for n in ("path", "stats", "verify", "repair")),
    ],
)
def test_help_shows_an_example(names):
    """Whoever asks any command for help gets a line to copy."""
    ended = here(*names, "--help")

    assert 0 == ended.exit_code
    assert re.search(rf"^  +dfllm {' '.join(names)}", ended.stdout, re.M)


@pytest.mark.parametrize("name", [None, "run", "plan", *INTO])
def test_examples_in_the_help_run(name):
    """The lines to copy do what they say, in a folder with the files they name."""
    epilog = (main.commands[name] if name else main).epilog.replace("\\\n", "")
    examples = [shlex.split(text.split("|")[0]) for text in epilog.splitlines() if text.startswith("  dfllm ")]

    codes = [here(*words[1:]).exit_code for words in examples]

    assert [0] * len(examples) == codes
    assert examples


def test_version_is_the_package_s():
    """The command knows which release it is."""
    assert f"dfllm {dfllm.__version__}\n" == here("--version").stdout


def test_every_option_is_explained():
    """No option of any command goes without a word."""
    commands = [*main.commands.values(), *main.commands["store"].commands.values()]

    silent = [one.name for each in commands for one in each.params if isinstance(one, click.Option) and not one.help]

    assert [] == silent


# ---- data and words


def test_data_goes_to_stdout_and_words_to_stderr():
    """Without -o the table is on stdout, as it was and two columns wider; the report is on stderr."""
    ended = apart("run", "reviews.csv", *ECHO)

    assert (0, ANSWERED) == (ended.returncode, ended.stdout.decode())
    assert re.fullmatch(rb"Run\(simulator/echo, finished: 3 rows: 2 ok, 0 failed, .*\)\n", ended.stderr)


def test_pipes_are_tables_too():
    """A dash is stdin and stdout, in the formats that are said."""
    ended = apart("run", "-", "-o", "-", *ECHO, "--to", "jsonl", "--quiet", input=REVIEWS.encode())

    assert (0, b"") == (ended.returncode, ended.stderr)
    assert ['good, very "good"', None, "two\nlines =1+1"] == [
        json.loads(text)["completion"] for text in ended.stdout.splitlines()
    ]


@pytest.mark.parametrize("output", ["out.csv", "out.tsv.gz", "out.jsonl", "out.ndjson.gz", "out.parquet"])
def test_every_format_goes_through(output):
    """A table in any format is read, asked about and written in any other."""
    there = here("run", "reviews.csv", *ECHO, "-o", output)
    back = here("run", output, *ECHO, "--overwrite", "--cache", "only", "-o", "back.csv")

    assert (0, 0) == (there.exit_code, back.exit_code)
    assert ANSWERED == Path("back.csv").read_text("utf-8")


def test_columns_are_named_and_detailed():
    """--into names the pair, --schema's fields get columns of their own types, --details what stands behind."""
    schema = '{"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}'
    given = ["--into", "told", "--schema", schema, "--details", "-o", "out.parquet"]

    ended = here("run", "reviews.csv", "-p", "{{ review }}", "-m", "simulator/small", *given)

    frame = pd.read_parquet("out.parquet")
    assert 0 == ended.exit_code
    assert ["id", "review", "told_stars", "told_error", "told_key"] == frame.columns.tolist()[:5]
    assert ["Int64", "Float64"] == [str(frame[name].dtype) for name in ("told_stars", "told_cost")]


def test_json_report_goes_where_the_data_does_not():
    """--json is on stdout when the data goes to a file, else on stderr; it takes the place of the line."""
    to_file = here("run", "reviews.csv", *ECHO, "-o", "out.csv", "--json", "--tag", "first")
    to_stdout = here("run", "reviews.csv", *ECHO, "--json", "--quiet")

    first, second = json.loads(to_file.stdout), json.loads(to_stdout.stderr)
    assert ("", ANSWERED) == (to_file.stderr, to_stdout.stdout)
    assert (2, 0, 1, "first", "finished") == tuple(first[name] for name in ("ok", "known", "skipped", "tag", "state"))
    assert (2, 2, None) == tuple(second[name] for name in ("ok", "known", "tag"))


def test_quiet_says_nothing():
    """--quiet leaves neither a bar nor a report; --progress draws a bar, terminal or not."""
    quiet = here("run", "reviews.csv", *ECHO, "-o", "out.csv", "--quiet")
    loud = here("run", "reviews.csv", *ECHO, "-o", "out.csv", "--progress")

    assert (0, "", "") == (quiet.exit_code, quiet.stdout, quiet.stderr)
    assert "3/3" in loud.stderr


def test_prompts_come_from_files():
    """An @ sends what is in a file, a .j2 path too, and --system takes both texts."""
    Path("prompt.j2").write_text("Sum up: {{ review }}", "utf-8")
    prompts = ["@prompt.txt", "prompt.j2", "Sum up: {{ review }}"]
    Path("system.txt").write_text("Be kind to {{ id }}.", "utf-8")

    plans = [
        here("plan", "reviews.csv", "-m", "simulator/echo", "-p", prompt, "--system", system, "--json").stdout
        for prompt in prompts
        for system in ("@system.txt", "Be kind to {{ id }}.")
    ]

    assert [json.loads(plans[0])] * 6 == [json.loads(plan) for plan in plans]
    assert {"role": "system", "content": "Be kind to 007."} == json.loads(plans[0])["previews"][0][0]


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("--system", "Be brief.", 0),
        ("--schema", "good,bad", 0),
        ("--max-tokens", "77", 0),
        ("--temperature", "0.5", 0),
        ("--seed", "1", 0),
        ("--reasoning", "low", 0),
        ("--extra", '{"top_k": 5}', 0),
        ("--timeout", "9", 2),
        ("--concurrency", "3", 2),
        ("--rpm", "600", 2),
        ("--tpm", "90000", 2),
        ("--tag", "x", 2),
        ("--into", "y", 2),
        ("--cache", "use", 2),
        ("--on-error", "stop", 2),
        ("--missing", "render", 2),
    ],
)
def test_options_reach_the_question(option, value, known):
    """What decides the answer makes another question; how it is got does not."""
    here("run", "reviews.csv", *ECHO)

    plan = json.loads(here("plan", "reviews.csv", *ECHO, option, value, "--json").stdout)

    assert known == plan["known"]


# ---- the plan


def test_plan_sends_nothing_and_makes_nothing(simulator):
    """A plan counts, shows the first prompts, and touches neither the provider nor the output."""
    provider = simulator()
    Path("reviews.csv").write_text("review\n\x1b[31mred\x9b\n", "utf-8")

    ended = here("plan", "reviews.csv", *ECHO, "-o", "out.csv")

    assert 0 == ended.exit_code
    assert "missing  1" in ended.stdout
    assert "[user] [31mred\n" in ended.stdout
    assert (0, False) == (provider.bill.requests, Path("out.csv").exists())


def test_plan_refuses_what_run_would():
    """An output that could not be written is found by the plan, if it is named."""
    ended = here("plan", "reviews.csv", *ECHO, "-o", "none/out.csv")

    assert 1 == ended.exit_code


# ---- nothing paid twice, nothing lost


def test_second_run_sends_nothing(simulator):
    """The same command again reads the store and writes the same bytes."""
    provider = simulator()
    here("run", "reviews.csv", *ECHO, "-o", "out.csv")
    first = Path("out.csv").read_bytes()

    ended = here("run", "reviews.csv", *ECHO, "-o", "out.csv")

    assert (0, 2, first) == (ended.exit_code, provider.bill.requests, Path("out.csv").read_bytes())


def test_store_is_the_one_that_is_named(tmp_path):
    """--store keeps answers elsewhere, for run and plan alike."""
    here("run", "reviews.csv", *ECHO, "--store", str(tmp_path / "other.db"))

    plans = [
        here("plan", "reviews.csv", *ECHO, "--json", *more) for more in ([], ["--store", str(tmp_path / "other.db")])
    ]

    assert [0, 2] == [json.loads(plan.stdout)["known"] for plan in plans]


def test_failed_rows_are_written_and_end_with_3(simulator):
    """A row without an answer has its error beside it, an example is told, and no Python warning is."""
    simulator(faults=Faults(by_text={"lines": "policy400"}))

    ended = apart("run", "reviews.csv", *ECHO, "-o", "out.csv")

    frame = pd.read_csv("out.csv")
    assert 3 == ended.returncode
    assert [True, False, False] == frame["completion"].notna().tolist()
    assert re.fullmatch(r"Run\(.*1 failed.*\)\n  1 x \w+: [^\n]+\n", ended.stderr.decode())


def test_run_that_stops_later_is_written_and_ends_with_3(simulator):
    """Money that runs out in the middle leaves the rest unsent, says so, and the table is there."""
    simulator(faults=Faults(by_text={"number 3": "quota"}))
    table(6)

    ended = here("run", "many.csv", *ECHO, "--concurrency", "1", "-o", "out.csv", "--json")

    facts = json.loads(ended.stdout)
    assert (3, "stopped", 3) == (ended.exit_code, facts["state"], facts["ok"])
    assert ["number 0", "number 1", "number 2"] == pd.read_csv("out.csv")["completion"].dropna().tolist()


@pytest.mark.parametrize("existing", [None, "mine"])
def test_fatal_errors_touch_no_output(simulator, existing):
    """A key that is refused ends with 1 and two lines; an output that is there stays, one that is not stays away."""
    simulator(faults=Faults(rates={"401": 1.0}))
    if existing:
        Path("out.csv").write_text(existing, "utf-8")

    ended = here("run", "reviews.csv", *ECHO, "-o", "out.csv")

    assert 1 == ended.exit_code
    assert re.fullmatch(r"dfllm: simulator/echo: AuthFailed: [^\n]+\nout.csv was not written\.\n", ended.stderr)
    assert existing == (Path("out.csv").read_text("utf-8") if Path("out.csv").exists() else None)


@pytest.mark.parametrize("on_error", ["raise", "stop"])
def test_all_or_nothing_writes_nothing(simulator, on_error):
    """With --on-error raise or stop, a failed row means no output and the end is 1; what was answered is kept."""
    provider = simulator(faults=Faults(by_text={"lines": "policy400"}))

    ended = here("run", "reviews.csv", *ECHO, "-o", "out.csv", "--on-error", on_error)
    again = here("run", "reviews.csv", *ECHO, "-o", "out.csv", "--cache", "only")

    assert (1, 3) == (ended.exit_code, again.exit_code)
    assert re.search(
        r"\n  1 x \w+: .*\ndfllm: .*\nout.csv was not written. What was answered is in the store", ended.stderr
    )
    assert (2, 1) == (provider.bill.requests, pd.read_csv("out.csv")["completion"].notna().sum())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["reviews.csv", "-p", "{{ revue }}", "-m", "simulator/echo"], "asks for 'revue'"),
        (["reviews.csv", "-p", "{{ review", "-m", "simulator/echo"], "template"),
        (["reviews.csv", "-p", "none.j2", "-m", "simulator/echo"], "cannot be read"),
        (["reviews.csv", "-p", "{{ review }}", "-m", "nobody/x"], "nobody"),
        (["reviews.csv", "-p", "{{ review }}"], "No model is named"),
        (["reviews.csv", "-p", "{{ review }}", "-m", "openai/x"], "OPENAI_API_KEY"),
        (["reviews.csv", *ECHO, "--into", "review"], "review"),
        (["reviews.csv", *ECHO, "--missing", "raise"], "Row 1"),
        (["none.csv", *ECHO], "none.csv cannot be read: No such file or directory."),
        (["bad.csv", *ECHO], "bad.csv cannot be read: the row that ends on line 2 has 1 cells, the header 2."),
        (["prompt.txt", *ECHO], "names no format"),
        (["reviews.csv", *ECHO, "-o", "out.xlsx"], "names no format"),
        (["reviews.csv", *ECHO, "-o", "none/out.csv"], "none/out.csv cannot be written: No such file or directory."),
        (["reviews.csv", *ECHO, "-o", "out.csv"], "out.csv cannot be written: Is a directory."),
        (["mixed.jsonl", *ECHO, "-o", "out.parquet"], "Parquet cannot hold this table"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_cannot_be_done_is_one_line_and_free(simulator, given, said):
    """What is wrong with the table, the prompt, the model or the output is found before anything is sent."""
    provider = simulator()
    Path("bad.csv").write_text("review,b\n1\n", "utf-8")
    Path("mixed.jsonl").write_text('{"review":1}\n{"review":"x"}\n', "utf-8")
    if "Is a directory" in said:
        Path("out.csv").mkdir()

    ended = here("run", *given)

    assert (1, 1, "") == (ended.exit_code, ended.stderr.count("\n"), ended.stdout)
    assert ended.stderr.startswith("dfllm: ")
    assert said in ended.stderr
    assert 0 == provider.bill.requests


@pytest.mark.parametrize(
    "given",
    [
        ["reviews.csv", "-m", "simulator/echo"],
        ["reviews.csv", *ECHO, "-o", "reviews.csv"],
        ["reviews.csv", *ECHO, "-o", "../desk/reviews.csv"],
        ["reviews.csv", *ECHO, "-o", "out.csv", "--in-place"],
        ["-", *ECHO, "--in-place"],
        ["reviews.csv", *ECHO, "--schema", "positive"],
        ["reviews.csv", *ECHO, "--extra", "[]"],
        ["reviews.csv", *ECHO, "--cache", "never"],
        ["reviews.csv", *ECHO, "--concurrency", "0"],
        ["reviews.csv", *ECHO, "--rpm", "0"],
        ["reviews.csv", "-m", "simulator/echo", "-p", "prompt.txt"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(simulator, given):
    """An option that is missing or makes no sense is click's to say; nothing is sent and nothing written."""
    provider = simulator()

    ended = here("run", *given)

    assert (2, 0, REVIEWS) == (ended.exit_code, provider.bill.requests, Path("reviews.csv").read_text("utf-8"))
    assert not Path("out.csv").exists()


def test_terminal_gets_no_table_unasked():
    """Where stdout is a terminal, the table goes nowhere until it is said where."""
    leader, follower = pty.openpty()
    try:
        unasked = subprocess.run(
            command("run", "reviews.csv", *ECHO),
            stdout=follower,
            stderr=subprocess.PIPE,
            env={**os.environ, **APART},
            timeout=60,
        )
    finally:
        os.close(follower)
        os.close(leader)

    assert 2 == unasked.returncode
    assert b"-o FILE" in unasked.stderr


def test_input_is_written_anew_in_place():
    """--in-place is the one way to write the input itself; run again, its own columns are replaced."""
    codes = [here("run", "reviews.csv", *ECHO, "--in-place").exit_code for _ in range(2)]

    assert ([0, 0], ANSWERED) == (codes, Path("reviews.csv").read_text("utf-8"))


@pytest.mark.parametrize("change", ["edited", "removed"])
def test_input_that_changed_meanwhile_is_left_alone(simulator, change):
    """What somebody did to the input during the run is not undone; the answers are kept."""
    provider = simulator(latency_seconds=0.3)

    def act() -> None:
        until(lambda: provider.bill.in_flight)
        Path("reviews.csv").write_text("review\nmine\n") if change == "edited" else Path("reviews.csv").unlink()

    acting = threading.Thread(target=act)
    acting.start()
    ended = here("run", "reviews.csv", *ECHO, "--in-place")
    acting.join()

    assert (1, change == "edited") == (ended.exit_code, Path("reviews.csv").exists())
    assert change == "removed" or Path("reviews.csv").read_text() == "review\nmine\n"
    assert "changed meanwhile" in ended.stderr


def test_table_without_rows_is_written():
    """A header alone is a table: nothing is sent, and the columns are there."""
    Path("none.csv").write_text("review\n", "utf-8")

    ended = here("run", "none.csv", *ECHO)

    assert (0, "review,completion,completion_error\n") == (ended.exit_code, ended.stdout)


def test_output_that_cannot_be_finished_says_where_the_answers_are(simulator):
    """A full disk at the end is a line and a 1; the next run pays nothing."""
    provider = simulator()

    ended = here("run", "reviews.csv", *ECHO, "-o", "/dev/full", "--to", "csv")
    again = here("run", "reviews.csv", *ECHO, "-o", "out.csv")

    assert (1, 0, 2) == (ended.exit_code, again.exit_code, provider.bill.requests)
    assert (
        "dfllm: /dev/full could not be written: No space left on device. The answers are in the store" in ended.stderr
    )


def test_overwriting_is_as_the_options_say():
    """A column of the user's own is in the way unless --overwrite; an earlier run's pair only with --no-overwrite."""
    Path("own.csv").write_text("review,completion\nx,mine\n", "utf-8")
    here("run", "reviews.csv", *ECHO, "-o", "out.csv")

    codes = [
        here("run", *given, *ECHO).exit_code
        for given in (["own.csv"], ["own.csv", "--overwrite"], ["out.csv"], ["out.csv", "--no-overwrite"])
    ]

    assert [1, 0, 0, 1] == codes


# ---- signals and pipes


def interrupted(provider: Simulator, presses: int, calls: int) -> tuple[int, str]:
    """Run until the provider has been called so often, press Ctrl-C, and return the exit code and stderr."""
    running = started("run", "many.csv", *ECHO, "--concurrency", "1", "-o", "out.csv")
    try:
        until(lambda: len(provider.bill.entries()) + provider.bill.in_flight >= calls or running.poll() is not None)
        for _ in range(presses):
            running.send_signal(signal.SIGINT)
            try:
                running.wait(20 if presses == 1 else 1)
                break
            except subprocess.TimeoutExpired:
                continue
        _, errors = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    return running.returncode, errors.decode()


def test_ctrl_c_writes_what_is_known(simulator):
    """An interrupt ends with 130, the partial table is there, and the same command pays only for the rest."""
    provider = simulator(latency_seconds=0.2)
    table(12)

    code, errors = interrupted(provider, 1, calls=3)
    partial = pd.read_csv("out.csv")["completion"].notna().sum()
    provider_was = provider.bill.billed
    again = here("run", "many.csv", *ECHO, "-o", "out.csv")

    assert 130 == code
    assert f"dfllm: interrupted; {partial} of 12 rows have their answers, saved and written to out.csv." in errors
    assert 0 < partial < 12
    assert (partial, 0, 12) == (provider_was, again.exit_code, provider.bill.billed)
    assert "Traceback" not in errors


def test_ctrl_c_before_any_answer_leaves_the_output(simulator):
    """Where nothing is known yet, a good output of an earlier run is not replaced by an empty one."""
    provider = simulator(faults=Faults(by_text={"number": "stall"}, stall_seconds=60))
    table(3)
    Path("out.csv").write_text("mine", "utf-8")

    code, errors = interrupted(provider, 5, calls=1)

    assert (130, "mine") == (code, Path("out.csv").read_text("utf-8"))
    assert "dfllm: interrupted before any row had an answer; out.csv was not written.\n" == errors


def test_reader_that_leaves_is_no_error():
    """`dfllm run ... | head -1` ends quietly."""
    Path("wide.csv").write_text("review\n" + "".join(f"{row} {'x' * 2000}\n" for row in range(200)), "utf-8")
    running = started("run", "wide.csv", *ECHO)
    assert running.stdout is not None
    assert running.stderr is not None

    running.stdout.readline()
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()

    assert (141, b"") == (running.wait(20), errors)


def test_stdin_need_not_seek():
    """Parquet comes through a pipe like anything else."""
    stream = io.BytesIO()
    pd.DataFrame({"review": ["x"]}).to_parquet(stream)

    ended = here("run", "-", "--from", "parquet", *ECHO, input=stream.getvalue())

    assert (0, "review,completion,completion_error\nx,x,\n") == (ended.exit_code, ended.stdout)


HOSTILE = ["=1+1", "@SUM(A1)", "-2+3+cmd|' /C calc'!A0", "\u001b[2Jgone\u009b31m", "fine"]


@pytest.mark.parametrize(("more", "mark"), [([], "'"), (["--raw-cells"], "")])
def test_answers_are_no_formulas_unless_asked_for(more, mark, desk):
    """In the CSV that is written, opened again; the switch keeps the bytes."""
    Path("in.jsonl").write_text("".join(json.dumps({"review": text}) + "\n" for text in HOSTILE), "utf-8")

    ended = here("run", "in.jsonl", *ECHO, "-o", "out.csv", *more)

    assert 0 == ended.exit_code, ended.output
    there = pd.read_csv("out.csv", dtype=str)
    assert [f"{mark}{text}" if text[0] in "=@-" else text for text in HOSTILE] == there["completion"].tolist()
    assert there["review"].tolist() == there["completion"].tolist()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_terminal_is_told_nothing_by_an_answer(form, desk):
    """A table that is printed has no control codes in it, in a file it has."""
    Path("in.jsonl").write_text("".join(json.dumps({"review": text}) + "\n" for text in HOSTILE), "utf-8")
    asked = ["run", "in.jsonl", *ECHO, "-o", "-", "--to", form, "--quiet"]
    leader, follower = pty.openpty()

    with subprocess.Popen(command(*asked), stdout=follower, stderr=subprocess.PIPE, env={**os.environ, **APART}) as one:
        os.close(follower)
        printed = b""
        while True:
            try:
                printed += os.read(leader, 65_536)
            except OSError:  # how a terminal ends on Linux
                break
        complained = one.stderr.read()
    os.close(leader)

    assert (0, b"") == (one.returncode, complained)
    assert b"gone" in printed
    assert not any(code in printed.decode() for code in "\x1b\x9b")
    assert b"\xc2\x9b" in apart(*asked).stdout


def test_several_models_have_columns_each():
    """`-m` may be given again; the table has a pair of columns for each, and the plan a part."""
    models = ["-m", "simulator/echo", "-m", "simulator/small"]

    planned = json.loads(here("plan", "reviews.csv", "-p", "{{ review }}", *models, "--json").stdout)
    ended = here("run", "reviews.csv", "-p", "{{ review }}", *models, "-o", "out.csv", "--json")

    assert ["simulator/echo", "simulator/small"] == [one["model"] for one in planned["models"]]
    assert (4, 2) == (planned["missing"], planned["models"][0]["missing"])
    assert 0 == ended.exit_code, ended.output
    made = [f"completion_{name}" for name in ("echo", "echo_error", "small", "small_error")]
    assert ["id", "review", *made] == list(pd.read_csv("out.csv").columns)
    assert {"simulator/echo": 2, "simulator/small": 2} == {
        name: own["ok"] for name, own in json.loads(ended.stdout)["models"].items()
    }


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_samples_are_lists_in_every_format(output):
    """As JSON where cells are text."""
    ended = here("run", "reviews.csv", *ECHO, "--samples", "2", "--repeats", "vary", "-o", output)

    assert 0 == ended.exit_code, ended.output
    read = {"out.csv": pd.read_csv, "out.jsonl": lambda path: pd.read_json(path, lines=True)}
    cell = read.get(output, pd.read_parquet)(output)["completion"].iloc[0]
    assert ['good, very "good"'] * 2 == (json.loads(cell) if isinstance(cell, str) else list(cell))


def test_a_fallback_answers_what_failed(simulator, monkeypatch):
    """`--fallback` names who is asked next."""
    simulator(faults=Faults(by_text={"two": "refusal"}))
    with Simulator() as other:
        monkeypatch.setenv("OLLAMA_HOST", other.base_url.removesuffix("/v1"))

        ended = here("run", "reviews.csv", *ECHO, "--fallback", "ollama/echo", "-o", "out.csv", "--json")

    assert 0 == ended.exit_code, ended.output
    assert {"simulator/echo": 1, "ollama/echo": 1} == {
        name: own["ok"] for name, own in json.loads(ended.stdout)["models"].items()
    }
