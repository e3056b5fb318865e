"""What the command line says: one line for an error, no control codes, and an exit code that a script can trust."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from typing import IO, Any, NoReturn

import click

from dfllm._core.controls import visible
from dfllm._core.errors import DfllmError, DfllmWarning, RowsFailedWarning

FATAL, FAILED_ROWS, INTERRUPTED, PIPE_GONE = 1, 3, 130, 141
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


class Screen(io.RawIOBase):
    """A terminal's bytes: lines of UTF-8 go through it without their control characters."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, line: Any) -> int:
        """Write one whole line."""
        self._stream.write(visible(bytes(line).decode("utf-8", "replace")).encode())
        return len(line)


def tell(text: str) -> None:
    """Print to stderr."""
    click.echo(visible(text), err=True)


def fail(text: str, code: int = FATAL) -> NoReturn:
    """Print an error and end with the code."""
    tell(f"dfllm: {text}")
    raise click.exceptions.Exit(code)


def line(value: Any) -> str:
    """Return JSON on one line; what JSON does not know as text."""
    return json.dumps(value, default=str)
