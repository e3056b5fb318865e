"""Simple patterns are matched, hard ones are declined."""

import re

import pytest

from dfllm.simulator import patterns


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d{4}$",
        r"^(red|green|blue)$",
        r"^\+?[0-9]{7,12}$",
        r"\d+",
        r"^[^abc]+$",
        r"^[\w.-]+@[a-z]+\.com$",
        r"^(?:ab)*c?$",
        r"^(?P<year>\d{4})/(\d\d)$",
        r"^a{2,}b+?$",
        r"^[]x]$",
        r"^.\s\S$",
        r"^\.\*\[$",
        "",
    ],
)
def test_made_texts_match(pattern):
    """What is made for a pattern matches it, whatever the luck."""
    made = [patterns.match(pattern, str(turn)) for turn in range(20)]

    assert all(text is not None and re.search(pattern, text) for text in made)


def test_lengths_are_kept():
    """A text is made as long as asked for, where the pattern allows it."""
    text = patterns.match(r"^[a-z]+$", "key", least=30, most=40)

    assert text is not None
    assert 30 <= len(text) <= 40


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", r"(?!x)", "[a", "(a", "a{x}", "*", "^a$b", r"\p{L}"])
def test_hard_patterns_are_declined(pattern):
    """What cannot be read, or cannot be matched, gives None."""
    assert patterns.match(pattern, "key") is None


def test_impossible_lengths_are_declined():
    """A pattern shorter than the least length has no text."""
    assert patterns.match("^ab$", "key", least=3) is None
