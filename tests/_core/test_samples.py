"""Samples remember the last so many numbers, and where most of them lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.samples import Samples

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3).map(float), min_size=1, max_size=60)


def filled(numbers, most=200):
    """Return samples of these numbers."""
    samples = Samples(most)
    for number in numbers:
        samples.add(number)
    return samples


def test_no_samples_are_none():
    """One can ask whether there are any before asking where they lie."""
    assert 0 == len(Samples())
    assert not Samples()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 6.0), (0.9, 10.0), (1.0, 10.0)])
def test_a_quantile_is_one_of_the_numbers(share, expected):
    """No number is made up between two others, not even at the ends."""
    assert expected == filled([3.0, 9.0, 1.0, 4.0, 10.0, 2.0, 6.0, 5.0, 8.0, 7.0]).quantile(share)


@given(NUMBERS, st.integers(1, 20), st.floats(0.0, 1.0))
def test_only_the_last_numbers_count(numbers, most, share):
    """After any numbers, equal ones among them, samples are those of the last alone."""
    last = numbers[-most:]

    samples = filled(numbers, most)

    assert len(last) == len(samples)
    assert filled(last).quantile(share) == samples.quantile(share)


@given(NUMBERS, st.floats(0.0, 1.0))
def test_that_share_does_not_pass_a_quantile(numbers, share):
    """At least so many of the numbers lie at it or below, and no more than so many below it."""
    quantile = filled(numbers).quantile(share)

    assert sum(number <= quantile for number in numbers) >= share * len(numbers)
    assert sum(number < quantile for number in numbers) <= share * len(numbers)
