"""The plans of several models to one: sums, and each plan beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dfllm._core.estimate import Range
from dfllm._core.plan import Plan


def summed(plans: Sequence[Plan]) -> Plan:
    """Return the plan of asking several models the same; at least one.

    Rows, skipped rows and rows that cannot be sent are the frame's, as all models have the same; questions, tokens and
    costs are sums, unknown where one is.
    """
    first = plans[0]
    return replace(
        first,
        model=", ".join(plan.model for plan in plans),
        distinct=sum(plan.distinct for plan in plans),
        known=sum(plan.known for plan in plans),
        missing=sum(plan.missing for plan in plans),
        pending=sum(plan.pending for plan in plans),
        failed=max(plan.failed for plan in plans),
        problems=max((plan.problems for plan in plans), key=len),
        tokens_in=_sum([plan.tokens_in for plan in plans]),
        tokens_out=_sum([plan.tokens_out for plan in plans]),
        cost=_sum_known([plan.cost for plan in plans]),
        batch_cost=_sum_known([plan.batch_cost for plan in plans if plan.missing]),
        price="; ".join(dict.fromkeys(plan.price for plan in plans if plan.price)),
        learnt=sum(plan.learnt for plan in plans),
        models=tuple(plans),
    )


def _sum(ranges: Sequence[Range]) -> Range:
    highs = [one.high for one in ranges if one.high is not None]
    return Range(
        sum(one.low for one in ranges),
        sum(one.likely for one in ranges),
        sum(highs) if len(highs) == len(ranges) else None,
    )


def _sum_known(ranges: Sequence[Range | None]) -> Range | None:
    known = [one for one in ranges if one is not None]
    return _sum(known) if known and len(known) == len(ranges) else None
