"""What was read before is found again: exactly alike, from 1,024 tokens on, in steps of 128."""

import json

import pytest

from dfllm.simulator import prefixes
from dfllm.simulator.openai_read import read
from dfllm.simulator.prefixes import Prefixes, marks_of


def marks(*texts, images=(), **fields):
    """Return the marks of a system message and what follows it, the last with images before it."""
    messages = [{"role": "user" if place else "system", "content": text} for place, text in enumerate(texts)]
    if images:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
        messages[-1]["content"] = [*parts, {"type": "text", "text": texts[-1]}]
    return read(json.dumps({"model": "small", "messages": messages} | fields).encode()).marks


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
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
    ],
)
def test_other_models_keys_and_forms_know_nothing(other):
    """Each has a store of its own."""
    assert 0 == found(marks(text_of(2_000)), marks(text_of(2_000), **other))


def test_sampling_parts_nobody():
    """Temperature and length of the answer are no part of a prompt."""
    assert 1_920 == found(marks(text_of(2_000)), marks(text_of(2_000), temperature=1.0, max_tokens=5, user="u"))


def test_image_ends_a_prefix_as_any_value_does():
    """And counts for as many tokens as are charged for it."""
    system, rest = text_of(1_148), text_of(1_500)
    cat, dog = (marks(system, rest, images=[f"https://example.com/{name}.png"]) for name in ("cat", "dog"))

    assert (1_152, (4 + 1_148 + 4 + 85 + 1_500) // 128 * 128) == (found(cat, dog), found(cat, cat))


def test_what_is_marked_is_what_is_charged():
    """Each piece begins with a token of its own, so that cached ones are never more than were charged."""
    said = [(b"system", 4), (b"x" * 2_001, 501), (b"user", 4), (b"abc", 1)] * 9

    asked = marks_of({}, said)

    assert 510 * 9 // 128 * 128 == found(asked, asked)


def test_longest_unused_is_forgotten_first(monkeypatch):
    """There is an end to what is kept."""
    monkeypatch.setattr(prefixes, "_MOST_KEPT", 2)
    known = Prefixes()
    first, second, third = (marks(letter + text_of(1_020)) for letter in "abc")

    for asked in (first, second, first, third):
        known.keep(asked)

    assert [1_024, 0, 1_024] == [known.tokens_of(asked) for asked in (first, second, third)]
