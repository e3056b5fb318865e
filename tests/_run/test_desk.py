"""The desk: rows to questions and questions to what is known, with a real store and nothing sent."""

import json

import pandas as pd
import pytest

from dfllm._core.errors import TemplateError
from dfllm._core.keys import keyer
from dfllm._core.schema import schema_of
from dfllm._core.template import Prompt
from dfllm._core.types import Failure, Message, Recipe, Terms
from dfllm._frame import cells_of
from dfllm._run import desk as module
from dfllm._run.desk import Desk, Missing, Order
from dfllm._run.store import Entry, Store
from dfllm._wire.dialects import DIALECTS

TERMS = Terms("simulator", "openai", "echo")


@pytest.fixture
def store(tmp_path):
    """Return a store of one's own."""
    store = Store(tmp_path / "answers.db")
    yield store
    store.close()


def order(values, template="row {{ n }}.", missing="skip", schema=None, cache="use"):
    """Return an order over a column of values."""
    frame = pd.DataFrame({"n": pd.Series(values, dtype=object)})
    prompt = Prompt(Recipe((Message("user", template),), missing))
    cells = cells_of(frame, prompt.columns)
    return Order(prompt, TERMS, schema, DIALECTS["openai"], len(frame), cells, cache)


def key_of(text):
    """Return the key of a prompt."""
    return keyer(TERMS)((Message("user", text),))


def body(text, finish="stop", **message):
    """Return what a provider would say."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()


def keep(store, **answers):
    """Put answers to rows into the store, by the row's value."""
    entries = [Entry(key_of(f"row {name}."), said, "simulator", "echo", 1.0, 0.5, 40) for name, said in answers.items()]
    store.save(entries, "another run").result()


def outcomes(window):
    """Return a window's outcomes as text, None where one is to come."""
    return [
        one and (str(one.outcome) if isinstance(one.outcome, Failure) else one.outcome.text) for one in window.settled
    ]


def test_unknown_rows_are_missing_with_key_and_messages(store):
    """Positions are the frame's, and the key is that of the rendered messages."""
    desk = Desk(order(["a", "b", "c", "d"]), store)

    window = desk.prepare(1, 3)

    assert [None, None] == window.settled
    assert [
        Missing(1, key_of("row b."), (Message("user", "row b."),)),
        Missing(2, key_of("row c."), (Message("user", "row c."),)),
    ] == window.missing
    assert b'{"model":"echo","messages":[{"role":"user","content":"row b."}]}' == desk.encode(
        window.missing[0].messages
    )


def test_known_rows_are_settled_as_they_were_stored(store):
    """Answer, cells, where it came from, time and cost: all from the store."""
    keep(store, b=body("yes"))
    desk = Desk(order(["a", "b"]), store)

    window = desk.prepare(0, 2)

    known = window.settled[1]
    assert [None, "yes"] == outcomes(window)
    assert (key_of("row b."), ("yes",), "store", 0.5, 40) == (
        known.key,
        known.cells,
        known.source,
        known.seconds,
        known.cost,
    )
    assert [0] == [one.position for one in window.missing]


def test_stored_failures_are_replayed(store):
    """A refusal, an answer cut short and a blank are the row's for good."""
    keep(
        store,
        a=body(None, refusal="No."),
        b=body("half", finish="length"),
        c=body(" "),
        d=body(None, finish="content_filter"),
    )
    desk = Desk(order(["a", "b", "c", "d"]), store)

    window = desk.prepare(0, 4)

    assert [
        "Refused: No. (paid)",
        "Truncated: 2 output tokens (paid)",
        "EmptyResponse: blank (paid)",
        "ContentFiltered: answer withheld by the provider's filter (paid)",
    ] == outcomes(window)
    assert [None, ("half",), None, None] == [one.cells for one in window.settled]
    assert [] == window.missing


def test_retry_asks_again_where_a_failure_is_stored(store):
    """Answers are taken, errors are missing, also those that only this schema finds."""
    keep(store, a=body(None, refusal="No."), b=body('{"answer":"good"}'), c=body("prose"))
    desk = Desk(order(["a", "b", "c"], schema=schema_of(["good", "bad"]), cache="retry"), store)

    window = desk.prepare(0, 3)

    assert [0, 2] == [one.position for one in window.missing]
    assert ("good",) == window.settled[1].cells


def test_another_schema_reads_the_same_bytes_anew(store):
    """What the provider said is kept, what it means is computed: nothing is asked again for another reading."""
    keep(store, a=body('{"answer":"good"}'))
    labels = [["good", "bad"], ["great", "poor"]]

    windows = [Desk(order(["a"], schema=schema_of(names)), store).prepare(0, 1) for names in labels]

    assert ['{"answer":"good"}', "InvalidOutput: $.answer: 'good' not in enum (paid)"] == [
        outcomes(window)[0] for window in windows
    ]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("half \ud83d", "BadInput: lone surrogate in column 'n'"),
        ("a\x00b", "BadInput: NUL character in the prompt"),
        (None, "Skipped: column 'n' is missing"),
        (float("nan"), "Skipped: column 'n' is missing"),
    ],
)
def test_what_cannot_be_sent_is_no_question(store, value, error):
    """The row has its word and the others go on."""
    desk = Desk(order(["a", value, "c"]), store)

    window = desk.prepare(0, 3)

    assert [None, error, None] == outcomes(window)
    assert [0, 2] == [one.position for one in window.missing]


def test_a_template_that_fails_on_a_row_is_that_rows_own(store):
    """One row's arithmetic is no reason to refuse the call."""
    desk = Desk(order([1, 0, 2], template="{{ 1 / n }}"), store)

    window = desk.prepare(0, 3)

    assert [True, False, True] == [one is None for one in window.settled]
    assert outcomes(window)[1].startswith("TemplateError: ")


@pytest.mark.parametrize("rows", [1, 20, 50])
def test_a_template_that_fails_on_all_the_first_rows_is_refused(store, rows):
    """Nothing was sent, and nothing will be."""
    desk = Desk(order([0] * rows, template="{{ 1 / n }}"), store)

    with pytest.raises(TemplateError, match=f"fails on the first {min(rows, 20)} row"):
        desk.prepare(0, rows)


def test_a_template_that_fails_later_on_is_not_refused(store):
    """Only the call's own first rows decide."""
    desk = Desk(order([1, *[0] * 60], template="{{ 1 / n }}"), store)

    windows = [desk.prepare(0, 30), desk.prepare(30, 61)]

    assert [29, 31] == [sum(one is not None for one in window.settled) for window in windows]


def test_a_prompt_without_columns_is_asked_for_every_row(store):
    """It is one question, and each row is there."""
    desk = Desk(order(["a", "b", "c"], template="Say something."), store)

    window = desk.prepare(0, 3)

    assert [(0, key_of("Say something.")), (1, key_of("Say something.")), (2, key_of("Say something."))] == [
        (one.position, one.key) for one in window.missing
    ]


@pytest.mark.parametrize(("rows", "expected"), [(0, []), (1, [(0, 1)]), (4, [(0, 3), (3, 4)]), (6, [(0, 3), (3, 6)])])
def test_windows_cover_every_row_once(store, monkeypatch, rows, expected):
    """In order, without gaps, the last one as long as it is."""
    monkeypatch.setattr(module, "WINDOW", 3)
    desk = Desk(order(list(range(rows))), store)

    assert expected == list(desk.windows())


def test_answered_reads_what_others_have_stored(store):
    """As `prepare` would, and None where there is nothing, as after damage."""
    keep(store, a=body("yes"), b=body(None, refusal="No."))
    desk = Desk(order(["a"]), store)

    found = desk.answered([key_of("row a."), key_of("row x."), key_of("row b.")])

    assert ["yes", None, "Refused: No. (paid)"] == [
        one and (one.outcome.text if one.cells else str(one.outcome)) for one in found
    ]
    assert "store" == found[0].source == found[2].source
