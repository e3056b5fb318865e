"""Prices: to the last nanodollar what `genai-prices` says, without asking it for each row."""

import random
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest
from genai_prices import Usage, calc_price, data

import dfllm
from dfllm._core.types import Response
from dfllm._run.prices import pricer, source_of, surcharge_of

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
    for name in ("genai_prices", "genai_prices.data_snapshot"):
        monkeypatch.setitem(sys.modules, name, None)
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


BATCHED = [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-flash")]


@pytest.mark.parametrize(("provider", "model"), BATCHED)
def test_batch_price_is_that_of_the_data(provider, model):
    """By the data's own calculation in its batch context, and lower than live."""
    live, batch = pricer(provider, model), pricer(provider, model, batch=True)

    for used in usages(60):
        usage = Usage(input_tokens=used.tokens_in, cache_read_tokens=used.tokens_cached, output_tokens=used.tokens_out)
        told = calc_price(usage, model, provider_id=provider, price_context={"processing": "batch"})
        assert round(told.total_price * 10**9) == batch(used)
        assert batch(used) < live(used) or live(used) == 0


def test_batch_price_that_is_not_stated_is_unknown():
    """The data gives the full price in silence where its context does not match; that is no batch price."""
    used = Response("", tokens_in=1_000, tokens_out=100)
    model = next(
        one.id
        for provider in data.providers
        if provider.id == "openai"
        for one in provider.models
        if not one.price_variants and pricer("openai", one.id)(used)
    )

    assert None is pricer("openai", model, batch=True)(used)


def test_users_price_goes_before_the_datas():
    """Also for batch, as a share; without one it is unknown."""
    told = {"input": 1.0, "output": 4.0, "cached_input": 0.1}
    used = Response("", tokens_in=1_000, tokens_cached=400, tokens_out=10)

    assert 600_000 + 40_000 + 40_000 == pricer("openai", "gpt-4o-mini", told)(used)
    assert 340_000 == pricer(None, "mine", {**told, "batch": 0.5}, batch=True)(used)
    assert None is pricer("openai", "gpt-4o-mini", told, batch=True)(used)


def test_written_to_the_cache_is_billed_and_bounded():
    """Where a provider bills it apart: in the price, and as a surcharge on what a request may cost at most."""
    price, surcharge = pricer("anthropic", "claude-sonnet-4-5"), surcharge_of("anthropic", "claude-sonnet-4-5")
    plain, written = (Response("", tokens_in=1_000, tokens_out=0, tokens_written=count) for count in (0, 1_000))

    assert price(written) == price(plain) * Decimal("1.25")
    assert Decimal("1.25") == surcharge()
    assert 1 == surcharge_of("openai", "gpt-4o-mini")() == surcharge_of(None, "x")() == surcharge_of("openai", "none")()


def test_cached_input_that_is_dearer_is_bounded_too():
    """As told, a cache may cost more than none."""
    assert 9 == surcharge_of(None, "mine", {"input": 1, "output": 1, "cached_input": 9})()


def test_dearest_hour_of_the_day_is_bounded():
    """A provider that is cheaper at night bills the day's price in the morning; each answer has its own hour's."""
    timed = [
        (provider.id, model.id)
        for provider in data.providers
        for model in provider.models
        if isinstance(model.prices, list) and any(hasattr(one.constraint, "start_time") for one in model.prices)
    ]
    assert timed

    for provider, model in timed:
        used = Response("", tokens_in=1_000_000, tokens_out=500_000)
        now = datetime.now(UTC)
        usage = Usage(input_tokens=used.tokens_in, output_tokens=used.tokens_out)
        hours = [now + timedelta(hours=hour) for hour in range(24)]
        told = [calc_price(usage, model, provider_id=provider, genai_request_timestamp=hour) for hour in hours]
        assert (
            max(one.total_price for one in told) * 10**9
            <= pricer(provider, model)(used) * surcharge_of(provider, model)() + 1
        )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("openai", "gpt-4o-mini", None), r"price of gpt-4o-mini from genai-prices [\d.]+, data of \d{4}-\d\d-\d\d"),
        (("openai", "gpt-4o-mini", {"input": 1, "output": 1}), r"price as told by configure\(prices=...\)"),
        ((None, "mine", None), r"price unknown: tell it with dfllm.configure\(prices=.*"),
        (("openai", "no-such-model", None), r"price unknown: .*"),
    ],
)
def test_price_says_where_it_is_from(asked, said):
    """Source and date, or what to do."""
    assert re.fullmatch(said, source_of(*asked))


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ([], "prices takes a mapping from 'provider/model' to prices; found list"),
        ({"mine": {"input": 1, "output": 1}}, "prices takes entries such as"),
        ({"a/b": {"input": 1}}, "says nothing of 'output'"),
        (
            {"a/b": {"input": 1, "output": 1, "cached": 1}},
            "has 'cached'; it takes 'input', 'output'",
        ),
        ({"a/b": {"input": -1, "output": 1}}, "takes USD per million tokens; found -1"),
        ({"a/b": {"input": 1, "output": 1, "batch": 50}}, "takes a share of the price, such as 0.5; found 50"),
    ],
    ids=["list", "no provider", "no output", "unknown", "below 0", "percent"],
)
def test_prices_that_are_none_are_refused(prices, said):
    """With what was found, before anything is sent."""
    with pytest.raises(dfllm.OptionError, match=re.escape(said)):
        dfllm.configure(prices=prices)


def tiered(*tiers):
    """Return the models whose price is stated for one of these service tiers, with it."""
    return [
        (provider.id, model.id, tier)
        for provider in data.providers
        for model in provider.models
        for tier in tiers
        if provider.id in ("openai", "google")
        and "tts" not in model.id
        and any(dict(one.when) == {"service_tier": tier} for one in model.price_variants or ())
    ][:12]


@pytest.mark.parametrize(("provider", "model", "tier"), tiered("flex", "priority"))
def test_a_service_tiers_price_is_that_of_the_data(provider, model, tier):
    """Flex costs less than the plain tier, priority more."""
    plain, price = pricer(provider, model), pricer(provider, model, tier=tier)
    used = Response("", tokens_in=1_000, tokens_out=100)

    told = calc_price(
        Usage(input_tokens=1_000, output_tokens=100),
        model,
        provider_id=provider,
        price_context={"service_tier": tier},
    )

    assert round(told.total_price * 10**9) == price(used)
    assert (price(used) < plain(used)) == (tier == "flex")


@pytest.mark.parametrize("tier", ["auto", "default", "standard", "standard_only", "on_demand"])
def test_plain_tiers_have_the_plain_price(tier):
    """Under whatever name."""
    used = Response("", tokens_in=1_000, tokens_out=100)

    assert pricer("openai", "gpt-4o-mini")(used) == pricer("openai", "gpt-4o-mini", tier=tier)(used)


def test_a_tiers_price_that_is_not_stated_is_unknown():
    """And no half of another is guessed; what the user tells is believed."""
    used = Response("", tokens_in=1_000, tokens_out=0)

    assert None is pricer("aws", "amazon.nova-lite-v1:0", tier="flex")(used)
    assert 1_000_000 == pricer("aws", "x", {"input": 1.0, "output": 4.0}, tier="flex")(used)
