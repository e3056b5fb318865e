"""Handing on: each type of failure moves on or stays, and of many failures one stands."""

from typing import get_args

import pytest

from dfllm._core.handing import MOVES, gives_up, last_word, moves_on
from dfllm._core.types import Failure, FailureType, Response

#: What no other model can help with, or what is not over yet.
STAYS = {"Skipped", "TemplateError", "BadInput", "Cancelled", "BudgetExceeded", "StoreError"}


@pytest.mark.parametrize("kind", get_args(FailureType))
def test_every_type_of_failure_has_its_way(kind):
    """What is about the row, the user or the store stays; all else another model may do better."""
    assert (kind not in STAYS | {"NotSent"}) == moves_on(Failure(kind, "why"))
    assert (kind not in STAYS) == moves_on(Failure(kind, "why"), given_up=True)
    assert (kind not in STAYS | {"NotSent"}) == gives_up(Failure(kind, "why"))


def test_the_table_is_whole():
    """A new type of failure fails here until it is decided."""
    assert set(get_args(FailureType)) == set(MOVES)


def test_a_run_that_was_not_stopped_gives_nothing_up():
    """Rows that nobody asked about are then somebody else's."""
    assert not gives_up(None)


CUT = Failure("Truncated", "cut", response=Response("half of"))


@pytest.mark.parametrize(
    ("failures", "stands"),
    [
        ([Failure("Refused", "no"), Failure("Timeout", "late")], 0),
        ([Failure("NotSent", "stopped"), Failure("Refused", "no")], 1),
        ([Failure("NotSent", "stopped"), Failure("NotSent", "stopped")], 0),
        ([Failure("Refused", "no"), CUT], 1),
        ([Failure("Truncated", "cut", response=Response("")), Failure("Refused", "no")], 0),
        ([CUT, Failure("Cancelled", "interrupted")], 1),
        ([CUT, Failure("BudgetExceeded", "dear")], 1),
        ([CUT], 0),
    ],
)
def test_one_failure_stands(failures, stands):
    """What is not over, else text that was cut, else the first model's word if it was asked."""
    assert stands == last_word(failures)
