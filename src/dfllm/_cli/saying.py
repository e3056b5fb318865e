"""What the command line says: one line for an error, no control codes, and an exit code that a script can trust."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any, NoReturn

import click

from dfllm._core.errors import DfllmError, DfllmWarning, RowsFailedWarning

FATAL, FAILED_ROWS, INTERRUPTED, PIPE_GONE = 1, 3, 130, 141
#: What a terminal would obey instead of showing it. Lines and tabs stay.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_shown_by_python = warnings.showwarning


class Commands(click.Group):
    """Turns what commands raise into a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RowsFailedWarning)  # the report says it
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except DfllmError as error:
                fail(str(error))
            except KeyboardInterrupt:
                fail("interrupted.", INTERRUPTED)
            except BrokenPipeError:
                # Whoever read us has had enough. What is still in a buffer goes nowhere, without complaint at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise click.exceptions.Exit(PIPE_GONE) from None


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    if issubclass(category, DfllmWarning):
        tell(f"dfllm: {message}")
    else:
        _shown_by_python(message, category, *where, **more)


def clean(text: str) -> str:
    """Return the text without control codes: prompts and answers are data, also to a terminal."""
    return text.translate(_CONTROLS)


def tell(text: str) -> None:
    """Print to stderr."""
    click.echo(clean(text), err=True)


def fail(text: str, code: int = FATAL) -> NoReturn:
    """Print an error and end with the code."""
    tell(f"dfllm: {text}")
    raise click.exceptions.Exit(code)


def line(value: Any) -> str:
    """Return JSON on one line; what JSON does not know as text."""
    return json.dumps(value, default=str)
