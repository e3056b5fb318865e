"""Budgets: amounts are whole, scopes are what they say, and nonsense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.budget import NANO, Budget, Cap, cap_of, day_of, dollars, exceeded
from dfllm._core.errors import OptionError


@pytest.mark.parametrize(
    "usd",
    [0, -1, float("nan"), float("inf"), True, "5", None],
    ids=["nothing", "less", "nan", "infinity", "true", "text", "none"],
)
def test_amount_that_is_none_is_refused(usd):
    """The message has what was found."""
    with pytest.raises(OptionError, match=r"Budget\(usd\) takes an amount above 0; found"):
        Budget(usd)


def test_what_it_is_for_is_one_of_three():
    """A budget per month would be silently nothing, so it is refused."""
    with pytest.raises(OptionError, match="'call', 'day', 'tag'; found 'month'"):
        Budget(1, per="month")


@pytest.mark.parametrize(
    ("usd", "nano"),
    [(1, NANO), (0.1, 100_000_000), (0.29, 290_000_000), (1e-9, 1), (1.9999999999, 1_999_999_999)],
)
def test_amounts_are_whole_and_never_rounded_up(usd, nano):
    """0.1 USD is a tenth, though no float is; a fraction of the smallest unit is dropped."""
    assert nano == Budget(usd).nano


@pytest.mark.parametrize(("per", "scope"), [("call", "run:r_1"), ("day", "day:2026-11-28"), ("tag", "tag:my tag: one")])
def test_cap_says_what_is_added_up(per, scope):
    """A call is its run, a day is that of UTC, a tag is the user's word, whatever is in it."""
    cap = cap_of(Budget(2, per=per), run="r_1", tag="my tag: one", now=1_795_910_399.0)

    assert Cap(scope, 2 * NANO) == cap


def test_day_changes_at_midnight_utc():
    """A second later it is another day's budget."""
    assert ["2026-11-28", "2026-11-29"] == [day_of(1_795_910_399.0), day_of(1_795_910_400.0)]


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001000"),
        (1_234_567, "$0.001235"),
        (40_000_000, "$0.04000"),
        (250_000_000, "$0.25"),
        (1_234_500_000_000, "$1,234.50"),
    ],
)
def test_amounts_for_people(nano, text):
    """Cents where that is enough, four digits that count below ten cents."""
    assert text == dollars(nano)


def test_refused_row_says_what_it_needs_and_what_is_left():
    """Also where less than nothing is left."""
    budget = Budget(0.5, per="day")

    assert "BudgetExceeded: needs up to $0.04000, left $0.01000 of $0.50 per day" == str(
        exceeded(budget, 40_000_000, 10_000_000)
    )
    assert "left $0.00 of" in str(exceeded(budget, 1, -7))


@given(st.integers(1, 10**15))
def test_every_amount_survives(nano):
    """What a user can write in USD comes back as the whole number it is."""
    assert nano == Budget(nano / NANO).nano
