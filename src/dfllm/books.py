"""The books: what every call on this store came to, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import pandas as pd

from dfllm._core.errors import OptionError
from dfllm._run.runtime import runtime
from dfllm._run.settings import current
from dfllm._run.store_ledger import Past, Spent

By: TypeAlias = Literal["run", "day", "tag", "model"]

_BY: tuple[By, ...] = ("run", "day", "tag", "model")
_COUNTS = ("rows", "ok", "failed", "skipped", "known", "shared", "sent", "requests", "maybe_billed")
_SPENT = ("tokens_in", "tokens_out", "tokens_cached", "cost_usd", "unpriced")
_SAVED = {"saved_store_usd": "saved_store", "saved_dedupe_usd": "saved_shared", "saved_batch_usd": "saved_batch"}
_USD = ("cost_usd", *_SAVED)


def runs(by: By = "run") -> pd.DataFrame:
    """Return what the calls on this store came to, of all processes, newest first.

    Costs are those of the day they were paid, from the ledger. An attempt that may have been billed without an answer
    counts as the most it can have cost. What a purge removes from the store stays here as amounts.

    Args:
        by: ``"run"`` has a row for each call, ``"day"`` one for each day (UTC), ``"tag"`` and ``"model"`` one for each.

    Returns:
        A frame. For runs: ``run started seconds model tag status`` (``finished``, ``interrupted``, ``stopped``,
        ``killed`` or ``running``), counts of rows and requests (missing where a run was killed), ``errors`` by type,
        tokens, ``cost_usd``, ``unpriced`` (answers of unknown price), and what was saved: ``saved_store_usd`` by known
        rows, ``saved_dedupe_usd`` by equal rows, ``saved_batch_usd`` by batch prices. For the others: runs, tokens,
        cost and savings, by the index.

    Raises:
        OptionError: `by` is something else.
        StoreError: the store cannot be read.

    Example:
        >>> import pandas as pd, dfllm
        >>> df = pd.DataFrame({"city": ["Oslo"]}).llm.complete("{{ city }}", model="simulator/echo")
        >>> dfllm.runs()["status"].iloc[0]
        'finished'
    """
    if by not in _BY:
        raise OptionError(f"runs(by=) takes {', '.join(map(repr, _BY))}; found {by!r}.")
    past, spent = runtime().store(current()).past()
    return _runs(past, spent) if by == "run" else _grouped(past, spent, by)


def _runs(past: Iterable[Past], spent: Iterable[Spent]) -> pd.DataFrame:
    spends = _summed((one.run, one) for one in spent)
    rows = [_row(one, spends.get(one.run, {})) for one in past]
    frame = pd.DataFrame(rows, columns=[*_row(_NOBODY, {})])
    frame["started"] = pd.to_datetime(frame["started"], unit="s", utc=True)
    for name in (*_COUNTS, "tokens_in", "tokens_out", "tokens_cached", "unpriced"):
        frame[name] = frame[name].astype("Int64")
    for name in ("seconds", *_USD):
        frame[name] = frame[name].astype("Float64")
    for name in ("run", "model", "tag", "status", "errors"):
        frame[name] = frame[name].astype("str") if name != "tag" else frame[name].astype(object)
    return frame


_NOBODY = Past("", 0.0, None, None, "", "", "", None)


def _row(one: Past, spent: Mapping[str, int]) -> dict[str, Any]:
    facts = json.loads(one.facts) if one.facts else {}
    errors = ", ".join(f"{kind} {count:,}" for kind, count in facts.get("errors", {}).items())
    return {
        "run": one.run,
        "started": one.started,
        "seconds": None if one.ended is None else round(one.ended - one.started, 3),
        "model": _model_of(one),
        "tag": one.tag,
        "status": one.status,
        **{name: facts.get(name) for name in _COUNTS},
        "errors": errors,
        **_money(spent, [facts]),
    }


def _grouped(past: Iterable[Past], spent: Iterable[Spent], by: By) -> pd.DataFrame:
    """Return sums by day, tag or model; what a run saved counts for the day it began."""
    began = {one.run: one for one in past}
    facts: dict[str, list[Mapping[str, Any]]] = {}
    for one in began.values():
        name = _day_of(one.started) if by == "day" else one.tag if by == "tag" else _model_of(one)
        if name is not None:
            facts.setdefault(name, []).append(json.loads(one.facts) if one.facts else {})

    def name_of(one: Spent) -> str | None:
        run = began.get(one.run)
        if by == "day" or run is None:
            return one.day if by == "day" else None
        return run.tag if by == "tag" else _model_of(run)

    sums = _summed((name, one) for one in spent if (name := name_of(one)) is not None)
    names = sorted({*sums, *facts}, reverse=by == "day")
    rows = [{"runs": len(facts.get(name, ())), **_money(sums.get(name, {}), facts.get(name, ()))} for name in names]
    frame = pd.DataFrame(rows, columns=["runs", *_SPENT, *_SAVED], index=pd.Index(names, name=by, dtype="str"))
    kinds = {name: "Float64" if name in _USD else "Int64" for name in frame.columns}
    return frame.astype(kinds)


def _summed(pairs: Iterable[tuple[str, Spent]]) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for name, one in pairs:
        mine = sums.setdefault(name, {})
        for what in ("tokens_in", "tokens_out", "tokens_cached", "cost", "unpriced"):
            mine[what] = mine.get(what, 0) + getattr(one, what)
    return sums


def _money(spent: Mapping[str, int], facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    facts = list(facts)
    return {
        **{name: spent.get(name, 0) for name in ("tokens_in", "tokens_out", "tokens_cached")},
        "cost_usd": spent.get("cost", 0) / 1e9,
        "unpriced": spent.get("unpriced", 0),
        **{name: sum(one.get(what, 0) for one in facts) / 1e9 for name, what in _SAVED.items()},
    }


def _model_of(one: Past) -> str:
    return f"{one.provider.partition(' ')[0]}/{one.model}"


def _day_of(seconds: float) -> str:
    return pd.Timestamp(seconds, unit="s").strftime("%Y-%m-%d")
