"""`dfllm runs`: what every call on the store came to, and what it cost."""

from __future__ import annotations

import click
import pandas as pd

import dfllm
from dfllm._cli.options import printing_json, storing
from dfllm._cli.saying import line
from dfllm._core.controls import visible

_SHOWN = {
    "run": ["started", "model", "tag", "status", "rows", "failed", "known", "sent", "tokens_in", "tokens_out"],
    "other": ["runs", "tokens_in", "tokens_out"],
}
_MONEY = ["cost_usd", "saved_store_usd", "saved_dedupe_usd"]


@click.command(
    help="Say what every run on the store came to, and what it cost; newest first.",
    short_help="Say what runs came to and cost.",
    epilog="\b\nExamples:\n  dfllm runs\n  dfllm runs --by day --json",
)
@click.option(
    "--by",
    type=click.Choice(["run", "day", "tag", "model"]),
    default="run",
    show_default=True,
    help="A row for each run, or the sums by day (UTC), tag or model.",
)
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many rows at most.")
@storing
@printing_json
def runs(by: str, last: int, store: str | None, *, as_json: bool) -> None:
    """Say what runs came to."""
    with dfllm.options(store=store):
        made = dfllm.runs(by)  # type: ignore[arg-type]  # click has seen to it
    shown = made.head(last)
    if as_json:
        click.echo(line(_plain(shown.reset_index() if by != "run" else shown)))
        return
    if shown.empty:
        click.echo("No run yet.")
        return
    click.echo(visible(_table(shown, by)))
    if len(made) > len(shown):
        click.echo(f"{len(made) - len(shown):,} more; say --last {len(made)}.")


def _plain(frame: pd.DataFrame) -> list[dict[str, object]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _table(frame: pd.DataFrame, by: str) -> str:
    names = _SHOWN["run" if by == "run" else "other"] + _MONEY
    shown = frame[names].copy()
    if by == "run":
        shown["started"] = shown["started"].dt.strftime("%Y-%m-%d %H:%M")
    for name in _MONEY:
        shown[name] = [f"{usd:,.4f}" for usd in frame[name]]
    costs = zip(shown["cost_usd"], frame["cost_usd"], frame["unpriced"], strict=True)
    shown["cost_usd"] = [
        text if not unpriced else f"{text} and more" if usd else "unknown" for text, usd, unpriced in costs
    ]
    return shown.astype(object).where(shown.notna(), "").to_string(index=by != "run")
