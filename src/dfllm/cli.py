"""The command `dfllm`: tables in, tables out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, cast

import click
import pandas as pd

import dfllm
from dfllm import _tables
from dfllm._cli.options import asking, printing_json
from dfllm._cli.providers import providers
from dfllm._cli.runs import runs
from dfllm._cli.saying import FAILED_ROWS, INTERRUPTED, Commands, Screen, fail, line, tell
from dfllm._cli.simulate import simulate
from dfllm._cli.store import store
from dfllm._cli.verbs import verb_commands
from dfllm._core.aliases import aliases_of
from dfllm._core.controls import visible
from dfllm._core.errors import RowsFailed, RunStopped
from dfllm._core.schema import schema_of
from dfllm._core.tasks import Task
from dfllm._frame import names_of
from dfllm._places import check_place, replacing
from dfllm._run.store_off import NOWHERE

_SHOWN_ERRORS = 4
_HELP = "A prompt per row of a table; every paid answer kept, nothing paid twice."
_EPILOG = """\b
Without a key, on made-up answers:
  dfllm run reviews.csv -p "Sentiment of: {{ review }}" -m simulator/small -o out.csv
\b
Ends with 0 if all is well, 1 if nothing could be done, 2 if it was called wrongly,
3 if it is done but rows have no answer, 130 if it was interrupted.
"""
_RUN_HELP = """Ask a model about every row of INPUT, and write the table with the answers.

INPUT is a CSV, TSV, JSONL or Parquet file by its suffix (.csv .tsv .jsonl .ndjson .parquet, all but Parquet also with
.gz), or - for stdin. Columns are added: the answer, and beside it why a row has none. What the store knows is not asked
again, so the same command finishes what an earlier one left undone. OUTPUT is replaced, in one piece, by the newer one.

CSV cells stay as they are written: 007 is text, NA is a word, and only an empty cell is missing. A column holds numbers
where that changes no cell; elsewhere write {{ price | float }}. In CSV and TSV, text of the model's that a spreadsheet
would take for a formula gets a ' in front; --raw-cells leaves it.

Data goes to the file or to stdout; progress, the report and errors go to stderr.
"""
_RUN_EPILOG = """\b
Examples:
  dfllm run reviews.csv -p "Sentiment of: {{ review }}" -m simulator/small \\
      --into sentiment --schema positive,negative -o out.parquet
  dfllm run reviews.csv -p @prompt.txt -m simulator/small --to jsonl | head -2
\b
Ends with
  0    every row has its answer, or was skipped as --missing says
  1    nothing could be done, and OUTPUT was not touched
  2    it was called wrongly
  3    it is written, but rows have no answer: see the error column
  130  it was interrupted; what is known is written, the same command goes on
"""
_PLAN_HELP = """Say what `run` would do: rows, distinct questions, what is known, the first prompts. Nothing is sent.

Takes what `run` takes, and prints the plan to stdout.
"""
_PLAN_EPILOG = """\b
Example:
  dfllm plan reviews.csv -p "Sentiment of: {{ review }}" -m simulator/small
"""


@click.group(cls=Commands, help=_HELP, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dfllm.__version__, prog_name="dfllm", message="%(prog)s %(version)s")
def main() -> None:
    """Run the command line."""


main.add_command(providers)
main.add_command(runs)
main.add_command(simulate)
main.add_command(store)


class _Target(NamedTuple):
    """Where the data goes: a path, or None for stdout."""

    path: Path | None
    form: _tables.Format

    def __str__(self) -> str:
        return "stdout" if self.path is None else str(self.path)


class _Source(NamedTuple):
    """What was read, and what tells its file from a changed one."""

    table: _tables.Table
    stamp: tuple[int, ...]


def _target(given: Mapping[str, Any]) -> _Target:
    """Return where the data goes, once it is known that it can."""
    source, output = given["source"], given["output"]
    same = "-" not in (source, output) and output is not None and _same(Path(source), Path(output))
    if given["in_place"]:
        if source == "-" or not (same or output is None):
            raise click.UsageError("--in-place writes INPUT itself, which must be a file; leave -o out.")
        output = source
    elif same:
        raise click.UsageError(f"{output} is INPUT itself; say --in-place to write it anew.")
    terminal = sys.stdout.isatty()
    if output is None and terminal:
        raise click.UsageError("Say where the table goes: -o FILE, or -o - for this terminal.")
    form = _tables.format_of(output or "-", given["kind_out"])
    if output is None or output == "-":
        if form.kind == "parquet" and terminal:
            raise click.UsageError("Parquet is nothing for a terminal; say -o FILE.")
        return _Target(None, form)
    try:
        check_place(Path(output))
    except OSError as error:
        raise _tables.TableError(f"{output} cannot be written: {_reason(error)}. Nothing was sent.") from error
    return _Target(Path(output), form)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _load(given: Mapping[str, Any]) -> _Source:
    source = given["source"]
    form = _tables.format_of(source, given["kind_in"])
    try:
        if source == "-":
            return _Source(_tables.read(sys.stdin.buffer, form), ())
        stamp = _stamp(Path(source))
        with Path(source).open("rb") as stream:
            return _Source(_tables.read(stream, form), stamp)
    except _tables.TableError as error:
        raise _tables.TableError(f"{source} cannot be read: {error}.") from error
    except OSError as error:
        raise _tables.TableError(f"{source} cannot be read: {_reason(error)}.") from error


def _stamp(path: Path) -> tuple[int, ...]:
    if not path.exists():
        return ()
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())


#: Options of ours; the others are the accessor's.
_OURS = (
    *("prompt", "source", "output", "kind_in", "kind_out", "in_place", "store"),
    *("concurrency", "rpm", "tpm", "budget_per", "raw_cells"),
)


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["prompt"] is None and given["messages"] is None:
        raise click.UsageError("Missing option '-p' / '--prompt', or '--messages' where rows bring all.")
    options = {name: value for name, value in given.items() if name not in _OURS}
    limits = {name: given[name] for name in ("concurrency", "rpm", "tpm") if given[name] is not None}
    models = given["model"]
    options["model"] = None if not models else models[0] if len(models) == 1 else list(models)
    for name in ("images", "files"):
        options[name] = list(given[name]) or None
    if given["budget"] is not None:
        options["budget"] = dfllm.Budget(given["budget"], per=given["budget_per"])
    return {**options, "limits": dfllm.Limits(**limits) if limits else None}


@main.command(help=_RUN_HELP, short_help="Ask a model about every row of a table.", epilog=_RUN_EPILOG)
@asking
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the report as one line of JSON: to stdout if the data goes to a file, else to stderr.",
)
def run(*, as_json: bool, **given: Any) -> None:
    """Ask about every row, and write the table."""
    _carry_out(given, as_json=as_json)


def _carry_out(given: Mapping[str, Any], *, as_json: bool) -> None:
    target = _target(given)
    source = _load(given)
    _tables.check_fits(source.table, target.form)
    before, interrupted = dfllm.last_run(), False
    with dfllm.options(store=given["store"]), _ended_politely():
        try:
            dfllm.llm(source.table.frame).complete(given["prompt"], **_options(given))
        except KeyboardInterrupt:
            interrupted = True
        except RunStopped as error:
            _give_up(error, target, as_json=as_json, quiet=given["progress"] is False)
    done = dfllm.last_run()
    if done is None or done is before:
        raise KeyboardInterrupt
    facts = done.to_dict()
    if interrupted and not facts["ok"]:
        fail(f"interrupted before any row had an answer; {target} was not written.", INTERRUPTED)
    if target.path is not None and given["in_place"] and source.stamp != _stamp(target.path):
        saved = _saved("Run again: what was answered costs nothing.")
        fail(f"{target} was changed meanwhile and is left as it is. {saved}")
    _deliver(target, source.table, done.frame, _made(given), raw=given["raw_cells"])
    _report(as_json=as_json, quiet=given["progress"] is False, to_stderr=target.path is None)
    if interrupted:
        known = f"{facts['ok']:,} of {facts['rows']:,} rows have their answers, {_saved('saved and ', '')}written"
        known += f" to {target}"
        fail(f"interrupted; {known}. {_saved('Run again to go on.')}", INTERRUPTED)
    if facts["failed"] or facts["stopped"]:
        raise click.exceptions.Exit(FAILED_ROWS)


def _made(given: Mapping[str, Any]) -> list[str]:
    """Return the columns that a run makes."""
    asked = given["prompt"].schema if isinstance(given["prompt"], Task) else given["schema"]
    schema = None if asked is None else schema_of(asked)
    aliases = aliases_of(given["model"]) if len(given["model"]) > 1 else None
    intos = [given["into"]] if aliases is None else [f"{given['into']}_{alias}" for alias in aliases]
    return [
        name
        for into in intos
        for name in names_of(into, schema, details=given["details"], calls=bool(given["tools"])).all
    ]


@contextmanager
def _ended_politely() -> Iterator[None]:
    """Take SIGTERM, as containers and batch systems send it, for Ctrl-C: what was answered is saved and written."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_up(error: RunStopped, target: _Target, *, as_json: bool, quiet: bool) -> NoReturn:
    rows_failed = isinstance(error, RowsFailed)  # else one cause stands for all rows, and the message has it
    facts = _report(as_json=as_json, quiet=quiet or not rows_failed, to_stderr=target.path is None)
    said = str(error).replace(", see .frame", "")  # which is for those who write Python
    saved = f" {_saved('What was answered is in the store: run again to go on.')}" if facts["ok"] else ""
    fail(f"{said}\n{target} was not written.{saved}")


def _saved(usual: str, nothing: str = "Nothing was kept, as --cache off says.") -> str:
    """Return what is said of answers that are kept, or of those of a run that keeps nothing."""
    done = dfllm.last_run()
    return nothing if done is not None and done.to_dict()["store"] == NOWHERE else usual


def _deliver(target: _Target, table: _tables.Table, frame: pd.DataFrame, made: Sequence[str], *, raw: bool) -> None:
    def write(stream: IO[bytes]) -> None:
        _tables.write(stream, target.form, table, frame, made, raw=raw)

    try:
        if target.path is None:
            write(cast("IO[bytes]", Screen(sys.stdout.buffer)) if sys.stdout.isatty() else sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            with replacing(target.path) as stream:
                write(stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        saved = _saved("The answers are in the store: run again, they cost nothing.")
        fail(f"{target} could not be written: {_reason(error)}. {saved}")


def _report(*, as_json: bool, quiet: bool, to_stderr: bool) -> dict[str, Any]:
    """Print the last run's report: JSON if asked for, else a line, and an example of each error. Returns its counts."""
    done = dfllm.last_run()
    assert done is not None
    facts = done.to_dict()
    if as_json:
        click.echo(line(facts), err=to_stderr)
    elif not quiet:
        tell(repr(done))
        for count, example in done.causes[:_SHOWN_ERRORS]:
            tell(f"  {count:,} x {example}")
    return facts


@main.command(help=_PLAN_HELP, short_help="Say what run would do; nothing is sent.", epilog=_PLAN_EPILOG)
@asking
@printing_json
def plan(*, as_json: bool, **given: Any) -> None:
    """Say what `run` would do."""
    _say_plan(given, as_json=as_json)


def _say_plan(given: Mapping[str, Any], *, as_json: bool) -> None:
    target = _target(given) if given["output"] is not None or given["in_place"] else None
    table = _load(given).table
    if target is not None:
        _tables.check_fits(table, target.form)
    with dfllm.options(store=given["store"]):
        made = dfllm.llm(table.frame).plan(given["prompt"], **_options(given))
    if not as_json:
        click.echo(visible(str(made)))
        return
    click.echo(line(_planned(made)))


def _planned(made: dfllm.Plan) -> dict[str, Any]:
    """Return a plan as plain values."""
    facts = {name: getattr(made, name) for name in made.__dataclass_fields__ if name != "run"}
    facts["models"] = [_planned(one) for one in made.models]
    facts["previews"] = [
        [{"role": message.role, "content": message.content} for message in messages] for messages in made.previews
    ]
    for name in ("tokens_in", "tokens_out"):
        facts[name] = facts[name]._asdict()
    for name in ("cost", "batch_cost"):
        found = facts.pop(name)
        usd = None if found is None else {kind: nano and nano / 1e9 for kind, nano in found._asdict().items()}
        facts[f"{name}_usd"] = usd
    return facts


for _verb in verb_commands(_carry_out, _say_plan):
    main.add_command(_verb)
