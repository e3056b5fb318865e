"""What each provider can do, read from its row and its dialect: for the command line and the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dfllm._core.errors import OptionError
from dfllm._core.tools import Tool
from dfllm._wire.dialects import DIALECTS, Dialect, media_of
from dfllm._wire.media import TEXT_ONLY
from dfllm._wire.providers import Provider

_COLUMNS = (
    *(
        "Provider",
        "Dialect",
        "Key",
        "Where",
        "Moved by",
        "Live",
        "Batch",
        "Schema",
        "Tools",
        "`seed`",
        "`stop`",
        "`reasoning`",
    ),
    *("Images", "Files", "Service tiers", "Prices", "Embeddings"),
)
_HEAD = (f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS))
#: Nobody can be asked by batch yet.
_BATCHES = False


class Abilities(NamedTuple):
    """One provider, as far as a user asks.

    Attributes:
        provider: its name.
        dialect: the wire format it speaks; empty where it has no chat.
        keys: variables that may hold its API key.
        needs_key: whether it answers nobody without.
        base_url: where it is; empty where that is not one place.
        urls: variables that hold another base URL.
        live: whether it completes prompts.
        batch: whether it can be asked by batch from here.
        schema: whether the provider holds answers to a JSON schema; where it does not, they are asked for it in words.
        tools: whether tools can be offered.
        seed: whether it has a place for a seed.
        stop: whether it has a place for texts that end an answer.
        reasoning: whether it has a place for how hard to think.
        tiers: what it may be asked for as a service tier.
        images: whether it can be shown images.
        files: what files it can be shown, as ``"PDF, text"``; empty where none.
        prices: whether the price data knows it.
        embeddings: the wire format of its embeddings; empty where it has none.
    """

    provider: str
    dialect: str
    keys: tuple[str, ...]
    needs_key: bool
    base_url: str
    urls: tuple[str, ...]
    live: bool
    batch: bool
    schema: bool
    tools: bool
    seed: bool
    stop: bool
    reasoning: bool
    tiers: tuple[str, ...]
    images: bool
    files: str
    prices: bool
    embeddings: str


def abilities_of(provider: Provider) -> Abilities:
    """Return what a provider can do."""
    dialect = DIALECTS[provider.dialect] if provider.dialect else None
    lacks = dialect.lacks if dialect is not None else ("seed", "stop", "reasoning")
    media = media_of(provider) if provider.dialect else TEXT_ONLY
    return Abilities(
        provider.name,
        " or ".join([provider.dialect, *(dialect for _, dialect in provider.families)]),
        provider.key_names,
        provider.needs_key,
        provider.base_url,
        provider.url_names,
        dialect is not None,
        _BATCHES,
        provider.schema_form == "json_schema" and dialect is not None,
        provider.takes_tools and dialect is not None and dialect.tools is not None,
        "seed" not in lacks,
        "stop" not in lacks,
        "reasoning" not in lacks,
        provider.service_tiers,
        media.images,
        media.said,
        # Without a place of its own, or at a user's own, nobody knows what is charged.
        provider.built_in and provider.needs_key and bool(provider.base_url),
        provider.embeds.dialect if provider.embeds is not None else "",
    )


def offered(tools: Sequence[Tool], provider: Provider, dialect: Dialect) -> str | None:
    """Return the part of the body that offers these tools to a provider; None where there are none.

    Raises:
        OptionError: it takes no tools, or not these.
    """
    if not tools:
        return None
    if dialect.tools is None or not provider.takes_tools:
        raise OptionError(f"{provider.name} takes no tools. Leave tools= out, or choose another provider.")
    return dialect.tools(tools, strict=provider.strict_tools)


def page(providers: Mapping[str, Provider]) -> str:
    """Return the table of the docs."""
    return "\n".join([*_HEAD, *(_line(abilities_of(provider)) for provider in providers.values())])


def _line(one: Abilities) -> str:
    keys = " or ".join(f"`{name}`" for name in one.keys)
    told = (
        f"`{one.provider}`",
        " or ".join(f"`{name}`" for name in one.dialect.split(" or ")) if one.dialect else "-",
        keys if one.needs_key else f"none needed ({keys})" if keys else "none",
        f"`{one.base_url}`" if one.base_url else "your own" if one.needs_key else "started on this machine by itself",
        " or ".join(f"`{name}`" for name in one.urls) or "-",
        *("yes" if able else "no" for able in (one.live, one.batch)),
        "yes" if one.schema else "in words" if one.dialect else "no",
        *("yes" if able else "no" for able in (one.tools, one.seed, one.stop, one.reasoning, one.images)),
        one.files or "no",
        ", ".join(f"`{name}`" for name in one.tiers) or "-",
        "yes" if one.prices else "no",
        f"`{one.embeddings}`" if one.embeddings else "no",
    )
    return f"| {' | '.join(told)} |"
