"""What each provider can do, read from its row and its dialect: for the command line and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dfllm._wire.dialects import DIALECTS
from dfllm._wire.providers import Provider

_HEAD = (
    "| Provider | Dialect | Key | Where | Moved by | Schema | `seed` | `stop` | Prices | Embeddings |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


class Abilities(NamedTuple):
    """One provider, as far as a user asks.

    Attributes:
        provider: its name.
        dialect: the wire format it speaks; empty where it has no chat.
        keys: variables that may hold its API key.
        needs_key: whether it answers nobody without.
        base_url: where it is; empty where that is not one place.
        urls: variables that hold another base URL.
        schema: whether answers can be held to a JSON schema.
        seed: whether it has a place for a seed.
        stop: whether it has a place for texts that end an answer.
        prices: whether the price data knows it.
        embeddings: the wire format of its embeddings; empty where it has none.
    """

    provider: str
    dialect: str
    keys: tuple[str, ...]
    needs_key: bool
    base_url: str
    urls: tuple[str, ...]
    schema: bool
    seed: bool
    stop: bool
    prices: bool
    embeddings: str


def abilities_of(provider: Provider) -> Abilities:
    """Return what a provider can do."""
    lacks = DIALECTS[provider.dialect].lacks if provider.dialect else ("seed", "stop")
    return Abilities(
        provider.name,
        provider.dialect,
        provider.key_names,
        provider.needs_key,
        provider.base_url,
        provider.url_names,
        provider.takes_schema,
        "seed" not in lacks,
        "stop" not in lacks,
        # Without a place of its own, or at a user's own, nobody knows what is charged.
        provider.built_in and provider.needs_key and bool(provider.base_url),
        provider.embeds.dialect if provider.embeds is not None else "",
    )


def page(providers: Mapping[str, Provider]) -> str:
    """Return the table of the docs."""
    return "\n".join([*_HEAD, *(_line(abilities_of(provider)) for provider in providers.values())])


def _line(one: Abilities) -> str:
    keys = " or ".join(f"`{name}`" for name in one.keys)
    told = (
        f"`{one.provider}`",
        f"`{one.dialect}`" if one.dialect else "-",
        keys if one.needs_key else f"none needed ({keys})" if keys else "none",
        f"`{one.base_url}`" if one.base_url else "your own" if one.needs_key else "started on this machine by itself",
        " or ".join(f"`{name}`" for name in one.urls) or "-",
        *("yes" if able else "no" for able in (one.schema, one.seed, one.stop, one.prices)),
        f"`{one.embeddings}`" if one.embeddings else "no",
    )
    return f"| {' | '.join(told)} |"
