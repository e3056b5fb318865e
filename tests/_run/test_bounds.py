"""Bounds: no request costs more, and an unknown bound is none."""

from decimal import Decimal

from dfllm._run.bounds import most_of


def price(response):
    """Return the cost at a nano-dollar a token in and four a token out."""
    return response.tokens_in + 4 * response.tokens_out


def test_every_byte_may_be_a_token_and_the_answer_as_long_as_it_may():
    """And sixteen tokens for each message."""
    assert 100 + 2 * 16 + 4 * 50 == most_of(price, messages=2, tokens_out=50)(100)


def test_surcharge_is_rounded_up():
    """A provider that bills what it writes to its cache a quarter more."""
    most = most_of(price, messages=0, tokens_out=0, surcharge=lambda: Decimal("1.25"))

    assert [125, 2] == [most(100), most(1)]


def test_unknown_is_none():
    """Neither an unknown price nor an answer without end is guessed."""
    assert None is most_of(price, messages=1, tokens_out=None)(100)
    assert None is most_of(lambda response: None, messages=1, tokens_out=5)(100)
    assert None is most_of(price, messages=1, tokens_out=5, bounded=lambda: False)(100)
    assert 0 == most_of(lambda response: 0, messages=1, tokens_out=5)(100)
