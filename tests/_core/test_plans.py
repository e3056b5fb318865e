"""Plans of several models: sums, and what is unknown stays unknown."""

from dataclasses import replace

import pytest

from dfllm._core.estimate import Range
from dfllm._core.plan import Plan
from dfllm._core.plans import summed

ONE = Plan(
    "a/x", rows=5, distinct=3, known=1, missing=2, skipped=1, failed=0, tokens_in=Range(1, 2, 3),
    tokens_out=Range(4, 5, 6), cost=Range(10, 20, 30), batch_cost=Range(5, 10, 15), price="list of May", learnt=1,
)  # fmt: skip
OTHER = replace(ONE, model="b/y", known=0, missing=3, cost=Range(1, 1, 1), problems=((2, "BadInput: no"),), failed=1)


def test_questions_and_costs_are_summed_and_rows_are_not():
    """All models have the same rows."""
    plan = summed([ONE, OTHER])

    assert ("a/x, b/y", 5, 1, 1) == (plan.model, plan.rows, plan.skipped, plan.failed)
    assert (6, 1, 5, 2) == (plan.distinct, plan.known, plan.missing, plan.learnt)
    assert (Range(2, 4, 6), Range(8, 10, 12)) == (plan.tokens_in, plan.tokens_out)
    assert (Range(11, 21, 31), Range(10, 20, 30)) == (plan.cost, plan.batch_cost)
    assert ("list of May", (ONE, OTHER), OTHER.problems) == (plan.price, plan.models, plan.problems)


@pytest.mark.parametrize("unknown", [{"cost": None}, {"batch_cost": None}, {"tokens_out": Range(1, 1, None)}])
def test_what_is_unknown_of_one_is_unknown_of_all(unknown):
    """A price or a bound that one model has not got is no part of a sum."""
    plan = summed([ONE, replace(OTHER, **unknown)])

    (name,) = unknown
    found = getattr(plan, name)
    assert (found.high if isinstance(found, Range) else found) is None


def test_each_model_has_a_line():
    """In text and as a page, with what it would cost."""
    plan = summed([ONE, replace(OTHER, model="b/<y>", cost=None)])

    lines = [line.split() for line in str(plan).splitlines()]
    assert ["a/x", "1", "2", "about", "$0.00000002000"] in lines
    assert ["b/<y>", "0", "3", "unknown"] in lines
    assert "b/&lt;y&gt;" in plan._repr_html_()
