"""Providers as rows of data: who speaks which dialect, where, and under which variable the user keeps the key.

A provider that speaks a known dialect is a row here, or one more by `register_provider`; it needs no code.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dfllm._core.charges import Rule
from dfllm._core.errors import ProviderUnknown, listed, near
from dfllm._wire.media import GROQ, IMAGES_ONLY, OLLAMA, OPENAI, SIMULATOR, TEXT_ONLY, Media


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider.

    Attributes:
        name: what stands before the slash in ``model=``.
        dialect: the wire format it speaks.
        base_url: where it is, without a trailing slash.
        key_names: environment variables that may hold the API key, the first that is set counts.
        url_names: environment variables that may hold another base URL.
        url_suffix: what those variables leave out of the base URL.
        needs_key: whether it answers nobody without a key.
        max_tokens_field: what it calls the limit of output tokens, where its dialect has several words.
        seed_field: and what the seed.
        takes_schema: whether answers can be held to a JSON schema.
        charges: what its rate limits count; none for a server of one's own.
        prices: its name in the price data, where that is another.
        takes_prompt_cache_key: whether it takes a ``prompt_cache_key``, and says how much of a prompt it had kept.
        media: what it takes beside text; None is what its dialect takes.
        built_in: whether it is one of ours; a user's own is known by its base URL too.
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
    takes_schema: bool = True
    charges: Rule = "openai"
    prices: str = ""
    takes_prompt_cache_key: bool = False
    media: Media | None = None
    built_in: bool = True


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
            media=OPENAI,
        ),
        Provider(
            "anthropic",
            "anthropic",
            "https://api.anthropic.com",
            key_names=("ANTHROPIC_API_KEY",),
            url_names=("ANTHROPIC_BASE_URL",),
            charges="anthropic",
        ),
        Provider(
            "gemini",
            "gemini",
            "https://generativelanguage.googleapis.com",
            key_names=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
            url_names=("GOOGLE_GEMINI_BASE_URL",),
            charges="gemini",
            prices="google",
        ),
        Provider(
            "openai-responses",
            "openai-responses",
            "https://api.openai.com/v1",
            key_names=("OPENAI_API_KEY",),
            url_names=("OPENAI_BASE_URL",),
            prices="openai",
        ),
        Provider(
            "azure",
            "openai",
            "",  # each account has a place of its own
            key_names=("AZURE_OPENAI_API_KEY",),
            url_names=("AZURE_OPENAI_ENDPOINT",),
            url_suffix="/openai/v1",
            max_tokens_field="max_completion_tokens",
            media=IMAGES_ONLY,
        ),
        Provider(
            "mistral",
            "openai",
            "https://api.mistral.ai/v1",
            key_names=("MISTRAL_API_KEY",),
            seed_field="random_seed",
            media=IMAGES_ONLY,
        ),
        Provider(
            "groq",
            "openai",
            "https://api.groq.com/openai/v1",
            key_names=("GROQ_API_KEY",),
            url_names=("GROQ_BASE_URL",),
            url_suffix="/openai/v1",
            max_tokens_field="max_completion_tokens",
            media=GROQ,
        ),
        Provider(
            "together",
            "openai",
            "https://api.together.ai/v1",
            key_names=("TOGETHER_API_KEY",),
            url_names=("TOGETHER_BASE_URL",),
            media=IMAGES_ONLY,
        ),
        Provider(
            "fireworks",
            "openai",
            "https://api.fireworks.ai/inference/v1",
            key_names=("FIREWORKS_API_KEY",),
            url_names=("FIREWORKS_BASE_URL",),
            media=IMAGES_ONLY,
        ),
        # Its response_format knows text and json_object only, and its content parts text.
        Provider(
            "deepseek",
            "openai",
            "https://api.deepseek.com/v1",
            key_names=("DEEPSEEK_API_KEY",),
            takes_schema=False,
            media=TEXT_ONLY,
        ),
        Provider("xai", "openai", "https://api.x.ai/v1", key_names=("XAI_API_KEY",), prices="x-ai", media=IMAGES_ONLY),
        Provider("openrouter", "openai", "https://openrouter.ai/api/v1", key_names=("OPENROUTER_API_KEY",)),
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
            media=SIMULATOR,
        ),
    )
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
            f"dfllm.register_provider adds any other that is compatible with OpenAI."
        )
    rest = model[len(name) + 1 :].strip()
    if not rest:
        raise ProviderUnknown(f"model={model!r} names a provider but no model.")
    return providers[name], rest


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
    return f"{provider.name} {normalised(base_url)}"
