"""`dfllm store`: what the store holds and whether it is whole; clearing it, carrying it over, mending it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

import dfllm
from dfllm import _tables
from dfllm._cli.options import printing_json, storing
from dfllm._cli.saying import FAILED_ROWS, FATAL, fail, line
from dfllm._core.controls import visible
from dfllm._core.errors import StoreError
from dfllm._core.keys import text_of
from dfllm._run.settings import current
from dfllm._run.store import Store
from dfllm._run.store_repair import repair as repaired

_SHOWN_KEYS = 5
C = TypeVar("C", bound=Callable[..., Any])


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
    help="Look at the store of paid answers, clear it, carry it over, and mend it.",
    short_help="Look at the store, clear it, and mend it.",
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


def _asking(command: C) -> C:
    """Give a command that removes or moves something the choice not to be asked."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def _older_than(said: str) -> Callable[[C], C]:
    return click.option("--older-than", metavar="AGE", help=f"{said}; such as 30d or 12h (s, m, h, d, w).")


@contextmanager
def _tended(given: str | None) -> Iterator[dfllm.Store]:
    with dfllm.options(store=given):
        yield dfllm.store()


def _said(removed: tuple[int, int, int], path: Path, *, as_json: bool) -> None:
    answers, others, freed = removed
    if as_json:
        click.echo(line({"path": path, "answers": answers, "others": others, "bytes": freed}))
        return
    click.echo(f"{answers:,} answers and {others:,} attempts or damaged ones removed; {freed / 1e6:,.1f} MB freed.")


@store.command(
    epilog="\b\nExamples:\n  dfllm store prune --older-than 90d\n  dfllm store prune --max-bytes 500000000 --yes"
)
@_older_than("What is older goes")
@click.option("--model", metavar="PROVIDER/MODEL", help="Only what this model said.")
@click.option("--max-bytes", type=click.IntRange(0), metavar="N", help="Only as much as a file of this size needs.")
@storing
@printing_json
@_asking
def prune(
    *, older_than: str | None, model: str | None, max_bytes: int | None, store: str | None, as_json: bool, yes: bool
) -> None:
    """Make room: remove old answers, oldest first, and make the file smaller. They are paid anew when needed."""
    if older_than is None and model is None and max_bytes is None:
        raise click.UsageError("Say what may go: --older-than, --model or --max-bytes.")
    with _tended(store) as tended:
        if tended.path.exists() and not yes:
            click.confirm(f"Remove answers from {tended.path}?", abort=True, err=True)
        _said(
            tended.prune(older_than=older_than, model=model, max_bytes=max_bytes),
            tended.path,
            as_json=as_json,
        )


@store.command(
    epilog="\b\nExamples:\n  dfllm store purge --tag trial\n  dfllm store purge --table out.parquet\n"
    "  dfllm store purge --older-than 0s --yes"
)
@click.option("--table", metavar="FILE", help="Answers of the rows of a table that was made with --details.")
@click.option("--key", multiple=True, metavar="KEY", help="A key, as --details shows it; any number of times.")
@click.option("--tag", metavar="WORD", help="What runs with this tag paid for.")
@_older_than("All that is older")
@storing
@printing_json
@_asking
def purge(
    *,
    table: str | None,
    key: tuple[str, ...],
    tag: str | None,
    older_than: str | None,
    store: str | None,
    as_json: bool,
    yes: bool,
) -> None:
    """Remove answers so that no byte of them is left in the store's files. The ledger keeps its amounts."""
    if sum(given is not None for given in (table, key or None, tag, older_than)) != 1:
        raise click.UsageError("Say one of --table, --key, --tag and --older-than.")
    with _tended(store) as tended:
        frame = None if table is None else _frame_of(table)
        if tended.path.exists() and not yes:
            click.confirm(f"Remove answers from {tended.path}, and every trace of them?", abort=True, err=True)
        _said(
            tended.purge(frame, key=key or None, tag=tag, older_than=older_than),
            tended.path,
            as_json=as_json,
        )


def _frame_of(table: str) -> Any:
    try:
        with Path(table).open("rb") as stream:
            return _tables.read(stream, _tables.format_of(table, None)).frame
    except (OSError, _tables.TableError) as error:
        fail(f"{table} cannot be read: {getattr(error, 'strerror', None) or error}. Nothing was removed.")


@store.command(epilog="\b\nExample:\n  dfllm store export answers.parquet")
@click.argument("output", metavar="FILE")
@storing
@printing_json
def export(*, output: str, store: str | None, as_json: bool) -> None:
    """Write every answer to a Parquet file; ends with 3 if damaged ones were left out."""
    with _tended(store) as tended:
        made = tended.export(output)
    if as_json:
        click.echo(line({"path": output, **made._asdict()}))
    else:
        click.echo(f"{made.answers:,} answers written to {output}; {made.damaged:,} damaged ones left out.")
    if made.damaged:
        raise click.exceptions.Exit(FAILED_ROWS)


@store.command(epilog="\b\nExample:\n  dfllm store load answers.parquet")
@click.argument("source", metavar="FILE")
@storing
@printing_json
def load(*, source: str, store: str | None, as_json: bool) -> None:
    """Take in what `export` wrote; of two answers the newer one stays. Ends with 3 if damaged ones were left out."""
    with _tended(store) as tended:
        made = tended.load(source)
    if as_json:
        click.echo(line({"path": tended.path, **made._asdict()}))
    else:
        click.echo(
            f"{made.taken:,} of {made.answers:,} answers taken in, {made.known:,} known before, "
            f"{made.damaged:,} damaged ones left out."
        )
    if made.damaged:
        raise click.exceptions.Exit(FAILED_ROWS)


@store.command(epilog="\b\nExample:\n  dfllm store repair --yes")
@storing
@printing_json
@_asking
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
