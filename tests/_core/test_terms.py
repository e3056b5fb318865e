"""Options to terms: each complaint names its option and comes before anything is spent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dfllm._core.errors import OptionError
from dfllm._core.terms import terms_of
from dfllm._core.types import Terms

NAMED = {"provider": "openai", "dialect": "openai", "model": "m"}


def test_options_become_terms():
    """Each lands in its own field, numbers as the wire wants them."""
    terms = terms_of(
        **NAMED, temperature=1, top_p=0.5, max_tokens=5, stop="x", seed=7, reasoning="low", extra={"b": 1, "a": [2]}
    )

    assert (
        Terms(
            **NAMED,
            temperature=1.0,
            top_p=0.5,
            max_tokens=5,
            stop=("x",),
            seed=7,
            reasoning="low",
            extra='{"a":[2],"b":1}',
        )
        == terms
    )


def test_numbers_out_of_an_array_are_numbers():
    """What numpy calls a number counts as one, and makes the same terms as Python's own."""
    own = terms_of(provider="p", dialect="openai", model="m", temperature=0.5, max_tokens=9, seed=7)

    made = terms_of(
        provider="p",
        dialect="openai",
        model="m",
        temperature=np.float32(0.5),
        max_tokens=np.int64(9),
        seed=np.uint8(7),
    )

    assert own == made
    assert (float, int, int) == (type(made.temperature), type(made.max_tokens), type(made.seed))


def test_nothing_given_is_nothing_set():
    """Defaults are the provider's, and stay out of the key."""
    assert Terms(**NAMED) == terms_of(**NAMED, extra={})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", math.nan),
        ("top_p", 1.5),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("stop", ""),
        ("stop", []),
        ("stop", ["a", 1]),
        ("stop", 5),
        ("seed", "x"),
        ("reasoning", ""),
        ("reasoning", 3),
        ("extra", [1]),
        ("extra", {1: 2}),
        ("extra", {"a": {1, 2}}),
        ("extra", {"a": math.inf}),
        ("extra", {"a": (1, 2)}),
    ],
)
def test_odd_values_are_refused_by_name(name, value):
    """The message names the option and what was found."""
    with pytest.raises(OptionError, match=name):
        terms_of(**NAMED, **{name: value})


def test_a_service_tier_is_one_that_the_provider_has():
    """Who has none says so, and who has others names them."""
    assert "flex" == terms_of(**NAMED, service_tier="flex", service_tiers=["auto", "flex"]).service_tier
    for tiers, says in (([], "it has none"), (["auto", "fast"], "it has 'auto', 'fast'")):
        with pytest.raises(OptionError, match=says):
            terms_of(**NAMED, service_tier="flex", service_tiers=tiers)
