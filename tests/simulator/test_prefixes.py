"""What was read before is found again: exactly alike, from 1,024 tokens on, in steps of 128."""

import pytest

from dfllm.simulator import prefixes
from dfllm.simulator.asks import tokens_of
from dfllm.simulator.prefixes import Prefixes, marks_of

BODY = {"model": "small"}


def marks(*texts, **fields):
    """Return the marks of a system message and what follows it."""
    return marks_of(BODY | fields, [("user" if place else "system", text) for place, text in enumerate(texts)])


def text_of(tokens):
    """Return a text of so many tokens, no four bytes of it like the next."""
    return "".join(f"{number:04d}" for number in range(tokens))


def found(kept, asked):
    """Return how many tokens are found of what is asked once the other has been answered."""
    known = Prefixes()
    known.keep(kept)
    return known.tokens_of(asked)


@pytest.mark.parametrize(("tokens", "cached"), [(1_019, 0), (1_020, 1_024), (1_147, 1_024), (1_148, 1_152)])
def test_steps_are_of_128_tokens_from_1024_on(tokens, cached):
    """Four tokens of the message itself are part of it."""
    asked = marks(text_of(tokens))

    assert cached == found(asked, asked)


@pytest.mark.parametrize(("shared", "cached"), [(1_000, 0), (1_024, 1_024), (1_400, 1_280), (3_000, 2_944)])
def test_prefix_ends_where_the_first_token_differs(shared, cached):
    """A row's value ends it, and so does what stands behind."""
    system = text_of(shared - 8)

    assert cached == found(marks(system, "Oslo" + text_of(2_000)), marks(system, "Lima" + text_of(2_000)))


def test_value_in_front_leaves_nothing():
    """What is the same behind it is read anew."""
    assert 0 == found(marks("Oslo" + text_of(3_000)), marks("Lima" + text_of(3_000)))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "large"},
        {"prompt_cache_key": "k"},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function"}]},
    ],
)
def test_other_models_keys_and_forms_know_nothing(other):
    """Each has a store of its own."""
    assert 0 == found(marks(text_of(2_000)), marks(text_of(2_000), **other))


def test_sampling_parts_nobody():
    """Temperature and length of the answer are no part of a prompt."""
    assert 1_920 == found(marks(text_of(2_000)), marks(text_of(2_000), temperature=1.0, max_tokens=5, user="u"))


def test_messages_are_counted_as_the_bill_counts_them():
    """Each begins with a token of its own, so that cached ones are never more than were charged."""
    said = [("system", "é" * 1_001), ("user", "abc")] * 9

    charged = sum(4 + tokens_of(text) for _, text in said)

    asked = marks_of(BODY, said)
    assert charged // 128 * 128 == found(asked, asked)


def test_longest_unused_is_forgotten_first(monkeypatch):
    """There is an end to what is kept."""
    monkeypatch.setattr(prefixes, "_MOST_KEPT", 2)
    known = Prefixes()
    first, second, third = (marks(letter + text_of(1_020)) for letter in "abc")

    for asked in (first, second, first, third):
        known.keep(asked)

    assert [1_024, 0, 1_024] == [known.tokens_of(asked) for asked in (first, second, third)]
