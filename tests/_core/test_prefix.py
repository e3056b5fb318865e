"""Prefixes: their size, the key they have at the provider, and what is said when they are read anew each time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dfllm._core.prefix import Shared, advice, prompt_cache_key, shared_of
from dfllm._core.types import Message, Terms

TERMS = Terms("openai", "openai", "gpt-mini")
LONG = (Message("system", "Be brief. " * 500),)


def test_sizes_are_guessed_at_four_bytes_a_token():
    """The schema is read first, and so is part of what prompts begin with."""
    terms = replace(TERMS, schema="s" * 400)

    shared = shared_of(terms, (Message("system", "é" * 200), Message("user", "x" * 40)), 840)

    assert Shared((400 + 400 + 40) // 4, (400 + 840) // 4) == shared


def test_tools_are_read_before_the_messages():
    """So they are part of what prompts begin with."""
    assert Shared(100, 150) == shared_of(replace(TERMS, tools="t" * 400), (), 200)


def test_key_is_the_same_for_ever():
    """It finds what another run left at the provider, so it is not to change; and it shows nothing of the prompt."""
    assert "dfllm-55bf8a9574651fe6bd9d2eed02ba6461" == prompt_cache_key(TERMS, LONG)


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.5},
        {"max_tokens": 10},
        {"seed": 1},
        {"provider": "openai https://elsewhere.example/v1"},
        {"prompt_cache_key": "x"},
        {"tool_choice": "auto"},
    ],
)
def test_key_is_deaf_to_what_no_prefix_is_read_by(changed):
    """Runs that differ in sampling only share what is kept."""
    assert prompt_cache_key(TERMS, LONG) == prompt_cache_key(replace(TERMS, **changed), LONG)


@pytest.mark.parametrize(
    "changed", [{"model": "gpt-maxi"}, {"schema": "{}"}, {"extra": '{"tools":[]}'}, {"tools": "[]"}]
)
def test_key_hears_what_is_read_before_the_messages(changed):
    """Other models, schemas and tools are other prefixes."""
    assert prompt_cache_key(TERMS, LONG) != prompt_cache_key(replace(TERMS, **changed), LONG)


@pytest.mark.parametrize(
    "prefix",
    [
        (Message("developer", LONG[0].content),),
        (Message("system", LONG[0].content + " "),),
        (*LONG, Message("user", "Where is")),
    ],
)
def test_key_hears_the_messages(prefix):
    """Role, text and number."""
    assert prompt_cache_key(TERMS, LONG) != prompt_cache_key(TERMS, prefix)


@pytest.mark.parametrize(("size", "is_sent"), [(3 * 1_024 - 1, False), (3 * 1_024, True)])
def test_short_prefix_has_no_key(size, is_sent):
    """Below 1,024 tokens nothing is kept, however dense the text."""
    assert is_sent == (prompt_cache_key(TERMS, (Message("user", "x" * size),)) is not None)


def test_prefix_with_a_lone_surrogate_has_a_key():
    """Its rows fail one by one, each with a word on why; the call does not."""
    assert prompt_cache_key(TERMS, (Message("user", "\ud83d" * 2_000),)) is not None


@pytest.mark.parametrize(
    ("shared", "answers", "tokens_in", "tokens_cached"),
    [
        pytest.param(Shared(2_000, 2_000), 49, 49 * 2_100, 0, id="too few answers"),
        pytest.param(Shared(1_024, 1_024), 50, 50 * 1_100, 0, id="too little to be kept"),
        pytest.param(Shared(2_000, 2_000), 50, 50 * 900, 0, id="less billed than guessed"),
        pytest.param(Shared(2_000, 2_000), 50, 50 * 2_100, 50_000, id="half of it kept"),
        pytest.param(Shared(2_000, 2_000), 50, 0, 0, id="no usage said"),
        pytest.param(Shared(0, 0), 0, 0, 0, id="nothing sent"),
    ],
)
def test_nothing_is_said_where_nothing_is_lost(shared, answers, tokens_in, tokens_cached):
    """Advice is for runs that would be cheaper for it."""
    assert None is advice(shared, answers, tokens_in, tokens_cached)


def test_advice_is_to_put_what_is_shared_first():
    """Where values of the row stand before it."""
    said = advice(Shared(3, 2_000), 50, 50 * 2_100, 0)

    assert said.startswith(
        "About 2,000 tokens are the same in every prompt, and 0% of them were read at the lower price."
    )
    assert "which here is 3 tokens: put what all rows share first" in said


def test_advice_says_who_may_be_to_blame_else():
    """Where the template is in order."""
    said = advice(Shared(2_000, 2_000), 100, 100 * 2_100, 99_999)

    assert "50% of them" in said
    assert "Limits(concurrency=...)" in said
    assert "put what all rows share first" not in said
