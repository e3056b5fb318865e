"""Prices: what a response costs, in integers of 1e-9 USD, by the offline data of `genai-prices`.

Its own call takes 120 us, so the rates are taken from it once per model and the multiplication is done here; where a
model's rate depends on the size of the request, it is asked each time. An unknown price is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any, TypeAlias

from dfllm._core.errors import OptionError
from dfllm._core.types import Response

_EXAMPLE = "{'openai/gpt-mini': {'input': 0.4, 'output': 1.6}} (USD per million tokens)"
_NANO_PER_MILLION = Decimal(1000)  # USD per million tokens, to 1e-9 USD per token


_KINDS = ("input", "output", "cached_input", "batch")


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
            is_number = isinstance(usd, (int, float)) and not isinstance(usd, bool)
            if not is_number or not 0 <= usd <= (1 if name == "batch" else 1e9):
                wants = "a share of the price, such as 0.5" if name == "batch" else "USD per million tokens"
                raise OptionError(f"prices[{model!r}][{name!r}] takes {wants}; found {usd!r}.")
    return {model: dict(rates) for model, rates in prices.items()}


Price: TypeAlias = Callable[[Response], int | None]


def pricer(
    provider: str | None,
    model: str,
    given: Mapping[str, float] | None = None,
    *,
    batch: bool = False,
    tier: str | None = None,
) -> Price:
    """Return the function from a response to its cost; None where the price or the usage is unknown.

    Args:
        provider: the provider's name, as `genai-prices` knows it; None at another base URL, which has no known price.
        model: the model asked for.
        given: the user's own prices, which go before all others.
        batch: whether it is the batch price; one that is not stated is unknown, and no half of the other is guessed.
        tier: the service tier that is asked for, whose price is unknown, too, where it is not stated.
    """
    rates: list[Price] = [_given(given, batch=batch)] if given is not None else []
    if provider is None and not rates:
        return _unknown

    def price(response: Response) -> int | None:
        if response.tokens_in is None or response.tokens_out is None:
            return None
        if not rates:
            # At the first answer, not before: importing the data takes a quarter of a second.
            rates.append(_rates(str(provider), model, _BATCH if batch else _tiered(tier)))
        return rates[0](response)

    return price


def surcharge_of(provider: str | None, model: str, given: Mapping[str, float] | None = None) -> Callable[[], Decimal]:
    """Return what gives the factor by which a request may cost more than the price of its plain tokens now.

    Some providers bill what they write to a cache, or even what they read from it, above the plain price, and some ask
    more at other hours of the day.
    """

    @cache
    def surcharge() -> Decimal:
        if given is not None:
            told, cached = (Decimal(str(given.get(name, given["input"]))) for name in ("input", "cached_input"))
            return max(Decimal(1), cached / told) if told else Decimal(1)
        if provider is None or (found := _found(provider, model)) is None:
            return Decimal(1)
        now = datetime.now(UTC)
        rates = _plain_rates(found, now)
        hours = [_plain_rates(found, now + timedelta(hours=hour)) for hour in range(24)] if _is_timed(found) else []
        dearest = [max(kinds) for kinds in zip(rates, *hours, strict=True)]
        plain = (rates[0], rates[1], rates[0], rates[0])
        factors: list[Decimal] = [dear / rate for dear, rate in zip(dearest, plain, strict=True) if rate]
        return max([Decimal(1), *factors])

    return surcharge


def _plain_rates(found: Any, at: datetime) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return what input, output, cached and written input cost then, for small requests."""
    whole = found.get_prices(at)
    kinds = (
        whole.input_mtok,
        whole.output_mtok,
        getattr(whole, "cache_read_mtok", None) or whole.input_mtok,
        getattr(whole, "cache_write_mtok", None) or whole.input_mtok,
    )
    rate_in, rate_out, cached, written = (_flat(kind)[0] for kind in kinds)
    return rate_in, rate_out, cached, written


def _is_timed(found: Any) -> bool:
    """Whether the price is another at another hour of the day."""
    return any(hasattr(one.constraint, "start_time") for one in _list(found.prices))


def source_of(provider: str | None, model: str, given: Mapping[str, float] | None = None) -> str:
    """Return where a price is from and of when, or that it is unknown and what to do."""
    if given is not None:
        return "price as told by configure(prices=...)"
    if provider is None or (found := _found(provider, model)) is None:
        return "price unknown: tell it with dfllm.configure(prices={'provider/model': {'input': ..., 'output': ...}})"
    return f"price of {found.id} from genai-prices {version('genai-prices')}, data of {_dated()}"


def _unknown(response: Response) -> None:
    return None


_BATCH: Mapping[str, str] = {"processing": "batch"}
#: Tiers at the plain price.
_PLAIN_TIERS = frozenset({"auto", "default", "standard", "standard_only", "on_demand"})


def _tiered(tier: str | None) -> Mapping[str, str] | None:
    """Return what the price data calls this tier; None is the plain price."""
    return None if tier is None or tier in _PLAIN_TIERS else {"service_tier": tier}


def _found(provider: str, model: str) -> Any:
    """Return what the data has of a model, None where it has nothing."""
    from genai_prices.data_snapshot import get_snapshot  # a quarter of a second: only for those who pay

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        return None


def _whole(found: Any, context: Mapping[str, str] | None) -> Any:
    now = datetime.now(UTC)
    return found.get_prices(now, context) if context else found.get_prices(now)


def _has(found: Any, context: Mapping[str, str]) -> bool:
    """Whether such a price is stated. Where none is, the data's own calculation gives the full price, in silence."""
    now = datetime.now(UTC)
    return any(
        dict(one.when) == context and (one.constraint is None or one.constraint.active(now))
        for one in getattr(found, "price_variants", None) or ()
    )


@cache
def _dated() -> str:
    """Return the day of the newest price in the data that has one."""
    from genai_prices.data_snapshot import get_snapshot

    today = datetime.now(UTC).date()
    days = {
        day
        for provider in get_snapshot().providers
        for model in provider.models
        for one in (*(getattr(model, "price_variants", None) or ()), *(_list(model.prices)))
        if (day := getattr(one.constraint, "start_date", None)) is not None and day <= today
    }
    return f"{max(days):%Y-%m-%d}" if days else "an unknown day"


def _list(prices: Any) -> list[Any]:
    return prices if isinstance(prices, list) else []


def _rates(provider: str, model: str, context: Mapping[str, str] | None) -> Price:
    model_found = _found(provider, model)
    if model_found is None or (context is not None and not _has(model_found, context)):
        return _unknown
    found = _whole(model_found, context)
    rate_in, most_in = _flat(found.input_mtok)
    rate_out, most_out = _flat(found.output_mtok)
    rate_cached, most_cached = _flat(getattr(found, "cache_read_mtok", None) or found.input_mtok)
    rate_written, most_written = _flat(getattr(found, "cache_write_mtok", None) or found.input_mtok)
    per_request = getattr(found, "requests_kcount", None)  # a fee that depends on the request
    is_each = per_request or _is_timed(model_found)
    most = 0 if is_each else min(most_in, most_out, most_cached, most_written)

    def price(response: Response) -> int:
        tokens_in, tokens_out = response.tokens_in or 0, response.tokens_out or 0
        if tokens_in >= most:
            return _calculated(provider, model, response, context)
        cached = min(response.tokens_cached, tokens_in)
        written = min(response.tokens_written, tokens_in - cached)
        plain = tokens_in - cached - written
        return round(plain * rate_in + cached * rate_cached + written * rate_written + tokens_out * rate_out)

    return price


def _given(rates: Mapping[str, float], *, batch: bool) -> Price:
    if batch and "batch" not in rates:
        return _unknown
    scale = _NANO_PER_MILLION * (Decimal(str(rates["batch"])) if batch else 1)
    rate_in, rate_out = (Decimal(str(rates[name])) * scale for name in ("input", "output"))
    rate_cached = Decimal(str(rates.get("cached_input", rates["input"]))) * scale

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


def _calculated(provider: str, model: str, response: Response, context: Mapping[str, str] | None) -> int:
    """Return the cost as the data's own calculation has it, for what depends on the size of the request."""
    from genai_prices import Usage, calc_price

    tokens_in = response.tokens_in or 0
    cached = min(response.tokens_cached, tokens_in)
    usage = Usage(
        input_tokens=tokens_in,
        cache_read_tokens=cached,
        cache_write_tokens=min(response.tokens_written, tokens_in - cached),
        output_tokens=response.tokens_out,
    )
    more: dict[str, Any] = {} if context is None else {"price_context": dict(context)}
    return round(calc_price(usage, model, provider_id=provider, **more).total_price * 10**9)


def window_of(provider: str, model: str) -> int | None:
    """Return how many tokens a model takes in at most, None where that is unknown."""
    found = _found(provider, model)
    window: int | None = None if found is None else found.context_window
    return window
