"""Keys: equal questions have one, different ones never share."""

from __future__ import annotations

import string
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.keys import WIRE_ONLY, canonical, key_from, key_of, keyer, sampler, text_of
from dfllm._core.types import Message, Request, Terms

TERMS = Terms("openai", "openai", "gpt-mini")
ASK = (Message("user", "Where is Oslo?"),)
OTHER = {
    "provider": "openai https://elsewhere.example/v1",
    "dialect": "openai-responses",
    "model": "gpt-maxi",
    "temperature": 0.0,
    "top_p": 0.5,
    "max_tokens": 10,
    "max_tokens_field": "max_completion_tokens",
    "stop": ("\n",),
    "seed": 1,
    "seed_field": "random_seed",
    "reasoning": "low",
    "schema": '{"type":"object"}',
    "extra": '{"top_k":1}',
    "prompt_cache_key": "dfllm-1",
    "tools": '[{"name":"look"}]',
    "tool_choice": "look",
    "service_tier": "flex",
    "dimensions": 8,
    "task": "query",
}
DECIDING = sorted(OTHER.keys() - WIRE_ONLY)
texts = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize("field", fields(Terms), ids=lambda field: field.name)
def test_key_hears_every_field_that_decides(field):
    """Another value is another key, unless it only travels; a new field fails here until it has an entry in OTHER."""
    changed = replace(TERMS, **{field.name: OTHER[field.name]})

    assert (field.name in WIRE_ONLY) == (keyer(TERMS)(ASK) == keyer(changed)(ASK))


def test_list_of_what_only_travels_is_closed():
    """Whoever adds to it has to say so here too, since what is in it may never come to decide an answer."""
    assert frozenset({"prompt_cache_key", "service_tier"}) == WIRE_ONLY


def test_keys_of_all_fields_differ_from_each_other():
    """No two fields are confused with one another."""
    changed = [replace(TERMS, **{name: OTHER[name]}) for name in DECIDING]

    keys = {keyer(terms)(ASK) for terms in [TERMS, *changed]}

    assert len(DECIDING) + 1 == len(keys)


@pytest.mark.parametrize(
    "messages",
    [
        (Message("system", "Where is Oslo?"),),
        (Message("user", "Where is Oslo? "),),
        (Message("user", "Where is Oslo?"), Message("user", "")),
        (Message("user", ""), Message("user", "Where is Oslo?")),
        (Message("user", 'Where is Oslo?"],["user","'),),
        (),
    ],
)
def test_key_hears_the_messages(messages):
    """Role, text, order and number of messages all count."""
    assert keyer(TERMS)(ASK) != keyer(TERMS)(messages)


def test_key_is_the_same_for_ever():
    """Released keys never change: this one stands in people's stores."""
    request = Request(replace(TERMS, temperature=0.5, stop=("\n", "é")), (Message("user", 'Tab\t"é\U0001f600</b>'),))

    assert "k10cd6bf34d88bc75414c0a9e02b199a15f453d42b" == text_of(key_of(request))


def test_key_is_read_as_42_characters():
    """People see k1 and 40 hex digits."""
    text = text_of(key_of(Request(TERMS, ASK)))

    assert 42 == len(text)
    assert text.startswith("k1")
    assert set(text[2:]) <= set(string.hexdigits.lower())


def test_sample_0_is_the_question_itself():
    """Whoever asks for one answer and whoever asks for many have the first in common."""
    assert [keyer(TERMS)(ASK)] == sampler(TERMS)(ASK, [0])


def test_keys_of_samples_are_the_same_for_ever():
    """They stand in people's stores, too."""
    keys = sampler(replace(TERMS, temperature=0.5))(ASK, [1, 2])

    assert ["k1cdbe36756da317a3ed9a80cefe78c9fd5bd5ffe7", "k11f5e20ec6e07edb8652248d8deb1c86c1cc5a875"] == [
        text_of(key) for key in keys
    ]


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=20))
def test_every_sample_has_a_key_of_its_own(samples):
    """Whatever their order, and whatever others are asked for."""
    keys = sampler(TERMS)(ASK, samples)

    assert len(samples) == len(set(keys))
    assert keys == [key for sample in samples for key in sampler(TERMS)(ASK, [sample])]


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=4), st.data())
def test_key_is_one_to_one(messages, data):
    """Other messages have another key; the same messages have the same."""
    others = data.draw(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), max_size=4))
    key = keyer(TERMS)

    same = key(tuple(Message(*one) for one in messages)) == key(tuple(Message(*one) for one in others))

    assert (messages == others) == same


def test_lone_surrogates_have_no_key():
    """Text that is no UTF-8 cannot be hashed, and the caller hears of it."""
    with pytest.raises(UnicodeEncodeError):
        keyer(TERMS)((Message("user", "\ud83d"),))


def test_canonical_json_is_sorted_and_tight():
    """Equal values give equal text, whatever their order."""
    assert '{"a":[1,"é"],"b":null}' == canonical({"b": None, "a": [1, "é"]})


@given(st.binary(min_size=20, max_size=20))
def test_a_key_is_read_back_from_what_people_see(key):
    """Text and key stand for each other."""
    assert key == key_from(text_of(key))


@pytest.mark.parametrize(
    "text", ["", "k1", "k1" + "0" * 39, "k2" + "0" * 40, "k1" + "G" * 40, "k1" + "0" * 41, None, 7]
)
def test_what_is_no_key_is_refused(text):
    """Text of another form, or no text, is no key."""
    with pytest.raises(ValueError, match="no key"):
        key_from(text)
