"""The one-word helpers as commands: `run` with a question that is asked so often that it has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from dfllm import prompts
from dfllm._cli.options import Option, asking_verb, read_json, read_object, read_schema
from dfllm._core.tasks import INTO, Task

_TYPES: Mapping[str, type] = {"text": str, "int": int, "float": float, "bool": bool}
_HELP = """{what}

INPUT and OUTPUT are as `dfllm run` has them, and so are the options that are not of this command alone. {more}
"""
_EPILOG = """\b
Example:
  dfllm {name} reviews.csv {example} \\
      -m simulator/small -o out.csv
\b
Ends as `dfllm run` does.
"""


def read_fields(context: click.Context, option: click.Parameter, value: str) -> Any:
    """Return fields: names with types after a colon, or JSON.

    Raises:
        click.BadParameter: it is neither.
    """
    if value[:1] in ("@", "{", "["):
        return read_json(context, option, value)
    if value.endswith(".json"):
        return read_json(context, option, f"@{value}")
    fields = {}
    for field in value.split(","):
        name, _, kind = (part.strip() for part in field.partition(":"))
        if not name or name in fields or (kind or "text") not in _TYPES:
            raise click.BadParameter(
                f"{field.strip()!r} is no field; write name or name:type, with commas between, each name once. "
                f"Types are {', '.join(_TYPES)}. Descriptions take JSON."
            )
        fields[name] = _TYPES[kind or "text"]
    return fields


class _Verb(NamedTuple):
    """A command.

    Attributes:
        what: what it does, in one sentence.
        more: what is to be known about it besides.
        example: its options in the line to copy.
        options: those of its own.
    """

    what: str
    more: str
    example: str
    options: Sequence[Option]


def _text(name: str, said: str) -> Option:
    return ([f"--{name}"], {"required": True, "metavar": "COLUMN|TEMPLATE"}, said)


_TEXT = _text("text", "What it is about: a column, or a template that reads columns.")
_CRITERIA: Option = (["--criteria"], {"required": True, "metavar": "TEXT"}, "What makes a text good.")
_COUNT = {"type": click.IntRange(1), "metavar": "N"}
_WORD = {"metavar": "TEXT"}

VERBS: Mapping[str, _Verb] = {
    "classify": _Verb(
        "Label the text of every row.",
        "Without a label for the rest, the nearest one is given.",
        "--text review --labels good,bad,other",
        (
            _TEXT,
            (
                ["--labels"],
                {"required": True, "metavar": "LABELS|@FILE", "callback": read_schema},
                "Two or more, with commas between, or a file with a JSON list of them.",
            ),
            (["--multi"], {"is_flag": True}, "Allow several labels, or none: a JSON list."),
            (
                ["--descriptions"],
                {"metavar": "JSON|@FILE", "callback": read_object},
                "What labels mean: a JSON object, by label.",
            ),
        ),
    ),
    "extract": _Verb(
        "Take fields out of the text of every row.",
        "What a text does not give is missing.",
        "--text review --fields topic,stars:int",
        (
            _TEXT,
            (
                ["--fields"],
                {"required": True, "metavar": "FIELDS|FILE.json|@FILE", "callback": read_fields},
                "name or name:type (text, int, float, bool) with commas between; or a JSON object from names to "
                "descriptions; or a JSON schema.",
            ),
            (["--instructions"], _WORD, "What else is to be said about how to extract."),
        ),
    ),
    "summarize": _Verb(
        "Say the text of every row in fewer words.",
        "",
        "--text review --words 10",
        (
            _TEXT,
            (["--words"], _COUNT, "How many words at most; asked for, not enforced."),
            (["--sentences"], _COUNT, "The same in sentences."),
            (["--style"], _WORD, "What it is to be like, such as 'a headline'."),
            (["--language"], _WORD, "What it is written in; else each in the language of its text."),
        ),
    ),
    "translate": _Verb(
        "Translate the text of every row.",
        "",
        "--text review --language German",
        (
            _TEXT,
            (["--language", "to"], {"required": True, "metavar": "TEXT"}, "Into which language."),
            (["--source-language"], _WORD, "From which; else that is open, row by row."),
            (
                ["--glossary"],
                {"metavar": "JSON|@FILE", "callback": read_object},
                "How terms are translated: a JSON object, by term.",
            ),
        ),
    ),
    "score": _Verb(
        "Rate the text of every row with a whole number.",
        "",
        '--text review --criteria "How useful is it?"',
        (
            _TEXT,
            _CRITERIA,
            (["--low"], {"type": int, "default": 1, "show_default": True}, "The lowest score."),
            (["--high"], {"type": int, "default": 5, "show_default": True}, "The highest score."),
            (["--reason"], {"is_flag": True}, "Ask for a reason too, in one sentence."),
        ),
    ),
    "judge": _Verb(
        "Say which of two texts of every row is better.",
        "Each row is asked twice, in both orders, which costs two requests; what does not win in both is a tie.",
        '--a review --b "{{ review }} Thanks." --criteria "Which is politer?"',
        (
            _text("a", "A column, or a template that reads columns."),
            _text("b", "The other one."),
            _CRITERIA,
        ),
    ),
}


def verb_commands(carry_out: Callable[..., None], say_plan: Callable[..., None]) -> Iterator[click.Command]:
    """Yield the commands.

    Args:
        carry_out: does as `run` with what was given.
        say_plan: does as `plan`.
    """
    for name, verb in VERBS.items():
        yield _command(name, verb, carry_out, say_plan)


def _command(name: str, verb: _Verb, carry_out: Callable[..., None], say_plan: Callable[..., None]) -> click.Command:
    said = _HELP.format(what=verb.what, more=verb.more)

    @click.command(name, help=said, short_help=verb.what, epilog=_EPILOG.format(name=name, example=verb.example))
    @asking_verb(verb.options, INTO[name])
    @click.option("--plan", "planned", is_flag=True, help="Say what would be done and what it costs; nothing is sent.")
    @click.option("--json", "as_json", is_flag=True, help="Print the report, or the plan, as one line of JSON.")
    def command(*, planned: bool, as_json: bool, **given: Any) -> None:
        task, rest = _task(name, verb, given)
        (say_plan if planned else carry_out)({**rest, "prompt": task, "schema": None}, as_json=as_json)

    return command


def _task(name: str, verb: _Verb, given: Mapping[str, Any]) -> tuple[Task, dict[str, Any]]:
    """Return the question, and what was given besides."""
    own = [names[-1].lstrip("-").replace("-", "_") for names, _, _ in verb.options]
    asked = {option.removesuffix("_language"): given[option] for option in own}  # INPUT is called source, too
    task: Task = getattr(prompts, name)(**asked, prompt=given["prompt"])
    return task, {option: value for option, value in given.items() if option not in own}
