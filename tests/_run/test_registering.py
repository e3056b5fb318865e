"""Registering: a provider of the user's own, with what its row may say."""

import pytest

import dfllm
from dfllm._core.errors import OptionError
from dfllm._run.registering import register_provider
from dfllm._run.settings import providers
from dfllm._wire.providers import identity_of


def test_every_quirk_of_a_row_can_be_said():
    """A user's own is no less than one of ours."""
    register_provider(
        "lab",
        base_url="https://llm.example.com/v1/",
        api_key_env="LAB_KEY",
        seed_field="random_seed",
        schema_form="json_object",
        charges="gemini",
        requests_per="day",
        service_tiers=["flex"],
    )

    lab = providers()["lab"]

    assert ("https://llm.example.com/v1", ("LAB_KEY",), True) == (lab.base_url, lab.key_names, lab.needs_key)
    assert ("random_seed", "json_object", "gemini", "day", ("flex",)) == (
        lab.seed_field,
        lab.schema_form,
        lab.charges,
        lab.requests_per,
        lab.service_tiers,
    )


def test_a_server_that_moves_keeps_its_answers():
    """Where the user says that it is the same; a built-in name is never taken that way."""
    register_provider("lab", base_url="http://127.0.0.1:9/v1", identity="blue")
    register_provider("other", base_url="http://127.0.0.1:9/v1", identity="blue")
    lab, other = providers()["lab"], providers()["other"]

    moved = {identity_of(lab, base_url) for base_url in ("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1")}

    assert {"lab blue"} == moved
    assert "other blue" == identity_of(other, other.base_url)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"dialect": "anthropic", "seed_field": "x"}, "seed_field is for the dialect 'openai'"),
        ({"dialect": "gemini", "schema_form": "json_object"}, "schema_form is for the dialect 'openai'"),
        ({"schema_form": "xml"}, "schema_form is one of"),
        ({"charges": "much"}, "charges is one of"),
        ({"requests_per": "hour"}, "requests_per is one of"),
        ({"service_tiers": "flex"}, "list of words"),
        ({"service_tiers": [""]}, "list of words"),
        ({"identity": ""}, "identity takes a word"),
        ({"identity": "https://llm.example.com/v1"}, "identity takes a word"),
    ],
)
def test_what_does_not_fit_is_refused(more, says):
    """And nothing is registered."""
    with pytest.raises(OptionError, match=says):
        register_provider("lab", base_url="http://127.0.0.1:9/v1", **more)
    assert "lab" not in providers()


def test_it_is_public():
    """The same function."""
    assert register_provider is dfllm.register_provider


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://lab/v1", "http://", "https:///v1", "", None])
def test_an_address_that_can_never_work_is_refused_at_once(url):
    """Not at the first call."""
    with pytest.raises(OptionError, match="base_url"):
        register_provider("lab", base_url=url)
