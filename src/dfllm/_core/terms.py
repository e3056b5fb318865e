"""Options to Terms: checked before anything is spent, with the option's name in every complaint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from dfllm._core.errors import OptionError
from dfllm._core.inputs import has_surrogate
from dfllm._core.keys import canonical
from dfllm._core.types import Terms


def terms_of(
    *,
    provider: str,
    dialect: str,
    model: str,
    max_tokens_field: str = "max_tokens",
    seed_field: str = "seed",
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    reasoning: str | None = None,
    schema: str | None = None,
    extra: Mapping[str, Any] | None = None,
    tools: str | None = None,
    tool_choice: str | None = None,
    service_tier: str | None = None,
    service_tiers: Sequence[str] = (),
) -> Terms:
    """Return the Terms these options make.

    Raises:
        OptionError: a value that no provider could take.
    """
    terms = Terms(
        provider=provider,
        dialect=dialect,
        model=model,
        temperature=_real("temperature", temperature, 0.0, 2.0),
        top_p=_real("top_p", top_p, 0.0, 1.0),
        max_tokens=_whole("max_tokens", max_tokens, 1),
        max_tokens_field=max_tokens_field,
        stop=_stops(stop),
        seed=_whole("seed", seed, -(2**63)),
        seed_field=seed_field,
        reasoning=_word("reasoning", reasoning),
        schema=schema,
        extra=_json(extra),
        tools=tools,
        tool_choice=tool_choice,
        service_tier=_tier(provider, service_tier, service_tiers),
    )
    for name in ("model", "stop", "reasoning", "schema", "extra", "tools"):
        if has_surrogate(canonical(getattr(terms, name))):
            raise OptionError(f"{name} holds a lone surrogate, which no request could carry.")
    return terms


def _real(name: str, value: Any, low: float, high: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise OptionError(f"{name} takes a number from {low:g} to {high:g}; found {value!r}.")
    return float(value)


def _whole(name: str, value: Any, low: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) < 2**63:
        raise OptionError(f"{name} takes a whole number from {low} on; found {value!r}.")
    return int(value)


def _word(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise OptionError(f"{name} takes the provider's word for it, such as 'low' or 'high'; found {value!r}.")
    return value


def _tier(provider: str, tier: str | None, known: Sequence[str]) -> str | None:
    if tier is not None and tier not in known:
        has = f"it has {', '.join(map(repr, known))}" if known else "it has none; set it to None there"
        raise OptionError(f"service_tier={tier!r} does not fit {provider}: {has}.")
    return tier


def _stops(stop: Any) -> tuple[str, ...] | None:
    if stop is None:
        return None
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, Sequence) else (None,)
    if not stops or not all(isinstance(text, str) and text for text in stops):
        raise OptionError(f"stop takes a text or a list of them, none empty; found {stop!r}.")
    return stops


def _json(extra: Any) -> str | None:
    if extra is None or extra == {}:
        return None
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
        raise OptionError(f"extra takes a mapping from names to JSON values; found {type(extra).__name__}.")
    try:
        text = canonical(extra)
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"extra holds something that is no JSON: {error}.") from error
    if json.loads(text) != extra:
        raise OptionError("extra does not survive JSON as it is; use text keys, lists and plain values.")
    return text
