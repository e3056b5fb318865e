"""Calls: what a model said of the tools it wants to be called, as JSON of one form. Nothing is ever called here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from dfllm._core.output import Cells, OutputError, strictly
from dfllm._core.types import Failure, Outcome, Response


class Said(NamedTuple):
    """One call, as it was said.

    Attributes:
        name: the tool's; no text where the server is odd.
        arguments: an object, or the text of one.
        id: what the provider knows the call by; None where it gives none.
    """

    name: Any
    arguments: Any
    id: Any = None


def with_calls(response: Response, said: Iterable[Said]) -> Outcome:
    """Return what an answer comes to that holds these calls; one that nobody could follow is a failure.

    Where arguments cannot be read, they stay the text they were, in the response behind the failure.
    """
    calls = []
    wrong = None
    for one in said:
        arguments, against = _read(one)
        wrong = wrong or against
        known_by = None if one.id is None else str(one.id)
        calls.append({"name": _name(one), "arguments": arguments, "id": known_by})
    if not calls:
        return response
    whole = msgspec.structs.replace(response, calls=json.dumps(calls, ensure_ascii=False, separators=(",", ":")))
    return whole if wrong is None else Failure("InvalidOutput", wrong, "paid", response=whole)


def _name(said: Said) -> str | None:
    return said.name if isinstance(said.name, str) and said.name else None


def _read(said: Said) -> tuple[Any, str | None]:
    """Return the arguments of a call, and what is wrong with it."""
    text = said.arguments
    if not isinstance(text, str):
        try:
            text = json.dumps({} if text is None else text, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            return str(said.arguments), "the arguments of a call are not JSON"
    if _name(said) is None:
        return text, "a call names no tool"
    try:
        value = strictly(text) if text.strip() else {}  # some servers say nothing where there are none
    except OutputError as error:
        return text, f"the arguments of a call: {error}"
    return (value, None) if isinstance(value, dict) else (text, "the arguments of a call: no JSON object")


def calling(
    interpret: Callable[[Outcome], tuple[Outcome, Cells | None]], width: int
) -> Callable[[Outcome], tuple[Outcome, Cells | None]]:
    """Return an interpreter for answers that may call tools; it gives one cell more, for the calls.

    What was said beside a call is read as any answer is. Where nothing was, that is no fault.

    Args:
        interpret: reads answers without calls.
        width: how many cells it gives.
    """
    nothing = (None,) * width

    def interpret_calls(outcome: Outcome) -> tuple[Outcome, Cells | None]:
        if isinstance(outcome, Failure) or outcome.calls is None:
            ended, cells = interpret(outcome)
            return ended, None if cells is None else (*cells, None)
        if not outcome.text.strip():
            return outcome, (*nothing, outcome.calls)
        ended, cells = interpret(msgspec.structs.replace(outcome, calls=None))
        if isinstance(ended, Failure):
            return replace(ended, response=outcome), None
        return outcome, (*(cells or ()), outcome.calls)

    return interpret_calls
