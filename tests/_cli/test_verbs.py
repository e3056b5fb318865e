"""The one-word helpers as commands: each is `run` with a question that has a name."""

import inspect
import json
import shlex
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import dfllm
from dfllm import prompts
from dfllm._cli.verbs import VERBS, read_fields
from dfllm._core.tasks import INTO
from dfllm.cli import main

CONTEXT = click.Context(click.Command("extract"))
OPTION = click.Option(["--fields"])
REVIEWS = 'id,review\n007,"good, very ""good"""\n008,\n009,"bad, and\nlate"\n'
MADE = {
    "classify": ["label"],
    "extract": ["extracted_topic", "extracted_stars"],
    "summarize": ["summary"],
    "translate": ["translation"],
    "score": ["score"],
    "judge": ["winner"],
}


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a table."""
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text(REVIEWS, "utf-8")


def here(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments)


def example(verb: str, *more: str) -> list[str]:
    """Return a command as its help shows it, without where its table goes."""
    return [verb, "reviews.csv", *shlex.split(VERBS[verb].example), "-m", "simulator/small", *more]


@pytest.mark.parametrize("verb", INTO)
def test_table_gets_the_columns_of_the_verb(verb, simulator):
    """They are those that the accessor makes; a second run sends nothing."""
    bill = simulator().bill

    first = here(*example(verb, "-o", "out.csv"))
    sent = bill.requests
    second = here(*example(verb, "-o", "out.csv", "--json"))

    made = pd.read_csv("out.csv", dtype="str")
    assert (0, 0) == (first.exit_code, second.exit_code)
    assert ["id", "review", *MADE[verb], f"{INTO[verb]}_error"] == list(made.columns)
    assert "Skipped: column 'review' is missing" == made[f"{INTO[verb]}_error"].iloc[1]
    assert (3, 2, 0) == tuple(json.loads(second.stdout)[name] for name in ("rows", "known", "sent"))
    assert (4 if verb == "judge" else 2) == sent == bill.requests


@pytest.mark.parametrize("verb", INTO)
def test_plan_of_a_verb_sends_nothing(verb, simulator):
    """It says how many questions there are, as text or as JSON."""
    bill = simulator().bill

    said = here(*example(verb, "--plan"))
    facts = json.loads(here(*example(verb, "--plan", "--json")).stdout)

    assert (0, True) == (said.exit_code, said.stdout.startswith("Plan for simulator/small: 3 rows"))
    assert (3, 4 if verb == "judge" else 2) == (facts["rows"], facts["missing"])
    assert 0 == bill.requests


@pytest.mark.parametrize("verb", INTO)
def test_options_of_a_verb_are_those_of_its_function(verb):
    """What Python takes, the shell takes; and of `run` all but what a verb decides."""
    options = {option.name for option in main.commands[verb].params}
    shared = {option.name for option in main.commands["run"].params} - {"schema", "system"}
    own = set(inspect.signature(getattr(prompts, verb)).parameters)
    if verb == "translate":  # the input file has that name
        own = own - {"source"} | {"source_language"}

    assert shared | own | {"planned"} == options


@pytest.mark.parametrize(
    ("arguments", "same"),
    [
        (
            [
                "classify",
                "--text",
                "review",
                "--labels",
                "@labels.json",
                "--descriptions",
                '{"good":"fine"}',
                "--multi",
            ],
            lambda llm: llm.classify("review", ["good", "bad"], descriptions={"good": "fine"}, multi=True),
        ),
        (
            ["extract", "--text", "review", "--fields", '{"topic":"the product"}', "--instructions", "Briefly."],
            lambda llm: llm.extract("review", {"topic": "the product"}, instructions="Briefly."),
        ),
        (
            ["summarize", "--text", "{{ review }}", "--sentences", "1", "--style", "dry", "--language", "French"],
            lambda llm: llm.summarize("{{ review }}", sentences=1, style="dry", language="French"),
        ),
        (
            [
                "translate",
                "--text",
                "review",
                "--language",
                "German",
                "--source-language",
                "Dutch",
                "--glossary",
                '{"a":"b"}',
            ],
            lambda llm: llm.translate("review", "German", source="Dutch", glossary={"a": "b"}),
        ),
        (
            ["score", "--text", "review", "--criteria", "Useful?", "--low", "-1", "--high", "9", "--reason"],
            lambda llm: llm.score("review", "Useful?", low=-1, high=9, reason=True),
        ),
        (
            ["judge", "--a", "review", "--b", "{{ review }}!", "--criteria", "Politer?", "-p", "mine.j2"],
            lambda llm: llm.judge(
                "review", "{{ review }}!", "Politer?", prompt="{{ criteria }} {{ first }} {{ second }}"
            ),
        ),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_every_option_reaches_the_question(arguments, same, simulator):
    """The accessor with the same words finds all answers in the store."""
    bill = simulator().bill
    Path("labels.json").write_text('["good", "bad"]')
    Path("mine.j2").write_text("{{ criteria }} {{ first }} {{ second }}")
    verb, *rest = arguments

    ended = here(verb, "reviews.csv", *rest, "-m", "simulator/small", "-o", "out.csv")
    sent = bill.requests
    with dfllm.options(model="simulator/small"):
        same(pd.read_csv("reviews.csv").llm)

    assert (0, sent) == (ended.exit_code, bill.requests)
    assert sent


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("topic", {"topic": str}),
        ("topic, stars:int", {"topic": str, "stars": int}),
        ("a:text,b:float,c:bool", {"a": str, "b": float, "c": bool}),
        ('{"topic": "the product"}', {"topic": "the product"}),
        ("@fields", {"topic": "the product"}),
        ("fields.json", {"topic": "the product"}),
    ],
)
def test_fields_are_names_with_types_or_json(value, fields):
    """A name alone is text; descriptions take JSON, or a file of it."""
    Path("fields").write_text('{"topic": "the product"}')
    Path("fields.json").write_text('{"topic": "the product"}')

    assert fields == read_fields(CONTEXT, OPTION, value)


@pytest.mark.parametrize("value", ["", "a,,b", "a:number", "a,a", ":int", "{", "@none", "none.json"])
def test_fields_that_cannot_be_read_are_refused(value):
    """With what may be written in their place."""
    with pytest.raises(click.BadParameter):
        read_fields(CONTEXT, OPTION, value)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["classify", "--text", "reviw", "--labels", "a,b"], 1, "Did you mean 'review'?"),
        (["classify", "--text", "review", "--labels", "a,a"], 1, "'a' twice"),
        (["classify", "--text", "review", "--labels", "a"], 2, "two or more"),
        (["classify", "--labels", "a,b"], 2, "--text"),
        (["score", "--text", "review", "--criteria", "x", "--low", "5"], 1, "low=5 is not below high=5"),
        (["summarize", "--text", "review", "-p", "Sum up!"], 1, "does not read 'text'"),
        (["judge", "--a", "review", "--b", "review", "--criteria", "x"], 1, "a and b are both 'review'"),
        (["translate", "--text", "review"], 2, "--language"),
    ],
)
def test_what_cannot_work_is_one_line_and_free(arguments, code, said, simulator):
    """The codes are those of `run`."""
    bill = simulator().bill
    verb, *rest = arguments

    ended = here(verb, "reviews.csv", *rest, "-m", "simulator/small", "-o", "out.csv")

    assert (code, True, 0) == (ended.exit_code, said in ended.stderr, bill.requests)
    assert not Path("out.csv").exists()


def test_rows_without_an_answer_end_with_3(simulator):
    """The table is written all the same."""
    simulator()

    ended = here(
        "classify", "reviews.csv", "--text", "review", "--labels", "a,b", "-m", "simulator/echo", "-o", "out.csv"
    )

    assert (3, True) == (ended.exit_code, Path("out.csv").exists())
