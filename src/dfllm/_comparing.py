"""Answers compared: of several models with each other, or of each with a column of the frame."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from dfllm._core.agreement import Agreement, agreement_of
from dfllm._core.cells import plain
from dfllm._core.errors import OptionError, listed
from dfllm._running import Answers


def between(frame: pd.DataFrame, models: Sequence[Answers]) -> pd.DataFrame:
    """Return how each two models agree.

    Args:
        frame: the frame with their columns.
        models: where their answers stand.

    Raises:
        OptionError: there is one model only.
    """
    if len(models) < 2:
        raise OptionError(
            "agreement() compares several models, and this run asked one. Name a column to compare it with, as in "
            "agreement(against='label'), or several models."
        )
    rows = []
    for one, other in combinations(models, 2):
        for field, column in one.columns.items():
            pairs = _aligned(_given(frame, one, column), _given(frame, other, other.columns[field]))
            rows.append((one.name, other.name, field, agreement_of(*pairs), one.text))
    return _table(("first", "second"), rows)


def with_column(frame: pd.DataFrame, models: Sequence[Answers], against: str | Mapping[str, str]) -> pd.DataFrame:
    """Return how each model agrees with a column that has the right answers.

    Args:
        frame: the frame with their columns.
        models: where their answers stand.
        against: the column; for a schema of fields a mapping from fields to columns.

    Raises:
        OptionError: there is no such column or field.
    """
    fields = list(models[0].columns)
    wanted = {"": against} if isinstance(against, str) else dict(against)
    if isinstance(against, str) and fields != [""]:
        if len(fields) > 1:
            raise OptionError(f"The answers have fields; say against={{{fields[0]!r}: {against!r}}}.")
        wanted = {fields[0]: against}
    if not wanted or (odd := [field for field in wanted if field not in fields]):
        raise OptionError(f"against= names no field of the answers: {listed(odd if wanted else [])}.")
    if lost := [column for column in wanted.values() if column not in frame.columns]:
        raise OptionError(f"The frame has no column {lost[0]!r}. It has {listed([*map(str, frame.columns)])}.")
    rows = []
    for one in models:
        for field, column in wanted.items():
            pairs = _aligned(_given(frame, one, one.columns[field]), frame[column].tolist())
            rows.append((one.name, None, field, agreement_of(*pairs), one.text))
    return _table(("model",), rows)


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, str | None, str, Agreement, bool]]) -> pd.DataFrame:
    rows = list(rows)
    share = "share" if len(names) == 2 else "accuracy"
    made: dict[str, pd.Series[Any]] = {
        name: pd.Series([row[place] for row in rows], dtype="str") for place, name in enumerate(names)
    }
    if any(row[2] for row in rows):
        made["field"] = pd.Series([row[2] for row in rows], dtype="str")
    made["compared"] = pd.Series([row[3].compared for row in rows], dtype="Int64")
    made[share] = pd.Series([row[3].share for row in rows], dtype="Float64")
    # Of free text every answer is its own category, which says nothing of chance.
    made["kappa"] = pd.Series([None if row[4] else row[3].kappa for row in rows], dtype="Float64")
    return pd.DataFrame(made)


def _given(frame: pd.DataFrame, model: Answers, column: str) -> list[Any]:
    """Return a model's answers; a text that was cut short is none."""
    answers = frame[column].astype(object)
    return answers.where(frame[model.error].isna(), None).tolist()


def _aligned(one: Sequence[Any], other: Sequence[Any]) -> tuple[list[Hashable | None], list[Hashable | None]]:
    """Return two columns cell beside cell; of lists each sample, beside the other side's sample or its one answer."""
    lefts: list[Hashable | None] = []
    rights: list[Hashable | None] = []
    for left, right in zip(one, other, strict=True):
        count = max(len(side) if isinstance(side, list) else 1 for side in (left, right))
        lefts += [_cell(cell) for cell in (left if isinstance(left, list) else [left] * count)]
        rights += [_cell(cell) for cell in (right if isinstance(right, list) else [right] * count)]
    return lefts, rights


def _cell(cell: Any) -> Hashable | None:
    """Return a cell as it is compared: text without blanks around it, numbers by their value."""
    if isinstance(cell, str):
        return cell.strip()
    try:
        cell = plain(cell)
    except ValueError:
        return None
    return cell.strip() if isinstance(cell, str) else cell if isinstance(cell, Hashable) else str(cell)
