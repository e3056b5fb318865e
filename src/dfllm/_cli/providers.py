"""`dfllm providers`: who can be asked, where, with which key, and what each can do."""

from __future__ import annotations

import os

import click

from dfllm._cli.options import printing_json
from dfllm._cli.saying import line
from dfllm._run.settings import providers as known
from dfllm._wire.abilities import Abilities, abilities_of

#: What each can do stands first; what may be long stands last, where a narrow terminal breaks it.
_HEAD = (
    *("provider", "live", "batch", "schema", "tools", "seed", "stop", "reasoning", "images", "files", "embeddings"),
    *("prices", "dialect", "key", "tiers"),
)


@click.command(
    help="List the providers: the variable that holds each one's key, whether it is set, and what each can do.",
    short_help="List the providers, and what each can do.",
    epilog="\b\nExamples:\n  dfllm providers\n  dfllm providers --json",
)
@printing_json
def providers(*, as_json: bool) -> None:
    """List the providers."""
    found = [abilities_of(provider) for provider in known().values()]
    if as_json:
        click.echo(line([{**one._asdict(), "key_is_set": _set_key(one) is not None} for one in found]))
        return
    rows = [_HEAD, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _row(one: Abilities) -> tuple[str, ...]:
    name = _set_key(one)
    if name is not None:
        key = f"{name} (set)"
    elif one.needs_key:
        key = f"{' or '.join(one.keys)} (not set)"
    else:
        key = "none needed"
    return (
        one.provider,
        *map(_yes, (one.live, one.batch)),
        "yes" if one.schema else "in words" if one.dialect else "no",
        *map(_yes, (one.tools, one.seed, one.stop, one.reasoning, one.images)),
        one.files or "no",
        *map(_yes, (one.embeddings, one.prices)),
        one.dialect or "-",
        key,
        ",".join(one.tiers) or "-",
    )


def _yes(able: object) -> str:
    return "yes" if able else "no"


def _set_key(one: Abilities) -> str | None:
    """Return the variable that holds the key; never what it holds."""
    return next((name for name in one.keys if os.environ.get(name, "").strip()), None)
