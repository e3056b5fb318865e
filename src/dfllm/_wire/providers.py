"""Providers as rows of data: who speaks which dialect, where, and under which variable the user keeps the key.

A provider that speaks a known dialect is a row here, or one more by `register_provider`; it needs no code.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from dfllm._core.charges import Rule
from dfllm._core.errors import ProviderUnknown, listed, near
from dfllm._wire.media import GROQ, IMAGES_ONLY, OLLAMA, OPENAI, SIMULATOR, TEXT_ONLY, Media

Signs: TypeAlias = Literal["", "google", "aws"]
Window: TypeAlias = Literal["minute", "day"]


class Embeds(NamedTuple):
    """How a provider is asked for embeddings.

    Attributes:
        dialect: the wire format.
        texts: the most texts it takes in one request.
        tokens: the most tokens of all of them together.
        base64: whether vectors may be asked for in base64.
    """

    dialect: str
    texts: int = 256
    tokens: int = 300_000
    base64: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider.

    Attributes:
        name: what stands before the slash in ``model=``.
        dialect: the wire format it speaks; empty where it has no chat.
        base_url: where it is, without a trailing slash.
        key_names: environment variables that may hold the API key, the first that is set counts.
        url_names: environment variables that may hold another base URL.
        url_suffix: what those variables leave out of the base URL.
        needs_key: whether it answers nobody without a key.
        max_tokens_field: what it calls the limit of output tokens, where its dialect has several words.
        seed_field: and what the seed.
        schema_form: how answers are held to a JSON schema: by the schema itself, or, where it only knows that an
            answer is JSON, by that and the schema among the instructions.
        charges: what its rate limits count; none for a server of one's own.
        prices: its name in the price data, where that is another.
        takes_tools: whether it takes tools.
        strict_tools: whether it holds calls to their schemas where it is told to be strict.
        schema_by_tool: whether a schema is asked for by a tool that must be called.
        takes_prompt_cache_key: whether it takes a ``prompt_cache_key``, and says how much of a prompt it had kept.
        media: what it takes beside text; None is what its dialect takes.
        built_in: whether it is one of ours; a user's own is known by its base URL too.
        requests_per: the window of the limit of requests that its headers state.
        service_tiers: what it may be asked for as ``service_tier``.
        signs: whose credentials stand for the key, and are proved anew in each request.
        places: words in braces in `base_url` and `url_suffix`, and the variables that fill them in; the last may be
            what the word is where none is set, as in ``"=global"``.
        identity: what stands for a user's own in keys beside its name, in place of its base URL.
        families: beginnings of models' names, and the dialect that is spoken with those models.
        embeds: how it is asked for embeddings; None where it has none.
    """

    name: str
    dialect: str
    base_url: str
    key_names: tuple[str, ...] = ()
    url_names: tuple[str, ...] = ()
    url_suffix: str = ""
    needs_key: bool = True
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    schema_form: Literal["json_schema", "json_object"] = "json_schema"
    charges: Rule = "openai"
    prices: str = ""
    takes_prompt_cache_key: bool = False
    media: Media | None = None
    built_in: bool = True
    takes_tools: bool = True
    strict_tools: bool = False
    schema_by_tool: bool = False
    requests_per: Window = "minute"
    service_tiers: tuple[str, ...] = ()
    signs: Signs = ""
    places: tuple[tuple[str, tuple[str, ...]], ...] = ()
    families: tuple[tuple[str, str], ...] = ()
    identity: str = ""
    embeds: Embeds | None = None


_OPENAI_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "openai",
            "openai",
            "https://api.openai.com/v1",
            key_names=("OPENAI_API_KEY",),
            url_names=("OPENAI_BASE_URL",),
            # max_tokens is deprecated there, and refused by its reasoning models.
            max_tokens_field="max_completion_tokens",
            takes_prompt_cache_key=True,
            strict_tools=True,
            service_tiers=_OPENAI_TIERS,
            media=OPENAI,
            embeds=Embeds("openai-embeddings", 2_048, 300_000, base64=True),
        ),
        Provider(
            "anthropic",
            "anthropic",
            "https://api.anthropic.com",
            key_names=("ANTHROPIC_API_KEY",),
            url_names=("ANTHROPIC_BASE_URL",),
            charges="anthropic",
            service_tiers=("auto", "standard_only"),
        ),
        Provider(
            "gemini",
            "gemini",
            "https://generativelanguage.googleapis.com",
            key_names=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
            url_names=("GOOGLE_GEMINI_BASE_URL",),
            charges="gemini",
            prices="google",
            service_tiers=("standard", "flex", "priority"),
            # Its limit of texts is nowhere in its reference; clients say 100.
            embeds=Embeds("gemini-embeddings", 100),
        ),
        Provider(
            "openai-responses",
            "openai-responses",
            "https://api.openai.com/v1",
            key_names=("OPENAI_API_KEY",),
            url_names=("OPENAI_BASE_URL",),
            prices="openai",
            strict_tools=True,
            service_tiers=(*_OPENAI_TIERS, "ultrafast"),
        ),
        Provider(
            "azure",
            "openai",
            "",  # each account has a place of its own
            key_names=("AZURE_OPENAI_API_KEY",),
            url_names=("AZURE_OPENAI_ENDPOINT",),
            url_suffix="/openai/v1",
            max_tokens_field="max_completion_tokens",
            strict_tools=True,
            service_tiers=("auto", "default", "flex", "priority"),
            media=IMAGES_ONLY,
            embeds=Embeds("openai-embeddings", 2_048, 300_000, base64=True),
        ),
        # A cloud is at as many places as it has regions, and which of them is asked decides no answer.
        Provider(
            "vertex",
            "vertex-gemini",
            "https://{host}/v1/projects/{project}/locations/{location}",
            key_names=("GOOGLE_APPLICATION_CREDENTIALS",),
            url_names=("GOOGLE_VERTEX_BASE_URL",),
            url_suffix="/v1/projects/{project}/locations/{location}",
            charges="gemini",
            prices="google",
            service_tiers=("standard", "flex", "priority"),
            signs="google",
            places=(
                ("project", ("GOOGLE_CLOUD_PROJECT",)),
                ("location", ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION", "=global")),
            ),
            families=(("claude", "vertex-claude"),),
        ),
        Provider(
            "bedrock",
            "converse",
            "https://bedrock-runtime.{region}.amazonaws.com",
            key_names=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"),
            url_names=("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"),
            prices="aws",
            service_tiers=("default", "flex", "priority", "reserved"),
            signs="aws",
            places=(("region", ("AWS_REGION", "AWS_DEFAULT_REGION")),),
        ),
        Provider(
            "mistral",
            "openai",
            "https://api.mistral.ai/v1",
            key_names=("MISTRAL_API_KEY",),
            seed_field="random_seed",
            media=IMAGES_ONLY,
            # It states no limits; these are small enough for all that are told of.
            embeds=Embeds("mistral-embeddings", 128, 16_000),
        ),
        Provider(
            "groq",
            "openai",
            "https://api.groq.com/openai/v1",
            key_names=("GROQ_API_KEY",),
            url_names=("GROQ_BASE_URL",),
            url_suffix="/openai/v1",
            max_tokens_field="max_completion_tokens",
            requests_per="day",
            service_tiers=("auto", "on_demand", "flex", "performance"),
            media=GROQ,
            embeds=Embeds("openai-embeddings", 2_048),
        ),
        Provider(
            "together",
            "openai",
            "https://api.together.ai/v1",
            key_names=("TOGETHER_API_KEY",),
            url_names=("TOGETHER_BASE_URL",),
            media=IMAGES_ONLY,
            embeds=Embeds("openai-embeddings"),
        ),
        Provider(
            "fireworks",
            "openai",
            "https://api.fireworks.ai/inference/v1",
            key_names=("FIREWORKS_API_KEY",),
            url_names=("FIREWORKS_BASE_URL",),
            media=IMAGES_ONLY,
            embeds=Embeds("openai-embeddings"),
        ),
        # Its response_format knows text and json_object only, and its content parts text.
        Provider(
            "deepseek",
            "openai",
            "https://api.deepseek.com/v1",
            key_names=("DEEPSEEK_API_KEY",),
            schema_form="json_object",
            media=TEXT_ONLY,
        ),
        Provider("xai", "openai", "https://api.x.ai/v1", key_names=("XAI_API_KEY",), prices="x-ai", media=IMAGES_ONLY),
        Provider(
            "openrouter",
            "openai",
            "https://openrouter.ai/api/v1",
            key_names=("OPENROUTER_API_KEY",),
            service_tiers=("flex", "priority"),
            embeds=Embeds("openai-embeddings"),
        ),
        # No chat: embeddings alone.
        Provider(
            "cohere",
            "",
            "https://api.cohere.com",
            key_names=("CO_API_KEY", "COHERE_API_KEY"),
            url_names=("CO_API_URL",),
            embeds=Embeds("cohere-embeddings", 96),
        ),
        Provider(
            "voyage",
            "",
            "https://api.voyageai.com/v1",
            key_names=("VOYAGE_API_KEY",),
            prices="voyageai",
            # The tokens are those of its large models; the small ones take more.
            embeds=Embeds("voyage-embeddings", 1_000, 120_000, base64=True),
        ),
        Provider(
            "ollama",
            "openai",
            "http://127.0.0.1:11434/v1",
            key_names=("OLLAMA_API_KEY",),
            url_names=("OLLAMA_HOST",),
            url_suffix="/v1",
            needs_key=False,
            charges="none",
            media=OLLAMA,
            embeds=Embeds("openai-embeddings"),
        ),
        Provider(
            "vllm",
            "openai",
            "http://127.0.0.1:8000/v1",
            key_names=("VLLM_API_KEY",),
            url_names=("VLLM_BASE_URL",),
            needs_key=False,
            charges="none",
            media=IMAGES_ONLY,
            embeds=Embeds("openai-embeddings", base64=True),
        ),
        # Its base URL is given when it is started; its name alone is its identity, though its port moves.
        Provider(
            "simulator",
            "openai",
            "",
            url_names=("DFLLM_SIMULATOR_URL",),
            needs_key=False,
            charges="none",
            takes_prompt_cache_key=True,
            strict_tools=True,
            media=SIMULATOR,
            embeds=Embeds("openai-embeddings", 2_048, base64=True),
        ),
    )
}


#: How a user's own server is asked for embeddings, by the dialect of its chat.
OWN_EMBEDS: Mapping[str, Embeds] = {
    "openai": Embeds("openai-embeddings"),
    "gemini": Embeds("gemini-embeddings", 100),
}


def split(model: str, providers: Mapping[str, Provider]) -> tuple[Provider, str]:
    """Return the provider and its own name for the model: ``"openai/gpt-mini"`` or ``"openai:gpt-mini"``.

    Split once, and only behind a known provider, since models' names hold both marks.

    Raises:
        ProviderUnknown: nothing, or nobody known, stands before the first mark.
    """
    places = [place for mark in "/:" if (place := model.find(mark)) > 0]
    name = model[: min(places, default=0)]
    known = sorted(providers)
    if not name:
        raise ProviderUnknown(
            f"model={model!r} does not say whose it is; write 'provider/model', such as 'openai/{model or 'gpt'}'. "
            f"Known providers: {listed(known)}."
        )
    if name not in providers:
        raise ProviderUnknown(
            f"model={model!r}: no provider is called {name!r}.{near(name, known)} Known providers: {listed(known)}; "
            f"dfllm.register_provider adds any other that speaks a known dialect."
        )
    rest = model[len(name) + 1 :].strip()
    if not rest:
        raise ProviderUnknown(f"model={model!r} names a provider but no model.")
    provider = providers[name]
    dialects = [dialect for start, dialect in provider.families if rest.startswith(start)]
    return (replace(provider, dialect=dialects[0]) if dialects else provider), rest


def placed(provider: Provider, words: Mapping[str, str]) -> Provider:
    """Return the row of a cloud with its place filled in.

    Args:
        provider: one with `places`.
        words: what they are, such as a region.
    """
    location = words.get("location", "")
    # https://cloud.google.com/vertex-ai/docs/general/locations
    hosts = {"global": "aiplatform.googleapis.com"} | {
        area: f"aiplatform.{area}.rep.googleapis.com" for area in ("us", "eu")
    }
    known = {**words, "host": hosts.get(location, f"{location}-aiplatform.googleapis.com")}
    return replace(
        provider, base_url=provider.base_url.format_map(known), url_suffix=provider.url_suffix.format_map(known)
    )


def model_names(listed: Any) -> list[str]:
    """Return the models' names in a provider's list of them; nothing where it has an unknown form."""
    if not isinstance(listed, Mapping):
        return []
    models = listed.get("data") or listed.get("models") or ()
    return [str(model.get("id") or model["name"]).removeprefix("models/") for model in models]


def normalised(base_url: str) -> str:
    """Return the base URL in the one form that is compared and hashed: host in lower case, no trailing slash."""
    scheme, mark, rest = base_url.strip().partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}".rstrip("/")


def rule_at(provider: Provider, base_url: str) -> Rule:
    """Return what the limits count of a provider that may have been moved: on one's own network there are none."""
    host = normalised(base_url).partition("://")[2].partition("/")[0].rpartition("@")[2]
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        is_own = "." not in name or name.endswith((".local", ".internal", ".localhost"))
    else:
        is_own = address.is_private or address.is_link_local
    return "none" if is_own else provider.charges


def identity_of(provider: Provider, base_url: str) -> str:
    """Return what stands for the provider in keys: its name, plus the base URL where the user set another."""
    usual = provider.built_in and normalised(base_url) == normalised(provider.base_url)
    if usual or provider.name == "simulator":
        return provider.name
    return f"{provider.name} {provider.identity or normalised(base_url)}"
