"""Providers: rows of data, split from the model's name, known by their identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dfllm._core.errors import ProviderUnknown
from dfllm._wire.dialects import DIALECTS
from dfllm._wire.embeddings import EMBEDDERS
from dfllm._wire.providers import PROVIDERS, Provider, identity_of, placed, rule_at, split


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai/gpt-mini", ("openai", "gpt-mini")),
        ("openai:gpt-mini", ("openai", "gpt-mini")),
        ("openai/ft:gpt-mini:org/x", ("openai", "ft:gpt-mini:org/x")),
        ("ollama/llama3.2:3b", ("ollama", "llama3.2:3b")),
        ("vllm/meta-llama/Llama-3", ("vllm", "meta-llama/Llama-3")),
        ("vllm:meta-llama/Llama-3", ("vllm", "meta-llama/Llama-3")),
    ],
)
def test_model_is_split_once(model, expected):
    """At the first mark, and models may hold both."""
    provider, name = split(model, PROVIDERS)

    assert expected == (provider.name, name)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt-mini", "openai/gpt-mini"),
        ("opnai/gpt-mini", "Did you mean 'openai'"),
        ("openai/", "no model"),
        ("", "provider/model"),
        ("/x", "provider/model"),
        ("meta-llama/Llama-3", "register_provider"),
    ],
)
def test_unknown_providers_are_refused_with_a_way_out(model, says):
    """The message says what to write instead."""
    with pytest.raises(ProviderUnknown, match=says):
        split(model, PROVIDERS)


def test_identity_is_the_name_at_home():
    """The usual base URL in any spelling is the provider itself."""
    assert "openai" == identity_of(PROVIDERS["openai"], "HTTPS://API.openai.com/v1/")


def test_identity_holds_another_base_url():
    """Two servers never share answers, though the model has the same name."""
    found = {identity_of(PROVIDERS["vllm"], f"http://127.0.0.1:{port}/v1") for port in (8000, 8001, 8002)}

    assert {"vllm", "vllm http://127.0.0.1:8001/v1", "vllm http://127.0.0.1:8002/v1"} == found


def test_identity_of_the_simulator_is_constant():
    """Its port moves, its answers do not."""
    assert "simulator" == identity_of(PROVIDERS["simulator"], "http://127.0.0.1:5555/v1")


def test_identity_of_a_users_own_provider_holds_its_url():
    """A name of the user's may be given to another server tomorrow."""
    own = replace(PROVIDERS["vllm"], name="lab", base_url="http://127.0.0.1:9/v1", built_in=False)

    assert "lab http://127.0.0.1:9/v1" == identity_of(own, own.base_url)


def test_prompt_cache_keys_are_for_those_who_know_them():
    """A compatible server may refuse a field that it does not know, so a user's own gets none."""
    takers = [provider.name for provider in PROVIDERS.values() if provider.takes_prompt_cache_key]

    assert ["openai", "simulator"] == takers
    assert not Provider("lab", "openai", "http://127.0.0.1:9/v1", built_in=False).takes_prompt_cache_key


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_provider_speaks_a_known_dialect(provider):
    """A row of data is enough, if its dialect is there."""
    assert provider.dialect in DIALECTS or (not provider.dialect and provider.embeds)
    assert provider.embeds is None or provider.embeds.dialect in EMBEDDERS
    assert not provider.base_url.endswith("/")


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1",
        "http://[::1]:8000/v1",
        "http://10.1.2.3/v1",
        "https://192.168.0.7:8443/v1",
        "http://gateway/v1",
        "http://models.lab.internal/v1",
        "http://user:secret@nas.local/v1",
    ],
)
def test_on_ones_own_network_there_are_no_limits_to_be_expected(base_url):
    """Whatever the server's name is."""
    assert "none" == rule_at(PROVIDERS["openai"], base_url)


@pytest.mark.parametrize(
    "base_url",
    ["https://api.openai.com/v1", "https://llm.example.com:8443/v1", "https://8.8.8.8/v1", "https://10.example.com/v1"],
)
def test_elsewhere_a_provider_counts_as_its_row_says(base_url):
    """A user's own, as OpenAI does, until it says how."""
    providers = PROVIDERS["openai"], Provider("lab", "openai", base_url, built_in=False), PROVIDERS["vllm"]

    assert ["openai", "openai", "none"] == [rule_at(provider, base_url) for provider in providers]


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
    ],
)
def test_a_cloud_is_where_its_location_says(location, host):
    """Also behind another host, where a user has moved it."""
    vertex = placed(PROVIDERS["vertex"], {"project": "p", "location": location})

    assert f"https://{host}/v1/projects/p/locations/{location}" == vertex.base_url
    assert f"/v1/projects/p/locations/{location}" == vertex.url_suffix


def test_wherever_a_cloud_is_its_identity_is_its_name():
    """Only another base URL makes it another provider."""
    here, there = (placed(PROVIDERS["bedrock"], {"region": region}) for region in ("us-east-1", "eu-central-1"))

    assert "bedrock" == identity_of(here, here.base_url) == identity_of(there, there.base_url)
    assert "bedrock https://proxy.example.com" == identity_of(here, "https://proxy.example.com")


@pytest.mark.parametrize(
    ("model", "dialect"),
    [("vertex/gemini-pro", "vertex-gemini"), ("vertex/claude-opus", "vertex-claude"), ("bedrock/claude", "converse")],
)
def test_some_providers_speak_otherwise_with_some_models(model, dialect):
    """The beginning of the name says which."""
    assert dialect == split(model, PROVIDERS)[0].dialect


def test_who_has_embeddings_is_known():
    """Nobody gets or loses them by a slip in a row."""
    without = {name for name, provider in PROVIDERS.items() if provider.embeds is None}

    assert {"anthropic", "openai-responses", "vertex", "bedrock", "deepseek", "xai"} == without
