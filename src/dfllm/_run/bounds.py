"""Bounds: the most a request can cost, by its size. What a budget reserves."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import ceil

from dfllm._core.types import Response

#: Providers count a few tokens for each message beside its text: who speaks, and where it ends.
_TOKENS_A_MESSAGE = 16


def most_of(
    price: Callable[[Response], int | None],
    *,
    messages: int,
    tokens_out: int | None,
    surcharge: Callable[[], Decimal] = lambda: Decimal(1),
    bounded: Callable[[], bool] = lambda: True,
) -> Callable[[int], int | None]:
    """Return the function from bytes of a request's body to the most it can cost, in 1e-9 USD.

    A token stands for a byte or more, so no text has more tokens than bytes. The function gives None where the price
    or the most output is unknown.

    Args:
        price: what a response costs.
        messages: how many messages each request has at most.
        tokens_out: the most output tokens an answer may have; None where nobody knows.
        surcharge: gives the factor by which input may cost more than its price.
        bounded: gives whether images and files, whose tokens are in the bytes' number, are counted in it at their most.
    """

    def most(size: int) -> int | None:
        if tokens_out is None or not bounded():
            return None
        plain = price(Response("", tokens_in=size + _TOKENS_A_MESSAGE * messages, tokens_out=tokens_out))
        return None if plain is None else ceil(plain * surcharge())

    return most
