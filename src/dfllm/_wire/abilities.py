"""What each provider can do, read from its row and its dialect: for the command line and the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dfllm._wire.dialects import DIALECTS, media_of
from dfllm._wire.providers import Provider

_HEAD = (
    "| Provider | Dialect | Key | Where | Moved by | Schema | `seed` | `stop` | Images | Files | Prices |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


class Abilities(NamedTuple):
    """One provider, as far as a user asks.

    Attributes:
        provider: its name.
        dialect: the wire format it speaks.
        keys: variables that may hold its API key.
        needs_key: whether it answers nobody without.
        base_url: where it is; empty where that is not one place.
        urls: variables that hold another base URL.
        schema: whether answers can be held to a JSON schema.
        seed: whether it has a place for a seed.
        stop: whether it has a place for texts that end an answer.
        images: whether it can be shown images.
        files: what files it can be shown, as ``"PDF, text"``; empty where none.
        prices: whether the price data knows it.
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
    images: bool
    files: str
    prices: bool


def abilities_of(provider: Provider) -> Abilities:
    """Return what a provider can do."""
    lacks, media = DIALECTS[provider.dialect].lacks, media_of(provider)
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
        media.images,
        media.said,
        # Without a place of its own, or at a user's own, nobody knows what is charged.
        provider.built_in and provider.needs_key and bool(provider.base_url),
    )


def page(providers: Mapping[str, Provider]) -> str:
    """Return the table of the docs."""
    return "\n".join([*_HEAD, *(_line(abilities_of(provider)) for provider in providers.values())])


def _line(one: Abilities) -> str:
    keys = " or ".join(f"`{name}`" for name in one.keys)
    told = (
        f"`{one.provider}`",
        f"`{one.dialect}`",
        keys if one.needs_key else f"none needed ({keys})" if keys else "none",
        f"`{one.base_url}`" if one.base_url else "your own" if one.needs_key else "started on this machine by itself",
        " or ".join(f"`{name}`" for name in one.urls) or "-",
        *("yes" if able else "no" for able in (one.schema, one.seed, one.stop, one.images)),
        one.files or "no",
        "yes" if one.prices else "no",
    )
    return f"| {' | '.join(told)} |"
