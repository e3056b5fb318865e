"""`dfllm simulate`: a provider on this computer, in the foreground."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import click

from dfllm._cli.saying import fail

_HELP = """Run a provider on this computer, with made-up answers, until Ctrl-C.

It speaks OpenAI's chat completions, and misbehaves on request. Its answers fit the labels or schema asked for, but
nothing has been read. A model called simulator/... starts one by itself; this one has a port, faults and a bill of your
choice.
"""
_EPILOG = """\b
Example:
  dfllm simulate --port 8123 --latency 0.2 --fault rate429=0.1 --fault 5xx=0.02
\b
Then, in another terminal:
  export DFLLM_SIMULATOR_URL=http://127.0.0.1:8123/v1
"""
_FAULT = "What goes wrong at the first attempt, and for which share of questions, as in rate429=0.1. May be repeated."


def _read_faults(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for value in values:
        name, _, share = value.partition("=")
        try:
            rates[name] = float(share)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no NAME=SHARE, such as rate429=0.1.") from None
    return rates


@click.command(help=_HELP, short_help="Run a provider with made-up answers.", epilog=_EPILOG)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Where to listen; else a free one.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, metavar="S", help="Seconds an answer takes.")
@click.option("--fault", "rates", multiple=True, metavar="NAME=SHARE", callback=_read_faults, help=_FAULT)
@click.option("--seed", type=int, default=0, metavar="N", help="Another seed: other answers, other questions suffer.")
@click.option("--bill", type=click.Path(path_type=Path), metavar="PATH", help="A file to keep the bill in.")
@click.option("--list-faults", is_flag=True, help="Print what can go wrong, and end.")
def simulate(
    *, port: int, latency: float, rates: dict[str, float], seed: int, bill: Path | None, list_faults: bool
) -> None:
    """Run a provider on this computer."""
    from dfllm.simulator import FAULTS, Faults, Simulator, serve  # slow to import, and only this command needs it

    if list_faults:
        click.echo("\n".join(f"{name:<20}{what}" for name, what in FAULTS.items()))
        return
    try:
        faults = Faults(rates=rates, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error
    try:
        simulator = Simulator(port=port, latency_seconds=latency, faults=faults, seed=seed, bill_path=bill)
        serve(simulator, _announce)
    except (OSError, ValueError, sqlite3.Error) as error:
        fail(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
    totals = simulator.bill.totals()
    click.echo(f"{totals['requests']:,} requests served, {totals['billed']:,} of them billed.")


def _announce(base_url: str) -> None:
    click.echo(
        f"The simulator listens at {base_url}; its answers are made up. Ctrl-C ends it. To point dfllm at it:\n"
        f"  export DFLLM_SIMULATOR_URL={base_url}"
    )
