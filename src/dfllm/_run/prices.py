"""Prices: what a response costs, in integers of 1e-9 USD, by the offline data of `genai-prices`.

Its own call takes 120 us, so the rates are taken from it once per model and the multiplication is done here; where a
model's rate depends on the size of the request, it is asked each time. An unknown price is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from dfllm._core.errors import OptionError
from dfllm._core.types import Response

_EXAMPLE = "{'openai/gpt-mini': {'input': 0.4, 'output': 1.6}} (USD per million tokens)"
_NANO_PER_MILLION = Decimal(1000)  # USD per million tokens, to 1e-9 USD per token


_KINDS = ("input", "output", "cached_input")


def checked_prices(prices: Any) -> Mapping[str, Mapping[str, float]]:
    """Return the user's prices, looked at.

    Raises:
        OptionError: they are no prices.
    """
    if not isinstance(prices, Mapping):
        raise OptionError(f"prices takes a mapping from 'provider/model' to prices; found {type(prices).__name__}.")
    for model, rates in prices.items():
        if not isinstance(model, str) or "/" not in model or not isinstance(rates, Mapping):
            raise OptionError(f"prices takes entries such as {_EXAMPLE}; found {model!r}: {rates!r}.")
        if odd := [name for name in rates if name not in _KINDS]:
            raise OptionError(f"prices[{model!r}] has {odd[0]!r}; it takes {', '.join(map(repr, _KINDS))}.")
        for name in ("input", "output"):
            if name not in rates:
                raise OptionError(f"prices[{model!r}] says nothing of {name!r}.")
        for name, usd in rates.items():
            if isinstance(usd, bool) or not isinstance(usd, (int, float)) or not 0 <= usd < float("inf"):
                raise OptionError(f"prices[{model!r}][{name!r}] takes USD per million tokens; found {usd!r}.")
    return {model: dict(rates) for model, rates in prices.items()}


def pricer(
    provider: str | None, model: str, given: Mapping[str, float] | None = None
) -> Callable[[Response], int | None]:
    """Return the function from a response to its cost; None where the price or the usage is unknown.

    Args:
        provider: the provider's name, as `genai-prices` knows it; None at another base URL, which has no known price.
        model: the model asked for.
        given: the user's own prices, which go before all others.
    """
    rates: list[Callable[[Response], int | None]] = [_given(given)] if given is not None else []
    if provider is None and not rates:
        return lambda response: None

    def price(response: Response) -> int | None:
        if response.tokens_in is None or response.tokens_out is None:
            return None
        if not rates:
            # At the first answer, not before: importing the data takes a quarter of a second.
            rates.append(_rates(str(provider), model))
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


def _given(rates: Mapping[str, float]) -> Callable[[Response], int]:
    rate_in, rate_out = (Decimal(str(rates[name])) * _NANO_PER_MILLION for name in ("input", "output"))
    rate_cached = Decimal(str(rates.get("cached_input", rates["input"]))) * _NANO_PER_MILLION

    def price(response: Response) -> int:
        tokens_in, tokens_out = response.tokens_in or 0, response.tokens_out or 0
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


def window_of(provider: str, model: str) -> int | None:
    """Return how many tokens a model takes in at most, None where that is unknown."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    window: int | None = found.context_window
    return window
