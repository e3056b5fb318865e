"""What `run` and `plan` take: their options, and how texts, schemas and JSON are read from a command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click

from dfllm._options import MOST_SAMPLES
from dfllm._tables import KINDS

C = TypeVar("C", bound=Callable[..., Any])
#: What an option is called, what it takes, what it means.
Option: TypeAlias = tuple[Sequence[str], Mapping[str, Any], str]


def read_json(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return the JSON of an option, or of the file that it names behind an @.

    Raises:
        click.BadParameter: there is no such file, or it is no JSON.
    """
    if value is None:
        return None
    try:
        return json.loads(_content(value[1:]) if value.startswith("@") else value)
    except ValueError as error:
        raise click.BadParameter(f"that is no JSON: {error}.") from error


def read_object(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return the JSON object of an option.

    Raises:
        click.BadParameter: it is something else.
    """
    found = read_json(context, option, value)
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter("it takes a JSON object, such as '{\"top_k\": 5}'.")
    return found


def read_schema(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return labels, or a JSON schema.

    Raises:
        click.BadParameter: it is neither.
    """
    if value is None or value[:1] in ("@", "{", "["):
        return read_json(context, option, value)
    if value.endswith(".json"):
        return read_json(context, option, f"@{value}")
    labels = [label.strip() for label in value.split(",")]
    if len(labels) < 2:
        raise click.BadParameter("give two or more labels with commas between, or a file that ends in .json.")
    return labels


def read_tools(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Return a list of JSON tools.

    Raises:
        click.BadParameter: it is none.
    """
    named = value is not None and value.endswith(".json") and not value.startswith("@")
    found = read_json(context, option, f"@{value}" if named else value)
    if found is not None and not isinstance(found, list):
        raise click.BadParameter("it takes a list of objects with name, description and parameters.")
    return found


def read_template(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return a template, or that in the file it names behind an @.

    Raises:
        click.BadParameter: there is no such file, or it is the name of one without the @.
    """
    if value is None or "\n" in value or "{" in value or value.endswith((".j2", ".jinja", ".jinja2")):
        return value
    if value.startswith("@"):
        return _content(value[1:])
    if os.path.isfile(value):  # noqa: PTH113  # a path's own method raises on texts too long for a name
        raise click.BadParameter(f"{value} is a file; to send what is in it, write @{value}.")
    return value


def _content(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise click.BadParameter(f"{path} cannot be read: {reason}.") from error


# One option a row: what it is called, what it takes, what it means.
_WORD = {"metavar": "WORD"}
_ABOVE_0 = {"type": click.FloatRange(0, min_open=True)}
_KIND = {"type": click.Choice(KINDS)}
_ROWS: Sequence[tuple[Sequence[str], dict[str, Any], str]] = (
    (
        ["-p", "--prompt"],
        {"metavar": "TEXT|FILE.j2|@FILE", "callback": read_template},
        "The prompt: a template whose variables are the columns, or a file with one. --messages may do without.",
    ),
    (
        ["-m", "--model"],
        {"multiple": True, "metavar": "PROVIDER/MODEL"},
        "Whom to ask; else DFLLM_MODEL. Given again, each model gets columns of its own, such as NAME_gpt_mini.",
    ),
    (
        ["--fallback"],
        {"multiple": True, "metavar": "PROVIDER/MODEL"},
        "A model for the rows that the one before could not answer. May be given again.",
    ),
    (
        ["-o", "--output"],
        {"metavar": "OUTPUT"},
        "Where to, in the format of its suffix; - is stdout, the default unless stdout is a terminal. "
        "A file that is there is replaced.",
    ),
    (["--from", "kind_in"], _KIND, "INPUT's format, where its suffix does not say it; csv for stdin."),
    (["--to", "kind_out"], _KIND, "OUTPUT's format, where its suffix does not say it; csv for stdout."),
    (["--in-place"], {"is_flag": True}, "Write INPUT itself anew."),
    (
        ["--raw-cells"],
        {"is_flag": True},
        "Write CSV and TSV cells as they are, also where a spreadsheet would take them for a formula.",
    ),
    (
        ["--into"],
        {"default": "completion", "show_default": True, "metavar": "NAME"},
        "The new column's name; errors go to NAME_error.",
    ),
    (
        ["--system"],
        {"metavar": "TEXT|@FILE", "callback": read_template},
        "A template for the system message.",
    ),
    (
        ["--schema"],
        {"metavar": "LABELS|FILE.json|@FILE", "callback": read_schema},
        "What an answer must hold: labels with commas between, or a JSON schema, whose fields become columns.",
    ),
    (
        ["--images"],
        {"multiple": True, "metavar": "COLUMN"},
        "A column of images to show: paths, or https URLs, which the provider fetches. May be given again.",
    ),
    (
        ["--files"],
        {"multiple": True, "metavar": "COLUMN"},
        "A column of files to show: paths to PDFs, or https URLs, which the provider fetches. May be given again.",
    ),
    (
        ["--messages"],
        {"metavar": "COLUMN"},
        "A column of conversations, each a JSON list of objects with role and content; the prompt goes on with them.",
    ),
    (
        ["--tools"],
        {"metavar": "FILE.json|@FILE", "callback": read_tools},
        "What the model may ask to be called: a list of name, description and parameters. Its calls go to NAME_calls.",
    ),
    (
        ["--tool-choice"],
        {"metavar": "WORD|TOOL"},
        "auto, required, none, or the name of the tool to be called.",
    ),
    (["--max-tokens"], {"type": int, "metavar": "N"}, "The most output tokens, reasoning included."),
    (["--temperature"], {"type": float, "metavar": "X"}, "Sampling temperature."),
    (["--seed"], {"type": int, "metavar": "N"}, "The provider's sampling seed."),
    (
        ["--samples"],
        {"type": click.IntRange(1, MOST_SAMPLES), "default": 1, "show_default": True, "metavar": "N"},
        "How often each row is asked; with more than 1 a cell holds a list.",
    ),
    (
        ["--repeats"],
        {"type": click.Choice(["share", "vary"]), "default": "share", "show_default": True},
        "share: equal rows are asked once. vary: each of them gets an answer of its own.",
    ),
    (["--reasoning"], _WORD, "The provider's reasoning effort, such as low."),
    (
        ["--extra"],
        {"metavar": "JSON|@FILE", "callback": read_object},
        "Further fields of the request's body, as the provider names them.",
    ),
    (
        ["--cache"],
        {"type": click.Choice(["use", "retry", "only", "off", "refresh"]), "default": "use", "show_default": True},
        "use: take stored answers. retry: ask again where an error was stored. only: send nothing. "
        "off: take and keep none. refresh: ask all anew.",
    ),
    (
        ["--missing"],
        {"type": click.Choice(["skip", "render", "raise"]), "default": "skip", "show_default": True},
        "What becomes of a row whose prompt prints a missing cell.",
    ),
    (
        ["--on-error"],
        {"type": click.Choice(["keep", "raise", "stop"]), "default": "keep", "show_default": True},
        "keep: errors go to their column. raise: nothing is written if a row fails. stop: the same, at the first.",
    ),
    (
        ["--overwrite/--no-overwrite"],
        {"default": None},
        "Whether columns that exist are replaced; if neither is said, those an earlier run made are.",
    ),
    (
        ["--budget"],
        {"type": click.FloatRange(0, min_open=True), "metavar": "USD"},
        "The most that may be spent; rows that do not fit end as BudgetExceeded.",
    ),
    (
        ["--budget-per"],
        {"type": click.Choice(["call", "day", "tag"]), "default": "call", "show_default": True},
        "Over what --budget is counted: this call, all calls of the day (UTC), or all with the same --tag.",
    ),
    (["--concurrency"], {"type": click.IntRange(1), "metavar": "N"}, "The most requests in flight."),
    (
        ["--rpm"],
        {"type": click.FloatRange(0, min_open=True), "metavar": "N"},
        "Requests a minute, where you know better than the provider says.",
    ),
    (["--tpm"], {"type": click.FloatRange(0, min_open=True), "metavar": "N"}, "Tokens a minute, likewise."),
    (["--timeout"], {"type": click.FloatRange(0, min_open=True), "metavar": "S"}, "Seconds one answer may take."),
    (["--details"], {"is_flag": True}, "Add columns: key, model, source, tokens, cost, seconds, finish."),
    (["--tag"], _WORD, "A word of yours, shown in the report."),
    (
        ["--progress/--quiet"],
        {"default": None},
        "Draw a bar, or say nothing but errors; if neither is said, a bar where stderr is a terminal, and the report.",
    ),
)


def storing(command: C) -> C:
    """Give a command the store's option."""
    option = click.option("--store", metavar="PATH", help="The store of answers; else DFLLM_STORE or the usual place.")
    return option(command)


def printing_json(command: C) -> C:
    """Give a command the choice of JSON on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")(command)


def asking(command: C) -> C:
    """Give a command what `run` takes."""
    command = storing(command)
    for names, facts, said in reversed(_ROWS):
        command = click.option(*names, help=said, **facts)(command)
    return click.argument("source", metavar="INPUT")(command)


def asking_verb(own: Sequence[Option], into: str) -> Callable[[C], C]:
    """Give a command what a verb takes: options of its own, and those of `run` that it does not decide."""
    facts = {"metavar": "TEXT|FILE.j2|@FILE", "callback": read_template}
    prompt: Option = (
        ["-p", "--prompt"],
        facts,
        "Another prompt in the place of the command's own, whose variables it has.",
    )
    column: Option = (
        ["--into"],
        {"default": into, "show_default": True, "metavar": "NAME"},
        "The new column's name; errors go to NAME_error.",
    )
    decided = ("--prompt", "--into", "--system", "--schema")
    rows = [*own, prompt, column, *(row for row in _ROWS if row[0][-1] not in decided)]

    def with_options(command: C) -> C:
        command = storing(command)
        for names, facts, said in reversed(rows):
            command = click.option(*names, help=said, **facts)(command)
        return click.argument("source", metavar="INPUT")(command)

    return with_options
