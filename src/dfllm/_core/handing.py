"""Failures to fallbacks: which of them another model may do better, and whose word stands where none did.

A failure moves on to the next model where that model may answer the same question: its filters, its limits, its servers
and its key are others. It stays where no model can help (the row itself cannot be sent), where the row is not over yet
(the call was interrupted, the budget is used up) and where the store is in trouble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from dfllm._core.types import Failure, FailureType

Moves: TypeAlias = Literal["yes", "no", "stopped"]

#: Whether a row that ends so goes to the next model; "stopped" is only after the model itself was given up.
MOVES: Mapping[FailureType, Moves] = {
    "Skipped": "no",
    "TemplateError": "no",
    "BadInput": "no",
    "NotSent": "stopped",
    "Cancelled": "no",
    "BudgetExceeded": "no",
    "RateLimited": "yes",
    "QuotaExhausted": "yes",
    "Overloaded": "yes",
    "ServerError": "yes",
    "Timeout": "yes",
    "ConnectFailed": "yes",
    "ConnectionLost": "yes",
    "TlsError": "yes",
    "BadResponse": "yes",
    "ProviderError": "yes",
    "EmptyResponse": "yes",
    "Refused": "yes",
    "ContentFiltered": "yes",
    "Truncated": "yes",
    "InvalidOutput": "yes",
    "ContextTooLong": "yes",
    "TooLarge": "yes",
    "BadRequest": "yes",
    "AuthFailed": "yes",
    "PermissionDenied": "yes",
    "ModelNotFound": "yes",
    "StoreError": "no",
}


def moves_on(failure: Failure, *, given_up: bool = False) -> bool:
    """Return whether a row that failed so goes to the next model.

    Args:
        failure: what the row ended with.
        given_up: whether the model is not asked any more at all, such as for a dead key.
    """
    moves = MOVES[failure.type]
    return given_up if moves == "stopped" else moves == "yes"


def gives_up(stopped: Failure | None) -> bool:
    """Return whether what stopped a model's run leaves the rest to the next one: the model's trouble, nobody else's."""
    return stopped is not None and MOVES[stopped.type] == "yes"


def last_word(failures: Sequence[Failure]) -> int:
    """Return which failure a row keeps that every model failed on, by its place.

    What is not over stands: the same call may answer it yet. Else text that was cut short is worth more than none, and
    then the first model's word counts, as it is the one that was asked for; one that was never asked has none.

    Args:
        failures: what each model came to, in the order they were asked; at least one.
    """
    final = len(failures) - 1
    if MOVES[failures[final].type] == "no":
        return final
    for place, failure in enumerate(failures):
        if failure.type == "Truncated" and failure.response is not None and failure.response.text:
            return place
    return next((place for place, failure in enumerate(failures) if failure.type != "NotSent"), 0)
