"""Agreement: how often two sides gave the same answer, and how much more often than chance would have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Agreement(NamedTuple):
    """How two sides agree.

    Attributes:
        compared: how many answers both sides have.
        share: how many of those are equal, from 0 to 1; None where nothing was compared.
        kappa: Cohen's kappa; None where it is not defined.
    """

    compared: int
    share: float | None
    kappa: float | None


def agreement_of(one: Sequence[Hashable | None], other: Sequence[Hashable | None]) -> Agreement:
    """Return how two columns of answers agree; None on either side is not compared.

    Kappa is (p_o - p_e) / (1 - p_e), where p_o is the share of equal answers and p_e what it would be if each side drew
    its answers by chance, as often as it gave them: Cohen, J. (1960), "A coefficient of agreement for nominal scales",
    Educational and Psychological Measurement 20(1), 37-46. Where both sides gave one and the same answer throughout it
    is not defined.

    Example:
        >>> agreement_of(["yes", "yes", "no", "no"], ["yes", "no", "no", "no"])
        Agreement(compared=4, share=0.75, kappa=0.5)
    """
    pairs = [(left, right) for left, right in zip(one, other, strict=True) if left is not None and right is not None]
    count = len(pairs)
    if not count:
        return Agreement(0, None, None)
    equal = sum(left == right for left, right in pairs)
    lefts, rights = Counter(left for left, _ in pairs), Counter(right for _, right in pairs)
    by_chance = sum(lefts[answer] * rights[answer] for answer in lefts)
    # In whole numbers, so that kappa is exact: both shares times the square of the count.
    room = count * count - by_chance
    return Agreement(count, equal / count, (equal * count - by_chance) / room if room else None)
