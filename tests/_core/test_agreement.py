"""Agreement: counts, shares and kappa, against figures worked out elsewhere and properties of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._core.agreement import Agreement, agreement_of

labels = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


def test_kappa_is_that_of_the_textbook():
    """Two readers of 50 grant proposals, as https://en.wikipedia.org/wiki/Cohen%27s_kappa works it out: 0.4."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15

    assert Agreement(50, 0.7, 0.4) == agreement_of(*zip(*pairs, strict=True))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ([], [], Agreement(0, None, None)),
        (["a", None], [None, "a"], Agreement(0, None, None)),
        (["a", "a"], ["a", "a"], Agreement(2, 1.0, None)),
        (["a", "b"], ["b", "a"], Agreement(2, 0.0, -1.0)),
        (["a", "a"], ["a", "b"], Agreement(2, 0.5, 0.0)),
        ([1, 2, None], [1.0, 2.0, 3.0], Agreement(2, 1.0, 1.0)),
    ],
)
def test_small_cases(one, other, found):
    """Nothing compared, one answer throughout, full disagreement, chance."""
    assert found == agreement_of(one, other)


@given(labels)
def test_sides_may_be_exchanged(pairs):
    """Agreement is mutual, kappa is no larger than 1 and is 1 for equal columns of more than one answer."""
    one, other = zip(*pairs, strict=True)

    found = agreement_of(one, other)

    assert found == agreement_of(other, one)
    assert found.kappa is None or found.kappa <= 1
    assert (1.0 if len(set(one)) > 1 else None) == agreement_of(one, one).kappa
