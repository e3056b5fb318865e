"""Progress: one tqdm bar a run, as text in a terminal, as HTML in a notebook, as log lines where nobody looks.

The notebook's bar draws plain HTML through one display handle. It needs no widgets, shows in a notebook that is not
trusted, and what is saved in the file ends at 100 %.
"""

from __future__ import annotations

import html
import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from dfllm._run.tally import Tally

_LOG_SECONDS = 30.0
_BAR = (
    '<div style="font-family:monospace;font-size:13px;color:inherit">'
    '<progress max="{total}" value="{done}" style="width:180px;vertical-align:middle"></progress> {line}</div>'
)
logger = logging.getLogger("dfllm")


class Progress:
    """Draws a tally while it grows.

    Args:
        tally: what is counted.
        title: what stands before the bar.
        shown: whether to draw; None draws where somebody can see it.
    """

    def __init__(
        self, tally: Tally, title: str, *, shown: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tally = tally
        self._title = title
        self._clock = clock
        self._next_line = clock() + _LOG_SECONDS
        self._bar: tqdm[Any] | None = None
        if shown is False or tally.rows == 0:
            return
        try:
            self._bar = self._made(shown=shown)
        except Exception:
            logger.exception("progress.failed")

    def _made(self, *, shown: bool | None) -> tqdm[Any] | None:
        if _in_notebook():
            return _NotebookBar(total=self._tally.rows, desc=self._title, unit="row")
        if shown or (sys.stderr is not None and sys.stderr.isatty()):
            return _Bar(total=self._tally.rows, desc=self._title, unit="row", file=sys.stderr, dynamic_ncols=True)
        return None

    def update(self) -> None:
        """Draw what has changed; trouble with drawing never reaches the run."""
        try:
            if self._bar is not None:
                self._bar.set_postfix_str(_postfix(self._tally), refresh=False)
                self._bar.update(self._tally.done - self._bar.n)
            elif self._clock() >= self._next_line:
                self._next_line = self._clock() + _LOG_SECONDS
                facts = {"done": self._tally.done, "rows": self._tally.rows}
                logger.info("run.progress %s/%s %s", *facts.values(), _postfix(self._tally), extra=facts)
        except Exception:
            logger.exception("progress.failed")
            self._bar = None

    def close(self) -> None:
        """Draw for the last time."""
        self.update()
        try:
            if self._bar is not None:
                self._bar.close()
        except Exception:
            logger.exception("progress.failed")


def _postfix(tally: Tally) -> str:
    parts = [f"ok {tally.ok:,}", f"failed {tally.failed:,}", f"known {tally.known:,}"]
    if tally.skipped:
        parts.append(f"skipped {tally.skipped:,}")
    if tally.cost:
        parts.append(f"${tally.cost / 1e9:.4f}")
    return ", ".join(parts)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    ask: Callable[[], Any] | None = getattr(shell, "get_ipython", None)
    found = ask() if ask is not None else None
    return found is not None and getattr(found, "kernel", None) is not None


class _Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs only
    """A bar that stops drawing where drawing fails.

    tqdm draws with its one lock for all bars taken, and an exception would leave it so for ever.
    """

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # type: ignore[override]  # tqdm says so
        """Draw the bar's present state."""
        try:
            self._draw(msg, pos)
        except Exception:
            logger.exception("progress.failed")
            self.disable = True
        return True

    def _draw(self, msg: str | None, pos: int | None) -> None:
        super().display(msg, pos)


# tqdm's own lock is shared with forked processes, and one that is killed with it would stop our loop.
_Bar.set_lock(threading.RLock())


class _NotebookBar(_Bar):
    """A bar drawn as HTML under one display handle, from any thread."""

    def __init__(self, **options: Any) -> None:
        self.disable = True  # there is nothing to close before there is anything to see
        from IPython.display import HTML, display  # only there where there is a notebook

        page: Callable[[str], Any] = HTML
        show: Callable[..., Any] = display
        self._html = page
        self._handle = show(page(""), display_id=True)
        super().__init__(file=io.StringIO(), gui=False, **options)

    def _draw(self, msg: str | None, pos: int | None) -> None:
        facts = self.format_dict
        done, total = facts["n"], facts["total"]
        rate = f"{facts['n'] / facts['elapsed']:,.0f} rows/s" if facts["elapsed"] > 0 else ""
        spent = tqdm.format_interval(facts["elapsed"])
        line = " ".join(
            part
            for part in (
                html.escape(facts["prefix"]),
                f"{done:,}/{total:,}",
                f"{100 * done // total}%",
                spent,
                rate,
                html.escape(facts["postfix"] or ""),
            )
            if part
        )
        self._handle.update(self._html(_BAR.format(total=total, done=done, line=line)))

    def close(self) -> None:
        """Draw the last state and let the bar stand."""
        if not self.disable:
            self.disable = True
            self.display()
