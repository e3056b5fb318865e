"""All limits together: the tightest decides, and what is no limit has no say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.clocks import Clocks

NOW = 1_000.0
RATES = st.tuples(*[st.just(0.0) | st.floats(0.1, 1_000.0)] * 3)
UNITS = st.tuples(st.just(1.0), st.floats(0.01, 5_000.0), st.floats(0.01, 5_000.0))
ASKED = st.lists(st.tuples(st.floats(0.0, 3.0), UNITS), max_size=15)


def close(expected):
    """Return what equals this number but for rounding."""
    return pytest.approx(expected, rel=1e-6, abs=1e-5)


def clocks(*rates):
    """Return clocks at these rates."""
    made = Clocks()
    made.set(rates)
    return made


def busy(rates, asked):
    """Return clocks and the time, after these requests were charged."""
    made, now = clocks(*rates), NOW
    for seconds, units in asked:
        now += seconds
        made.charge(now, units)
    return made, now


def test_without_limits_all_is_let_through():
    """Nothing is counted, no time is named, and all requests are equal."""
    none = Clocks()

    assert none.fits(NOW, (1.0, 1e9, 1e9))
    assert NOW == none.charge(NOW, (1.0, 1e9, 1e9)) == none.again(NOW, (1.0, 1e9, 1e9))
    assert (0.0, 0.0, 0.0) == none.spent
    assert none.rate((1.0, 10.0, 0.0)) is None
    assert 1.0 == none.cost((1.0, 10.0, 0.0)) == none.cost((1.0, 1e6, 0.0))


@pytest.mark.parametrize(
    ("rates", "expected"), [((0.0, 0.0, 0.0), ()), ((5.0, 0.0, 0.0), (0,)), ((0.0, 9.0, 2.0), (1, 2))]
)
def test_only_what_has_a_rate_is_a_limit(rates, expected):
    """The others are not asked, and nothing is charged there."""
    made = clocks(*rates)
    made.charge(NOW, (1.0, 2.0, 3.0))

    assert expected == tuple(place for place, _ in made.active)
    assert tuple((1.0, 2.0, 3.0)[place] if rates[place] else 0.0 for place in range(3)) == made.spent


@pytest.mark.parametrize(
    ("units", "expected"), [((1.0, 10.0, 1.0), 0.5), ((1.0, 600.0, 1.0), 6.0), ((1.0, 1.0, 40.0), 4.0)]
)
def test_the_tightest_limit_decides(units, expected):
    """A request costs the most seconds that any limit needs for it; the rate is that turned round."""
    made = clocks(2.0, 100.0, 10.0)

    assert expected == made.cost(units)
    assert close(1.0 / expected) == made.rate(units)


@given(RATES, ASKED, UNITS)
def test_what_fits_goes_at_once(rates, asked, units):
    """The look ahead and the charge agree, and the charge waits for the slowest clock."""
    made, now = busy(rates, asked)
    fits = made.fits(now, units)
    slowest = max([now, *(clock.start(now, units[place]) for place, clock in made.active)])

    start = made.charge(now, units)

    assert close(slowest) == start
    assert fits == (slowest <= now)


@given(RATES, ASKED, UNITS)
def test_a_refund_undoes_its_charge_on_every_limit(rates, asked, units):
    """Levels and sums are as if it had never been."""
    made, now = busy(rates, asked)
    levels, spent = [clock.level(now) for clock in made.all], made.spent

    made.charge(now, units)
    made.refund(now, units)

    assert close(levels) == [clock.level(now) for clock in made.all]
    assert close(spent) == made.spent


@given(RATES, ASKED, UNITS)
def test_asked_again_the_answer_is_the_same(rates, asked, units):
    """Where nothing has changed since, the last one charged goes when it was told."""
    made, now = busy(rates, asked)

    start = made.charge(now, units)

    assert close(start) == made.again(now, units)


@given(RATES, ASKED, UNITS, st.floats(0.0, 1.0))
def test_a_refund_never_makes_the_head_wait_longer(rates, asked, units, share):
    """What others give back brings it forward, if it changes anything."""
    made, now = busy(rates, asked)
    start = made.charge(now, units)

    made.refund(now, [share * number for number in units])

    assert made.again(now, units) <= start + 1e-3


def test_an_emptied_clock_is_heard_by_the_head():
    """After a refusal the head goes no earlier than the limit is there again."""
    made = clocks(1.0, 0.0, 0.0)
    made.charge(NOW, (1.0, 0.0, 0.0))

    made.all[0].empty(NOW + 30.0)

    assert NOW + 30.0 == made.again(NOW, (1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("lent", "expected", "lends"), [((3.0, 35.0), 3, True), ((9.0, 25.0), 2, True), ((9.0, 5.0), 0, False)]
)
def test_requests_go_on_credit_where_every_limit_has_some(lent, expected, lends):
    """As many as the scarcest credit has room for."""
    made = clocks(2.0, 100.0, 0.0)
    for clock, units in zip(made.all, lent, strict=False):
        clock.lift(NOW, units)

    assert expected == made.lendable((1.0, 10.0, 7.0))
    assert lends == made.lend((1.0, 10.0, 7.0))


def test_nothing_is_lent_without_a_limit():
    """There is nothing to lend of."""
    assert 0 == Clocks().lendable((1.0, 10.0, 0.0))
    assert not Clocks().lend((0.0, 0.0, 0.0))


@given(RATES, st.tuples(*[st.floats(0.0, 1_000.0)] * 3))
def test_any_mean_has_a_rate(rates, mean):
    """A request that takes nothing of a limit is not held back by it, and none divides by it."""
    rate = clocks(*rates).rate(mean)

    assert (rate is None) == (not any(rates))
    assert rate is None or rate > 0.0
