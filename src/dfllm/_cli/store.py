"""`dfllm store`: what the store of answers holds, whether it is whole, and how to mend it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

from dfllm._cli.options import printing_json, storing
from dfllm._cli.saying import FATAL, line
from dfllm._core.controls import visible
from dfllm._core.errors import StoreError
from dfllm._core.keys import text_of
from dfllm._run.settings import current
from dfllm._run.store import Store
from dfllm._run.store_repair import repair as repaired

_SHOWN_KEYS = 5


def _path(given: str | None) -> Path:
    return current(store=given).store_path.absolute()


@contextmanager
def _opened(given: str | None) -> Iterator[Store]:
    path = _path(given)
    if not path.exists():
        raise StoreError(f"There is no store at {path}; the first run makes it.")
    with closing(Store(path)) as opened:
        yield opened


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns of text; numbers to the right, the first two columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))


@click.group(
    help="Look at the store of paid answers, and mend it.",
    short_help="Look at the store, and mend it.",
    epilog="\b\nExample:\n  dfllm store stats --store answers.db",
)
def store() -> None:
    """Look at the store of paid answers."""


@store.command(epilog="\b\nExample:\n  dfllm store path")
@storing
def path(*, store: str | None) -> None:
    """Print where the store is, or would be."""
    click.echo(str(_path(store)))


@store.command(epilog="\b\nExample:\n  dfllm store stats --json")
@storing
@printing_json
def stats(*, store: str | None, as_json: bool) -> None:
    """Count the answers, by provider and model; cost is in USD, where a price is known."""
    with _opened(store) as opened:
        found = opened.stats()
    if as_json:
        click.echo(line({**found._asdict(), "sources": [source._asdict() for source in found.sources]}))
        return
    heads = ("PROVIDER", "MODEL", "ANSWERS", "FIRST", "LAST", "COST")
    rows = [
        (one.provider, one.model, f"{one.entries:,}", _day(one.first), _day(one.last), f"{one.cost / 1e9:,.4f}")
        for one in found.sources
    ]
    facts = {
        "store": str(found.path),
        "size": f"{found.bytes / 1e6:,.1f} MB",
        "answers": f"{found.entries:,}",
        "attempts without an answer": f"{found.attempts:,}",
        "requests claimed by runs": f"{found.claims:,}",
        "damaged and set aside": f"{found.quarantine:,}",
        "journal": f"{found.journal}, SQLite {found.sqlite}",
    }
    click.echo(visible(_aligned(list(facts.items()))))
    if rows:
        click.echo("\n" + visible(_aligned([heads, *rows])))


@store.command(epilog="\b\nExample:\n  dfllm store verify && echo all is well")
@storing
@printing_json
def verify(*, store: str | None, as_json: bool) -> None:
    """Read every answer and compare its checksum; ends with 1 if anything is damaged. Nothing is changed."""
    with _opened(store) as opened:
        found = opened.verify()
        where = opened.path
    if as_json:
        keys = [text_of(key) for key in found.damaged]
        click.echo(line({"path": where, **found._asdict(), "damaged": keys}))
    else:
        click.echo(f"{where}: {found.entries:,} answers read, {len(found.damaged):,} damaged; file: {found.integrity}")
        for key in found.damaged[:_SHOWN_KEYS]:
            click.echo(f"  {text_of(key)}")
        if found.damaged and found.integrity == "ok":
            click.echo("Damaged answers count as missing: the next run that needs them sets them aside and asks again.")
        elif not found.ok:
            click.echo("Run `dfllm store repair`: it keeps what can be read.")
    if not found.ok:
        raise click.exceptions.Exit(FATAL)


@store.command(epilog="\b\nExample:\n  dfllm store repair --yes")
@storing
@printing_json
@click.option("--yes", is_flag=True, help="Do not ask.")
def repair(*, store: str | None, as_json: bool, yes: bool) -> None:
    """Make a new store of every answer that can be read; the damaged file is kept beside it."""
    path = _path(store)
    if path.exists() and not yes:
        click.confirm(f"Move {path} aside and make a new store of what can be read of it?", abort=True, err=True)
    made = repaired(path)
    if as_json:
        click.echo(line({"path": path, **made._asdict()}))
    else:
        click.echo(f"{made.kept:,} answers kept, {made.lost:,} lost; they will be asked again when they are needed.")
        click.echo(f"The damaged file is {made.moved_to}.")
