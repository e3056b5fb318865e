"""Abilities: what is told of a provider is what its row and its dialect do."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests._wire.vendors import VENDORS

from dfllm._run.prices import pricer
from dfllm._wire.abilities import abilities_of, page
from dfllm._wire.dialects import DIALECTS
from dfllm._wire.providers import PROVIDERS

DOCS = Path(__file__).parents[2] / "docs" / "providers.md"


def test_the_docs_have_the_table_of_today():
    """It is made from the rows; whoever changes one pastes it anew."""
    told = DOCS.read_text("utf-8").split("<!-- abilities -->")[1].split("<!-- end of abilities -->")[0]

    keyless = replace(PROVIDERS["simulator"], key_names=())  # the tests give it a key
    assert page({**PROVIDERS, "simulator": keyless}) == told.strip()


@pytest.mark.parametrize("name", DIALECTS)
def test_what_a_dialect_lacks_is_what_it_refuses(name):
    """The contract shows that these are refused, and no others."""
    assert VENDORS[name].unsupported == DIALECTS[name].lacks


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_prices_are_known_where_it_says_so(provider):
    """Under the name that the price data has for it."""
    from genai_prices.data import providers

    known = (provider.prices or provider.name) in {one.id for one in providers}

    assert known or not abilities_of(provider).prices
    assert callable(pricer(provider.prices or provider.name, "any"))


def test_a_users_own_has_no_price():
    """Nobody knows what it charges."""
    own = replace(PROVIDERS["openai"], name="lab", built_in=False)

    assert (True, False) == (abilities_of(PROVIDERS["openai"]).prices, abilities_of(own).prices)
