"""What decides an answer is in the hash, and tokens are counted by one rule."""

import pytest

from dfllm.simulator.asks import WIRE_ONLY, first_tokens, hash_of, tokens_of

BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("name", sorted(WIRE_ONLY))
def test_hash_is_deaf_to_the_wire(name):
    """Fields that only route or label a request leave its hash alone."""
    labelled = BODY | {name: "x"}

    assert hash_of(BODY) == hash_of(labelled)


@pytest.mark.parametrize(
    "change", [{"model": "large"}, {"seed": 1}, {"temperature": 0.5}, {"n": 2}, {"anything": None}]
)
def test_hash_hears_the_rest(change):
    """Whatever may decide an answer changes the hash."""
    changed = BODY | change

    assert hash_of(BODY) != hash_of(changed)


def test_hash_knows_no_order():
    """The order of fields is no part of a question."""
    turned = dict(reversed(BODY.items()))

    assert hash_of(BODY) == hash_of(turned)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("ééé", 2), ("\ud83d", 1)])
def test_tokens_are_four_bytes(text, tokens):
    """Four bytes of UTF-8 are a token; a rest is one more."""
    assert tokens == tokens_of(text)


def test_first_tokens_break_no_character():
    """A cut in the middle of a character drops it."""
    cut = first_tokens("abcé", 1)

    assert "abc" == cut
