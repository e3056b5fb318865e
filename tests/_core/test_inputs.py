"""Inputs: text that no provider's JSON could carry is found, and blamed on the right column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.inputs import has_nul, has_surrogate, nul_failure, surrogate_failure, window_failure
from dfllm._core.types import Message

HALF = "a\ud800b"


@pytest.mark.parametrize(
    ("contents", "found"),
    [
        (["a", "b"], False),
        (["a", "b\x00"], True),
        (["\x00", "b"], True),
        ([""], False),
        (["\\x00"], False),
        ([], False),
    ],
)
def test_nul_is_found_in_any_message(contents, found):
    """Only the character itself, not a way to write it."""
    assert found is has_nul(tuple(Message("user", content) for content in contents))


@given(st.text(st.characters(exclude_categories=())))
def test_surrogates_are_what_cannot_be_encoded(text):
    """Any half of a pair, anywhere."""
    assert any(0xD800 <= ord(mark) <= 0xDFFF for mark in text) is has_surrogate(text)


@pytest.mark.parametrize(
    ("columns", "values", "said"),
    [
        (["a"], [HALF], "lone surrogate in column 'a'"),
        (["a", "b"], ["fine", HALF], "lone surrogate in column 'b'"),
        (["a", "b"], [HALF, HALF], "lone surrogate in column 'a'"),
        (["a", 0], [1, {"k": HALF}], "lone surrogate in the template"),
        (["a", 0], [None, HALF], "lone surrogate in column 0"),
        (["a"], ["fine"], "lone surrogate in the template"),
        ([], [], "lone surrogate in the template"),
    ],
)
def test_surrogate_is_blamed_on_the_column_that_has_it(columns, values, said):
    """Or on the template, where no column has it."""
    assert f"BadInput: {said}" == str(surrogate_failure(columns, values))


def test_failures_show_nothing_of_the_text():
    """They name where, not what."""
    assert "BadInput: NUL character in the prompt" == str(nul_failure())
    assert HALF not in str(surrogate_failure(["a"], [HALF]))


@pytest.mark.parametrize(
    "text",
    ["word " * 13_000, "é" * 500_000, "日" * 600_000, " " * 5_000_000 + "x", "-" * 5_000_000, "a b" * 10],
    ids=["words", "accents", "Chinese", "blanks", "dashes", "short"],
)
def test_text_that_may_fit_is_left_to_the_provider(text):
    """Only what surely does not fit is refused here: runs of blanks are few tokens, and tokens are never longer."""
    assert None is window_failure((Message("user", text),), 128_000)
    assert None is window_failure((Message("user", "word " * 10_000_000),), None)


def test_text_that_surely_does_not_fit_is_refused():
    """With its size and the model's, and for free."""
    failure = window_failure((Message("system", "some words "), Message("user", "some words " * 200_000)), 128_000)

    assert "ContextTooLong: 2,200,011 bytes of text, the model takes 128,000 tokens (free)" == str(failure)
