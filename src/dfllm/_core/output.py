"""Answers to cells: the JSON in an answer's text, read strictly, and its values as columns take them."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

from dfllm._core.types import Failure, Outcome, Response

Cell: TypeAlias = str | int | float | bool | bytes | None
Cells: TypeAlias = tuple[Cell, ...]

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_DEEPEST = 64
_SHORT = 200
_REMEMBERED = 10_000


class OutputError(Exception):
    """The answer does not hold what the schema asks for; the message says where."""


def parse(text: str) -> Any:
    """Return the JSON value in an answer, its code fence or surrounding prose taken off.

    Raises:
        OutputError: no JSON, or JSON that readers disagree about: NaN, doubled keys, depth over 64.
    """
    stripped = text.strip()
    if not stripped.startswith(("{", "[", '"')):
        fenced = _FENCE.search(stripped)
        stripped = fenced.group(1).strip() if fenced else stripped[_first(stripped) : _last(stripped)] or stripped
    return strictly(stripped)


def strictly(text: str) -> Any:
    """Return the JSON value that a text is.

    Raises:
        OutputError: no JSON, or JSON that readers disagree about: NaN, doubled keys, depth over 64.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise OutputError("not JSON") from error
    if _deeper(value, _DEEPEST):
        raise OutputError(f"nested deeper than {_DEEPEST}")
    return value


def _first(text: str) -> int:
    found = [place for mark in "{[" if (place := text.find(mark)) >= 0]
    return min(found, default=0)


def _last(text: str) -> int:
    return max(text.rfind("}"), text.rfind("]")) + 1


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise OutputError("a key stands twice in one object")
    return made


def _no_constant(name: str) -> Any:
    raise OutputError(f"{name} is not JSON")


def _deeper(value: Any, most: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_deeper(item, most - 1) for item in inner)


def cell(name: str, value: Any, kind: str) -> Cell:
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if kind == "int" and not -(2**63) <= value < 2**63:
        raise OutputError(f"$.{name}: the number does not fit 64 bits")
    return float(value) if kind == "float" else typing.cast("Cell", value)


def interpreter(read: Callable[[str], Cells] | None) -> Callable[[Outcome], tuple[Outcome, Cells | None]]:
    """Return the function from what was said to what the row gets: the outcome once more, and its cells.

    Without a reader the one cell is the text, also of an answer cut short. With one, text that it
    refuses turns an answer into a failure; nothing of this is stored, so another schema reads it anew.
    An answer that calls what was never offered is a failure as well.
    """
    if read is None:
        return _as_text
    remembered: dict[str, Cells] = {}

    def interpret(outcome: Outcome) -> tuple[Outcome, Cells | None]:
        if isinstance(outcome, Failure):
            return outcome, None
        if outcome.calls is not None:
            return _unasked(outcome), None
        text = outcome.text
        cells = remembered.get(text)
        if cells is None:
            try:
                cells = read(text)
            except OutputError as error:
                return Failure("InvalidOutput", str(error), "paid", response=outcome), None
            # Labels and small objects come back again and again; reading each of them once is enough.
            if len(text) <= _SHORT and len(remembered) < _REMEMBERED:
                remembered[text] = cells
        return outcome, cells

    return interpret


def _as_text(outcome: Outcome) -> tuple[Outcome, Cells | None]:
    if isinstance(outcome, Failure):
        partial = outcome.response if outcome.type == "Truncated" else None
        return outcome, (partial.text,) if partial is not None and partial.text else None
    if outcome.calls is not None:
        return _unasked(outcome), None
    return outcome, (outcome.text,)


def _unasked(response: Response) -> Failure:
    return Failure("InvalidOutput", "function call", "paid", response=response)
