"""Texts have the form and length asked for, numbers keep within their bounds."""

import pytest

from dfllm.simulator.scalars import number_for, text_for

REVIEW = "Review: I love the 4 rooms of Hotel Oslo, they are clean."


@pytest.mark.parametrize(
    ("schema", "low", "high"),
    [
        ({}, 0, 100),
        ({"minimum": 7}, 7, 107),
        ({"maximum": 50}, 0, 50),
        ({"maximum": -50}, -150, -50),
        ({"exclusiveMinimum": 3, "maximum": 5}, 4, 5),
        ({"minimum": 3, "exclusiveMinimum": 1, "exclusiveMaximum": 5}, 3, 4),
        ({"minimum": 1.5, "maximum": 2.5}, 2, 2),
    ],
)
def test_integers_reach_their_bounds(schema, low, high):
    """Integers are drawn from all that the bounds allow, and from nothing else."""
    drawn = {number_for(schema, "", str(turn), whole=True, felt=False) for turn in range(2_000)}

    assert (low, high) == (min(drawn), max(drawn))
    assert {int} == set(map(type, drawn))


def test_numbers_in_the_text_come_first():
    """A number that is written there, and fits, is taken."""
    assert 4 == number_for({}, REVIEW, "key", whole=True, felt=False)


@pytest.mark.parametrize(("text", "rating"), [(REVIEW, 8), ("Review: dirty, cold, rude", 1), ("Review: a house", 5)])
def test_ratings_are_felt(text, rating):
    """A rating is as high as the text is warm."""
    assert rating == number_for({"minimum": 0, "maximum": 10}, text, "key", whole=True, felt=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [("summary", "I love the 4 rooms of Hotel Oslo, they are clean."), ("reason", "Nothing to add.")],
)
def test_long_fields_hold_sentences(name, text):
    """A field for a longer text gets a sentence."""
    assert text == text_for({}, name, REVIEW if name == "summary" else "", "key")


def test_short_fields_hold_words():
    """Any other field gets a word that carries the text."""
    drawn = {text_for({}, "name", REVIEW, str(turn)) for turn in range(50)}

    assert {"Hotel", "Oslo", "rooms"} == drawn


@pytest.mark.parametrize(("least", "most"), [(0, 0), (0, 3), (40, 40), (100, None)])
def test_lengths_are_kept(least, most):
    """Texts are drawn out or cut to the length asked for."""
    text = text_for({"minLength": least} | ({} if most is None else {"maxLength": most}), "name", REVIEW, "key")

    assert least <= len(text)
    assert most is None or len(text) <= most
