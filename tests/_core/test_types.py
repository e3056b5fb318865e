"""Values: they never change, and a failure's text is one short line."""

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.types import Failure, Message, Recipe, Request, Response, Terms

TERMS = Terms("openai", "openai", "gpt")
MESSAGES = (Message("user", "hello"),)
FAILURE = Failure("ServerError", "it broke", "free", status=503, code="overloaded", tries=2)
VALUES = [TERMS, MESSAGES[0], Recipe(MESSAGES), Request(TERMS, MESSAGES), Response("a"), FAILURE]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_value_never_changes(value):
    """It may be shared by threads, and a key that was made of it stays right."""
    name = next(iter(value.__match_args__ if hasattr(value, "__match_args__") else value.__struct_fields__))

    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(value, name, "other")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_value_survives_a_pickle(value):
    """Worker processes get the same."""
    assert value == pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Failure("Skipped", "column 'a' is missing"), "Skipped: column 'a' is missing"),
        (Failure("Refused", "no", "paid"), "Refused: no (paid)"),
        (Failure("Refused", "no", "paid", status=200), "Refused: no (paid)"),
        (FAILURE, "ServerError: it broke (http 503, overloaded, try 2, free)"),
        (Failure("ConnectFailed", "refused", "free", tries=1), "ConnectFailed: refused (free)"),
        (Failure("BadResponse", "not\n JSON\t here"), "BadResponse: not JSON here"),
    ],
)
def test_failure_says_type_reason_and_facts(failure, text):
    """The facts that there are, in one order."""
    assert text == str(failure)


@given(st.text(max_size=1000), st.none() | st.text(st.characters(categories=["L", "Nd"]), max_size=60))
def test_failures_text_is_one_short_line(reason, code):
    """At most 300 characters; what is cut is the reason, never the facts."""
    failure = replace(FAILURE, reason=reason, code=code)

    text = str(failure)

    assert len(text) <= 300
    assert text == " ".join(text.split())
    assert text.startswith("ServerError:")
    assert text.endswith(", try 2, free)")


@pytest.mark.parametrize("length", [300, 301, 5000])
def test_cut_reason_ends_in_an_ellipsis(length):
    """Where it fits exactly, nothing is cut."""
    text = str(Failure("Refused", "x" * (length - len("Refused: "))))

    assert (300, length > 300) == (len(text), text.endswith("…"))
