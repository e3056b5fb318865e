"""Docstrings: what is read of them, and that no docstring breaks the reader."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.docstrings import described, opening


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One line.", "One line."),
        ("Two\nlines.\n\nMore.", "Two lines."),
        ("\n  Indented.  \n", "Indented."),
        ("", ""),
        ("Args:\n    a: b", ""),
    ],
)
def test_the_first_paragraph_is_the_opening(text, expected):
    """On one line."""
    assert expected == opening(text)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("Args:\n    a: one.", {"a": "one."}),
        ("Arguments:\n  a (str, optional): one.\n  b: two.", {"a": "one.", "b": "two."}),
        (
            "Parameters:\n    a: one,\n        and more.\n\n    *b: two: three.",
            {"a": "one, and more.", "b": "two: three."},
        ),
        ("Args:\n    a:\n        below.", {"a": "below."}),
        ("Args:\n    a: one.\nReturns:\n    b: no argument.", {"a": "one."}),
        ("Args:\n    no colon\n        more of it\n    a: one.", {"a": "one."}),
        ("Args: a: not a section.", {}),
        ("Returns:\n    a: no argument.", {}),
    ],
)
def test_arguments_are_described(section, expected):
    """In Google's style."""
    assert expected == described(f"Do it.\n\n{section}")


@given(st.text(st.sampled_from("aA:rgs ()*\n\t."), max_size=80))
def test_no_text_breaks_the_reader(text):
    """Whatever stands in a docstring, names get texts of one line."""
    said = described(inspect.cleandoc(f"x\n\nArgs:\n{text}"))

    assert all("\n" not in part for pair in said.items() for part in pair)
    assert "\n" not in opening(text)
