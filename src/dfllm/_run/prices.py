"""Prices: what a response costs, in integers of 1e-9 USD, by the offline data of `genai-prices`.

Its own call takes 120 us, so the rates are taken from it once per model and the multiplication is done here; where a
model's rate depends on the size of the request, it is asked each time. An unknown price is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from dfllm._core.types import Response

_NANO_PER_MILLION = Decimal(1000)  # USD per million tokens, to 1e-9 USD per token


def pricer(provider: str, model: str) -> Callable[[Response], int | None]:
    """Return the function from a response to its cost; None where the price or the usage is unknown.

    Args:
        provider: the provider's name, as `genai-prices` knows it; another base URL has no known price.
        model: the model asked for.
    """
    rates: list[Callable[[Response], int | None]] = []

    def price(response: Response) -> int | None:
        if response.tokens_in is None or response.tokens_out is None:
            return None
        if not rates:
            # At the first answer, not before: importing the data takes a quarter of a second.
            rates.append(_rates(provider, model))
        return rates[0](response)

    return price


def _rates(provider: str, model: str) -> Callable[[Response], int | None]:
    try:
        whole = _asked(provider, model, Response("", tokens_in=1, tokens_out=1))
    except LookupError:
        return lambda response: None
    found = whole.model_price
    rate_in, most_in = _flat(found.input_mtok)
    rate_out, most_out = _flat(found.output_mtok)
    rate_cached, most_cached = _flat(found.cache_read_mtok or found.input_mtok)
    per_request = getattr(found, "requests_kcount", None)  # a fee that depends on the request
    most = 0 if per_request else min(most_in, most_out, most_cached)

    def price(response: Response) -> int:
        tokens_in, tokens_out = response.tokens_in or 0, response.tokens_out or 0
        if tokens_in >= most:
            return round(Decimal(_asked(provider, model, response).total_price) * 10**9)
        cached = min(response.tokens_cached, tokens_in)
        return round((tokens_in - cached) * rate_in + cached * rate_cached + tokens_out * rate_out)

    return price


def _flat(rate: Any) -> tuple[Decimal, float]:
    """Return the rate in 1e-9 USD a token and the size of request from which it is another."""
    tiers = getattr(rate, "tiers", ())
    base = rate.base if tiers else rate
    return Decimal(base or 0) * _NANO_PER_MILLION, min((tier.start for tier in tiers), default=float("inf"))


def _asked(provider: str, model: str, response: Response) -> Any:
    from genai_prices import Usage, calc_price  # a quarter of a second: only for those who pay

    usage = Usage(
        input_tokens=response.tokens_in,
        cache_read_tokens=min(response.tokens_cached, response.tokens_in or 0),
        output_tokens=response.tokens_out,
    )
    return calc_price(usage, model, provider_id=provider)
