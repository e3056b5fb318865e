"""The desk of samples: the right keys at the right places, and answers that another model gave."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfllm._core.keys import sampler
from dfllm._core.template import Prompt
from dfllm._core.types import Failure, Message, Recipe, Terms
from dfllm._frame import cells_of
from dfllm._run.desk import Desk, Order
from dfllm._run.desk_sampled import SampledDesk, desk_of
from dfllm._run.sampling import Alike, Varied
from dfllm._run.store import Entry, Store
from dfllm._wire.dialects import DIALECTS

TERMS = Terms("simulator", "openai", "echo")
OTHER = replace(TERMS, model="small")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of one's own."""
    store = Store(tmp_path_factory.mktemp("sampled") / "answers.db")
    yield store
    store.close()


def order(values, sampling=None, terms=TERMS, others=()):
    """Return an order over a column of values."""
    frame = pd.DataFrame({"n": pd.Series(values, dtype=object)})
    prompt = Prompt(Recipe((Message("user", "row {{ n }}."),), "skip"))
    places = len(frame) * (1 if sampling is None else sampling.each)
    cells = cells_of(frame, prompt.columns)
    return Order(prompt, terms, None, DIALECTS["openai"], places, cells, sampling=sampling, others=others)


def key_of(value, sample=0, terms=TERMS):
    """Return the key of a row's sample."""
    return sampler(terms)((Message("user", f"row {value}."),), [sample])[0]


def keep(store, key, text="yes", finish="stop"):
    """Put an answer into the store."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()
    store.save([Entry(key, body, "simulator", "any", 1.0, 0.5, 40)], "another run").result()


def test_one_question_a_row_has_the_plain_desk(store):
    """What most calls are pays nothing for what they are not."""
    assert Desk is type(desk_of(order(["a"]), store))
    assert SampledDesk is type(desk_of(order(["a"], Alike(1)), store))
    assert SampledDesk is type(desk_of(order(["a"], others=(order(["a"], terms=OTHER),)), store))


@given(
    values=st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=12),
    each=st.integers(1, 3),
    varied=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_places_hold_their_samples_however_windows_are_cut(store, values, each, varied, data):
    """Each row's samples stand one behind the other; a row without a question has none."""
    desk = desk_of(order(values, Varied(each) if varied else Alike(each)), store)
    expected = [
        None if value is None else key_of(value, each * values[:row].count(value) * varied + sample)
        for row, value in enumerate(values)
        for sample in range(each)
    ]

    found, start = [], 0
    while start < len(values):
        stop = data.draw(st.integers(start + 1, len(values)))
        found += desk.rendered(start * each, stop * each)[0]
        start = stop

    assert expected == found


def test_only_missing_samples_are_missing(store):
    """Known ones are settled at their places."""
    keep(store, key_of("known", 1))
    desk = desk_of(order(["known", None], Alike(3)), store)

    window = desk.prepare(0, 6)

    assert [None, "yes", None] == [one and one.outcome.text for one in window.settled[:3]]
    assert ["Skipped"] * 3 == [one.outcome.type for one in window.settled[3:]]
    assert [(0, key_of("known", 0)), (2, key_of("known", 2))] == [(one.position, one.key) for one in window.missing]


def test_another_models_answer_is_as_good(store):
    """Under its own key and its own number, and it says whose it is; a failure of the other's is none."""
    keep(store, key_of("else", 1, OTHER))
    keep(store, key_of("cut", 0, OTHER), text="ye", finish="length")
    sampling = Alike(2)
    desk = desk_of(order(["else", "cut"], sampling, others=(order(["else", "cut"], sampling, OTHER),)), store)

    window = desk.prepare(0, 4)

    assert [None, ("yes", 1, key_of("else", 1, OTHER)), None, None] == [
        one and (one.outcome.text, one.by, one.key) for one in window.settled
    ]
    assert [0, 2, 3] == [one.position for one in window.missing]


def test_ones_own_failure_goes_before_anothers_answer(store):
    """What was stored as the row's own is told, and who holds it back decides what becomes of it."""
    keep(store, key_of("own"), text="ye", finish="length")
    keep(store, key_of("own", 0, OTHER))
    desk = desk_of(order(["own"], others=(order(["own"], terms=OTHER),)), store)

    window = desk.prepare(0, 1)

    assert isinstance(window.settled[0].outcome, Failure)
    assert (0, []) == (window.settled[0].by, window.missing)


def test_windows_hold_whole_rows(store):
    """Places are cut where a row ends."""
    assert 0 == order(["a"] * 10_000, Alike(7)).window % 7
    assert 128 == order(["a"], Alike(128)).whole(125)
    assert 125 == order(["a"]).whole(125)
