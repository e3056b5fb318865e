"""Answers are made up, but always the same, in the form asked for, and no longer than allowed."""

from dataclasses import replace

import pytest

from dfllm.simulator.answers import answers_to
from dfllm.simulator.asks import Ask, tokens_of

ASK = Ask(hash="0f" * 32, model="small", text="What is the capital of Norway?", prompt_tokens=12)


def said(ask=ASK, **changes):
    """Return the text of the first answer."""
    return answers_to(replace(ask, **changes))[0].text


def test_answer_stays():
    """The same question gets the same answer."""
    assert said() == said()


def test_answer_uses_the_prompt():
    """An answer is about what was asked."""
    assert "Norway" in said()


def test_large_says_more():
    """The large model is the one to ask for longer answers."""
    assert len(said(model="large")) > 2 * len(said(model="small"))


def test_echo_repeats():
    """The echo model gives the last user message back, byte for byte."""
    text = ' {"a": 1}\n\ttail '

    assert text == said(model="echo", text=text)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Translate to French: Good morning", "Good morning"),
        ("Summarise this: The phone is great. It lasts for days.", "The phone is great."),
        ("Rate this review from 1 to 5: terrible", "2"),
        ("Is this positive, negative or neutral? I love it", "positive"),
        ("In one word, what is this about?\nMy router is rebooting", "rebooting"),
    ],
)
def test_answer_keeps_to_the_form(prompt, answer):
    """Where a prompt asks for a known form, the answer is in it."""
    assert answer == said(text=prompt)


def test_yes_or_no_is_one_of_both():
    """Yes and no both come up, and nothing else."""
    answers = {said(text="Is it red? Answer yes or no.", hash=str(turn)) for turn in range(20)}

    assert {"Yes", "No"} == answers


@pytest.mark.parametrize("text", ["", "?", "2+2", "\ud83d", "\n\n", "x" * 10_000, "字" * 50])
def test_any_text_gets_an_answer(text):
    """There is no prompt without an answer."""
    assert said(text=text)


def test_choices_differ():
    """Of several answers to one question, not all are the same."""
    answers = answers_to(replace(ASK, choices=20))

    assert 20 == len(answers)
    assert len({answer.text for answer in answers}) > 1


def test_seed_changes_answers():
    """Another seed makes other answers."""
    asks = [replace(ASK, hash=str(turn)) for turn in range(20)]

    assert [answers_to(ask) for ask in asks] != [answers_to(ask, seed=1) for ask in asks]


@pytest.mark.parametrize("allowance", [1, 2, 3])
def test_allowance_cuts(allowance):
    """An answer over the allowance is cut and says so."""
    (answer,) = answers_to(replace(ASK, allowance=allowance))

    assert ("length", allowance) == (answer.finish, answer.tokens)


def test_allowance_leaves_short_answers():
    """An answer within the allowance ends by itself."""
    (answer,) = answers_to(replace(ASK, allowance=1_000))

    assert ("stop", tokens_of(answer.text)) == (answer.finish, answer.tokens)


def test_stop_ends_the_text():
    """The first stop sequence to occur ends the text, and is not part of it."""
    text = said(model="echo", text="one two three four", stops=("four", " three"))

    assert "one two" == text
