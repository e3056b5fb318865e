"""Mending: what a model is told of an answer that cannot be used."""

import pytest

from dfllm._core.mending import mending
from dfllm._core.types import Failure, Message, Response

ASKED = (Message("system", "Be brief."), Message("user", "Good or bad?"))
TOLD = "Answer the question again, with nothing but the JSON asked for."


def test_the_answer_and_what_is_wrong_with_it_are_appended():
    """The model sees what it was asked, what it said and why that will not do."""
    failure = Failure("InvalidOutput", "$.label: 'x' not in enum", "paid", response=Response('{"label":"x"}'))

    assert (
        *ASKED,
        Message("assistant", '{"label":"x"}'),
        Message("user", f"This answer cannot be used: $.label: 'x' not in enum. {TOLD}"),
    ) == mending(ASKED, failure)


def test_what_no_request_can_carry_is_replaced():
    """An answer may hold a lone surrogate."""
    failure = Failure("InvalidOutput", "no \ud83d", "paid", response=Response("{\ud83d}"))

    told = mending(ASKED, failure)

    assert "{?}" == told[-2].content
    assert "This answer cannot be used: no ?. " in told[-1].content


@pytest.mark.parametrize("response", [None, Response(" \n")])
def test_an_empty_answer_is_not_repeated(response):
    """Providers refuse messages without a text."""
    failure = Failure("EmptyResponse", "blank", "paid", response=response)

    assert (*ASKED, Message("user", f"This answer cannot be used: blank. {TOLD}")) == mending(ASKED, failure)


@pytest.mark.parametrize(
    "failure",
    [
        Failure("InvalidOutput", "function call", "paid", response=Response("")),
        Failure("Truncated", "512 output tokens", "paid", response=Response('{"la')),
        Failure("Refused", "no", "paid", response=Response("no")),
        Failure("ServerError", "oops", "free"),
    ],
    ids=lambda failure: failure.type,
)
def test_what_would_come_again_is_not_asked_again(failure):
    """A function call, a cut, a refusal, and whatever is no answer."""
    assert None is mending(ASKED, failure)
