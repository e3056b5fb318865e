"""Budgets: what may be spent at most, and over what it is counted. Amounts are whole numbers of 1e-9 USD.

A request reserves the most it can cost before it is sent and gives back what it did not use. What may have been billed
without an answer stays reserved in full, since nobody can tell. So a cap is never passed, at the price of ending a
little below it.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Literal, NamedTuple, TypeAlias

from dfllm._core.errors import OptionError
from dfllm._core.types import Failure

Per: TypeAlias = Literal["call", "day", "tag"]

NANO = 10**9
_PER: tuple[Per, ...] = ("call", "day", "tag")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent.

    Every request reserves the most it could cost before it is sent, so the cap is never passed. Rows that do not fit
    any more end as ``BudgetExceeded``; with a larger budget the same call goes on. Days and tags are counted over all
    processes that use the same store. It needs a known price and a bound for the output: say ``max_tokens``.

    Attributes:
        usd: the amount, above 0.
        per: what it is for: ``"call"`` is each call alone, ``"day"`` all calls since midnight UTC, ``"tag"`` all calls
            ever made with the same ``tag=``.

    Raises:
        OptionError: a value does not fit.

    Example:
        >>> import dfllm
        >>> dfllm.configure(budget=dfllm.Budget(5.0, per="day"))
        >>> dfllm.configure(budget=None)
    """

    usd: float
    _: KW_ONLY
    per: Per = "call"

    def __post_init__(self) -> None:
        given: object = self.usd
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < math.inf:
            raise OptionError(f"Budget(usd) takes an amount above 0; found {given!r}.")
        if self.per not in _PER:
            raise OptionError(f"Budget(per=) takes {', '.join(map(repr, _PER))}; found {self.per!r}.")

    @property
    def nano(self) -> int:
        """The amount in 1e-9 USD, rounded down."""
        return int((Decimal(str(self.usd)) * NANO).to_integral_value(ROUND_FLOOR))


class Cap(NamedTuple):
    """A budget as the store counts it.

    Attributes:
        scope: what is added up: ``run:…``, ``day:…`` or ``tag:…``.
        nano: the most it may come to, in 1e-9 USD.
    """

    scope: str
    nano: int


def cap_of(budget: Budget, *, run: str, tag: str | None, now: float) -> Cap:
    """Return what a budget caps right now.

    Args:
        budget: as the user gave it.
        run: the run's id.
        tag: the call's tag, which a budget per tag needs.
        now: unix seconds.
    """
    scope = {"call": f"run:{run}", "day": f"day:{day_of(now)}", "tag": f"tag:{tag}"}[budget.per]
    return Cap(scope, budget.nano)


def day_of(unix_seconds: float) -> str:
    """Return the day in UTC, as in 2026-01-31."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d")


def exceeded(budget: Budget, needs: int, left: int) -> Failure:
    """Return what a row ends as that does not fit any more."""
    reason = f"needs up to {dollars(needs)}, left {dollars(max(0, left))} of {dollars(budget.nano)} per {budget.per}"
    return Failure("BudgetExceeded", reason)


def dollars(nano: int) -> str:
    """Return an amount for people: cents where that is enough, four digits that count below."""
    usd = nano / NANO
    if usd >= 0.1 or nano == 0:
        return f"${usd:,.2f}"
    return f"${usd:.{max(2, 3 - math.floor(math.log10(usd)))}f}"
