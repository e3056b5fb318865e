"""Prices: to the last nanodollar what `genai-prices` says, without asking it for each row."""

import random
import sys
from fractions import Fraction

import pandas as pd
import pytest
from genai_prices import Usage, calc_price, data

import dfllm
from dfllm._core.types import Response
from dfllm._run.prices import pricer

FLAT = [("openai", "gpt-4o-mini"), ("openai", "gpt-4.1-nano"), ("openai", "o3")]
TIERED = [("google", "gemini-2.5-pro"), ("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5.4")]
FEES = [("perplexity", "sonar")]
#: Around the sizes from which some providers take more.
EDGES = (0, 1, 99_999, 100_000, 127_999, 128_000, 128_001, 199_999, 200_000, 200_001, 272_000, 272_001)


def theirs(provider: str, model: str, used: Response) -> int | None:
    """Return what the price data's own function makes of it, in 1e-9 USD; None where it does not know its own model."""
    usage = Usage(input_tokens=used.tokens_in, cache_read_tokens=used.tokens_cached, output_tokens=used.tokens_out)
    try:
        return round(calc_price(usage, model, provider_id=provider).total_price * 10**9)
    except LookupError:
        return None


def usages(count: int) -> list[Response]:
    """Return random usages of every size, some right at an edge."""
    luck = random.Random(f"usages {count}")  # the same in every run
    made = []
    for _ in range(count):
        tokens_in = luck.choice([luck.choice(EDGES), luck.randrange(1_000), luck.randrange(400_000)])
        cached = luck.choice([0, tokens_in, luck.randrange(tokens_in + 1)])
        made.append(Response("", tokens_in=tokens_in, tokens_cached=cached, tokens_out=luck.randrange(50_000)))
    return made


@pytest.mark.parametrize(("provider", "model"), [*FLAT, *TIERED, *FEES])
def test_price_is_that_of_the_data(provider, model):
    """Input, cached input and output, in whole 1e-9 USD, also where the rate depends on the size of the request."""
    price = pricer(provider, model)

    wrong = [used for used in usages(200) if theirs(provider, model, used) != price(used)]

    assert [] == wrong


def test_price_is_that_of_the_data_for_every_model():
    """The data has more forms than one looks for: each model of each provider, a few usages each."""
    models = [(provider.id, model.id) for provider in data.providers for model in provider.models]

    wrong = [
        (provider, model, used)
        for provider, model in models
        for price in [pricer(provider, model)]
        for used in usages(2)
        if theirs(provider, model, used) != price(used)
    ]

    assert [] == wrong
    assert len(models) > 100


def test_price_is_a_whole_number():
    """Floats would lose cents over a million rows."""
    cost = pricer("openai", "gpt-4o-mini")(Response("", tokens_in=1_000_000, tokens_out=1_000_000))

    assert (int, Fraction(3, 4)) == (type(cost), Fraction(cost, 10**9))


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("simulator", "small"), ("ollama", "llama3.2:3b"), ("", "")]
)
def test_unknown_price_is_no_guess(provider, model):
    """None, whatever was used."""
    price = pricer(provider, model)

    assert [None, None] == [price(used) for used in usages(2)]


@pytest.mark.parametrize("used", [Response(""), Response("", tokens_in=1), Response("", tokens_out=1)])
def test_unknown_usage_has_no_price(used):
    """A provider that does not say what it used cannot be priced."""
    assert None is pricer("openai", "gpt-4o-mini")(used)


def test_more_cached_than_read_is_taken_as_all():
    """A provider's odd count does not make a price negative."""
    price = pricer("openai", "gpt-4o-mini")

    whole, odd = (Response("", tokens_in=100, tokens_cached=cached, tokens_out=0) for cached in (100, 500))

    assert 0 < price(whole) == price(odd)


def test_data_is_loaded_by_the_first_answer_and_not_before(monkeypatch):
    """A quarter of a second that a fully known run never pays."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    price = pricer("openai", "gpt-4o-mini")

    assert None is price(Response(""))
    with pytest.raises(ImportError):
        price(Response("", tokens_in=1, tokens_out=1))


def test_another_server_of_a_known_name_has_no_known_price(simulator, monkeypatch):
    """A proxy may charge what it likes."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator().base_url)

    made = pd.DataFrame({"n": [1]}).llm.complete("{{ n }}", model="openai/echo", details=True)

    assert made["completion_cost"].isna().all()
    assert None is dfllm.last_run().to_dict()["cost_usd"]
