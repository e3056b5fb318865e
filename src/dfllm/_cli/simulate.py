"""`dfllm simulate`: a provider on this computer, in the foreground."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import click

from dfllm._cli.saying import fail

#: As in dfllm.simulator.limiter, which is slow to import.
_Kind = Literal["bucket", "shallow", "sliding", "minute"]

_HELP = """Run a provider on this computer, with made-up answers, until Ctrl-C.

It speaks OpenAI's chat completions and Responses, Anthropic's messages and Gemini's generateContent, keeps rate limits
and misbehaves on request. Its answers fit the labels or schema asked for, but nothing has been read. A model called
simulator/... starts one by itself; this one has a port, faults, limits and a bill of your choice.

With --rpm or --tpm it refuses what is too much, with the headers of OpenAI: tokens are reserved when a request comes
in, and what its answer does not need is given back. The limiters: "bucket" fills evenly and holds a minute's worth,
"shallow" holds --limiter-depth seconds' worth, "sliding" counts the last 60 seconds, "minute" counts fixed minutes.
Refused requests count against --rpm.
"""
_EPILOG = """\b
Example:
  dfllm simulate --port 8123 --latency 0.2 --fault rate429=0.1 --fault 5xx=0.02
  dfllm simulate --rpm 600 --tpm 200000 --limiter shallow --limiter-depth 5
\b
Then, in another terminal:
  export DFLLM_SIMULATOR_URL=http://127.0.0.1:8123/v1
  export ANTHROPIC_BASE_URL=http://127.0.0.1:8123
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
@click.option("--rpm", type=click.FloatRange(1), metavar="N", help="Requests a minute; else as many as one likes.")
@click.option(
    "--tpm", type=click.FloatRange(1), metavar="N", help="Tokens a minute, read and written; else any number."
)
@click.option("--limiter", "kind", type=click.Choice(get_args(_Kind)), help="How a minute is counted; else bucket.")
@click.option(
    "--limiter-depth",
    "depth",
    type=click.FloatRange(0, 60, min_open=True),
    metavar="S",
    help="How many seconds' worth a shallow limiter holds; else 10.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Another seed: other answers, other questions suffer.")
@click.option("--bill", type=click.Path(path_type=Path), metavar="PATH", help="A file to keep the bill in.")
@click.option("--list-faults", is_flag=True, help="Print what can go wrong, and end.")
def simulate(
    *,
    port: int,
    latency: float,
    rates: dict[str, float],
    rpm: float | None,
    tpm: float | None,
    kind: _Kind | None,
    depth: float | None,
    seed: int,
    bill: Path | None,
    list_faults: bool,
) -> None:
    """Run a provider on this computer."""
    from dfllm.simulator import (  # slow to import, and only this command needs it
        FAULTS,
        Faults,
        RateLimits,
        Simulator,
        serve,
    )

    if list_faults:
        click.echo("\n".join(f"{name:<20}{what}" for name, what in FAULTS.items()))
        return
    try:
        faults = Faults(rates=rates, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error
    if rpm is None and tpm is None and (kind or depth):
        raise click.UsageError("--limiter and --limiter-depth need a limit: --rpm, --tpm or both.")
    if depth is not None and kind != "shallow":
        raise click.UsageError("--limiter-depth is for --limiter shallow only.")
    try:
        limits = RateLimits(rpm=rpm, tpm=tpm, kind=kind or "bucket", depth_seconds=depth or 10.0)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        simulator = Simulator(
            port=port,
            latency_seconds=latency,
            faults=faults,
            limits=limits if rpm or tpm else None,
            seed=seed,
            bill_path=bill,
        )
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
