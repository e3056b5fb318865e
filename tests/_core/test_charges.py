"""Charges: what each provider counts, what comes back, and guesses that answers make better."""

from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core import charges
from dfllm._core.charges import NOTHING, Charges
from dfllm._core.types import Response

RULES = ("openai", "anthropic", "gemini", "none")
ANSWER = Response("x", tokens_in=100, tokens_out=20, tokens_cached=40)


def taught(rule, *outputs, size=400, tokens_in=100):
    """Return charges that have heard answers of so many output tokens each."""
    learned = Charges(rule)
    for tokens_out in outputs:
        learned.learn(size, Response("x", tokens_in=tokens_in, tokens_out=tokens_out))
    return learned


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("openai", (1.0, 120.0, 0.0)),
        ("anthropic", (1.0, 60.0, 20.0)),
        ("gemini", (1.0, 100.0, 0.0)),
        ("none", (1.0, 120.0, 0.0)),
    ],
)
def test_each_provider_counts_its_own_way(rule, expected):
    """Both on one limit, or each on its own and cache reads on none, or input alone."""
    assert expected == Charges(rule).learn(400, ANSWER)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("openai", (0.0, 30.0, 7.0)),
        ("anthropic", (0.0, 30.0, 7.0)),
        ("gemini", NOTHING),
        ("none", (0.0, 30.0, 7.0)),
    ],
)
def test_an_error_gives_its_tokens_back_but_at_gemini(rule, expected):
    """The request itself stays counted everywhere."""
    assert expected == Charges(rule).failed((1.0, 30.0, 7.0))


@pytest.mark.parametrize("answer", [Response("x"), Response("x", tokens_in=5), Response("x", tokens_out=5)])
@pytest.mark.parametrize("rule", RULES)
def test_an_answer_without_usage_teaches_nothing(rule, answer):
    """Half a usage is none; what was charged stands."""
    learned = Charges(rule)
    before = learned.ahead(400, learned.output(50))

    used = [learned.learn(400, answer) for _ in range(charges._FEW + 1)]

    assert {None} == set(used)
    assert before == learned.ahead(400, learned.output(50))


@pytest.mark.parametrize(("max_tokens", "expected"), [(50, 50.0), (None, charges._FIRST_OUTPUT)])
def test_the_first_outputs_are_guessed_at_their_limit(max_tokens, expected):
    """Until a few answers are known, the most that they may be."""
    learned = taught("openai", *[3] * (charges._FEW - 1))

    assert expected == learned.output(max_tokens)


@pytest.mark.parametrize(("max_tokens", "expected"), [(None, 90.0), (200, 90.0), (50, 50.0)])
def test_outputs_are_guessed_at_what_nine_of_ten_stay_below(max_tokens, expected):
    """And never at more than is asked for."""
    learned = taught("openai", *range(100))

    assert expected == learned.output(max_tokens)


@pytest.mark.parametrize("rule", RULES)
def test_input_is_guessed_as_the_answers_say(rule):
    """Bytes become tokens at the ratio of the last requests, with a little to spare."""
    learned = taught(rule, *[0] * 10, size=300, tokens_in=100)

    guess = learned.ahead(600, 0.0)[1]

    assert pytest.approx(200.0 * charges._MARGIN) == guess
    assert 1.0 < charges._MARGIN < 1.1


def test_a_new_kind_of_text_is_learnt_soon():
    """After two hundred answers in another script the old ratio is forgotten."""
    learned = taught("gemini", *[1] * 500, size=400, tokens_in=100)
    for _ in range(200):
        learned.learn(400, Response("x", tokens_in=300, tokens_out=1))

    assert pytest.approx(300.0 * charges._MARGIN, rel=0.05) == learned.ahead(400, 0.0)[1]


@given(st.sampled_from(RULES), st.integers(1, 10**6), st.none() | st.integers(0, 10**5))
def test_the_least_is_never_more_than_the_guess(rule, size, max_tokens):
    """Before any answer a request is called too large only by a guess that is lower than the one that is charged."""
    learned = Charges(rule)
    ahead = learned.ahead(size, learned.output(max_tokens))

    assert learned.least(size, max_tokens) <= ahead[1]


@pytest.mark.parametrize(("rule", "expected"), [("openai", 1_100.0), ("none", 1_100.0), ("anthropic", 100.0)])
def test_the_least_has_the_output_where_it_is_reserved(rule, expected):
    """Where input and output share a limit the provider reserves all that may be answered."""
    learned = taught(rule, *[5] * 10, size=400, tokens_in=100)

    assert pytest.approx(expected) == learned.least(400, 1_000)


def test_the_provider_reserves_more_than_we_do():
    """As many times more as `max_tokens` is above what answers take; before anything is known it may be half more."""
    unknown, learned = Charges("openai"), taught("openai", *[5] * 10, size=400, tokens_in=100)
    ahead = learned.ahead(400, learned.output(1_000))

    assert charges._FIRST_SWELL == unknown.swell(400, 1_000, unknown.ahead(400, unknown.output(1_000)))
    assert pytest.approx(1_100.0 / ahead[1]) == learned.swell(400, 1_000, ahead)
    assert 1.0 == learned.swell(400, None, ahead)


@given(
    st.sampled_from(RULES),
    st.lists(st.tuples(st.integers(1, 5_000), st.integers(1, 5_000), st.integers(0, 5_000)), min_size=1, max_size=12),
    st.integers(1, 10_000),
    st.none() | st.integers(1, 10_000),
)
def test_a_guess_is_always_usable(rule, heard, size, max_tokens):
    """One request, no fewer than no tokens, and no more output than is asked for, whatever was heard."""
    learned = Charges(rule)
    for bytes_in, tokens_in, tokens_out in heard:
        learned.learn(bytes_in, Response("x", tokens_in=tokens_in, tokens_out=tokens_out))

    output = learned.output(max_tokens)
    units = learned.ahead(size, output)

    assert 1.0 == units[0]
    assert min(units) >= 0.0
    assert max_tokens is None or output <= max_tokens
    assert learned.swell(size, max_tokens, units) >= 1.0


def test_nine_of_ten_stay_below_their_reserve():
    """What is reserved is enough for most answers of a run whose answers come in any order."""
    lengths = list(islice(cycle([7, 90, 30, 55, 12, 71, 44, 28, 63, 81]), 200))
    learned = taught("openai", *lengths)

    reserved = learned.output(None)

    assert sum(length <= reserved for length in lengths) >= charges._MOST_OUTPUTS * len(lengths)
    assert reserved <= max(lengths)
