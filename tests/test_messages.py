"""Rows that bring their own conversation: however a column holds it, it is the question that templates would ask."""

import json

import pandas as pd
import pytest

import dfllm

MODEL = "simulator/echo"
TALKS = [
    [{"role": "user", "content": "Where is Oslo?"}],
    [
        {"role": "user", "content": "Where is Rome?"},
        {"role": "assistant", "content": "In Italy."},
        {"role": "user", "content": "And Lima?"},
    ],
]
ANSWERS = ["Where is Oslo?", "And Lima?"]


@pytest.fixture
def talks():
    """Return a frame with two conversations."""
    return pd.DataFrame({"city": ["Oslo", "Lima"], "talk": TALKS})


def test_parquet_brings_conversations(simulator, talks, tmp_path):
    """As pandas reads it, as Arrow has it, and as JSON text: one question each, asked once."""
    started = simulator()
    talks.to_parquet(tmp_path / "talks.parquet")
    frames = [
        talks,
        pd.read_parquet(tmp_path / "talks.parquet"),
        pd.read_parquet(tmp_path / "talks.parquet", dtype_backend="pyarrow"),
        talks.assign(talk=[json.dumps(talk) for talk in TALKS]),
        talks.assign(talk=pd.Series([json.dumps(talk) for talk in TALKS], dtype="str")),
    ]

    answers = [frame.llm.complete(messages="talk", model=MODEL)["completion"].tolist() for frame in frames]

    assert [ANSWERS] * 5 == answers
    assert 2 == started.bill.requests


def test_every_door_takes_them(simulator, talks):
    """Plans, iterators and series too."""
    simulator()

    plan = talks.llm.plan(messages="talk", model=MODEL)
    rows = {one.position: one.value for one in talks.llm.iter_completions(messages="talk", model=MODEL)}
    series = talks["talk"].rename("any").llm.complete(messages="value", model=MODEL)

    assert (2, [1, 3]) == (plan.distinct, [len(messages) for messages in plan.previews])
    assert dict(enumerate(ANSWERS)) == rows
    assert (ANSWERS, ["completion", "completion_error"]) == (series["completion"].tolist(), list(series.columns))


def test_rules_and_prompt_stand_about_them(simulator, talks):
    """The system's rules before, the prompt's turns behind."""
    simulator()

    plan = talks.llm.plan("And {{ city }}?", messages="talk", system="You know {{ city }}.", model=MODEL)

    assert [["system", "user", "user"], ["system", "user", "assistant", "user", "user"]] == [
        [message.role for message in messages] for messages in plan.previews
    ]
    assert ["You know Oslo.", "And Oslo?"] == [plan.previews[0][0].content, plan.previews[0][-1].content]


def test_rules_are_given_once(simulator):
    """A row with rules of its own cannot have others."""
    started = simulator()
    frame = pd.DataFrame({"talk": [[{"role": "system", "content": "Be long."}, *TALKS[0]], TALKS[0]]})

    with pytest.warns(dfllm.RowsFailedWarning):
        done = frame.llm.complete(messages="talk", system="Be brief.", model=MODEL)

    assert "BadInput: its conversation has a system message, and system= gives another" == done["completion_error"][0]
    assert 1 == started.bill.requests


def test_a_row_without_one(simulator, talks):
    """It is skipped; on demand the prompt is asked alone, and nothing where there is none."""
    simulator()
    frame = talks.assign(talk=[None, "  "])

    skipped = frame.llm.complete("And {{ city }}?", messages="talk", model=MODEL)
    alone = frame.llm.complete("And {{ city }}?", messages="talk", model=MODEL, missing="render")
    with pytest.warns(dfllm.RowsFailedWarning):
        nothing = frame.llm.complete(messages="talk", model=MODEL, missing="render")

    assert ["Skipped: column 'talk' is missing"] * 2 == skipped["completion_error"].tolist()
    assert ["And Oslo?", "And Lima?"] == alone["completion"].tolist()
    assert ["BadInput: the rendered prompt is blank"] * 2 == nothing["completion_error"].tolist()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, dfllm.OptionError, r"Nothing is asked\. Say prompt=, or messages="),
        ({"system": "x"}, dfllm.OptionError, "Nothing is asked"),
        ({"messages": "tall"}, dfllm.TemplateError, r"messages= asks for 'tall'.*Did you mean 'talk'"),
        ({"messages": ["talk"]}, dfllm.OptionError, "messages takes the name of a column that holds conversations"),
        ({"messages": "talk", "into": "talk"}, dfllm.OptionError, "reads 'talk'"),
    ],
)
def test_call_that_cannot_work_sends_nothing(simulator, talks, options, error, said):
    """The message says what was found and what to do."""
    started = simulator()

    with pytest.raises(error, match=said):
        talks.llm.complete(model=MODEL, **options)

    assert 0 == started.bill.requests


def test_many_conversations_are_asked_in_windows(simulator):
    """Each row's own, in its own place."""
    simulator()
    frame = pd.DataFrame({"talk": [[{"role": "user", "content": f"row {n}"}] for n in range(1_100)]})

    done = frame.llm.complete(messages="talk", model=MODEL)

    assert [f"row {n}" for n in range(1_100)] == done["completion"].tolist()


def test_command_line_takes_a_column_of_json(simulator, tmp_path):
    """With or without a prompt; with neither it says so."""
    from click.testing import CliRunner

    from dfllm.cli import main

    simulator()
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"talk": talk}) + "\n" for talk in TALKS))
    asked = ["run", str(tmp_path / "in.jsonl"), "-m", MODEL, "-o", "-", "--to", "jsonl"]

    alone = CliRunner().invoke(main, [*asked, "--messages", "talk"])
    more = CliRunner().invoke(main, [*asked, "--messages", "talk", "-p", "More."])
    neither = CliRunner().invoke(main, asked)

    assert ANSWERS == [json.loads(row)["completion"] for row in alone.stdout.splitlines()]
    assert ["More."] * 2 == [json.loads(row)["completion"] for row in more.stdout.splitlines()]
    assert (2, True) == (neither.exit_code, "--messages" in neither.output)
