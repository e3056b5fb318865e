"""Progress: one tqdm bar a run, as text in a terminal, as HTML in a notebook, as log lines where nobody looks.

The notebook's bar draws plain HTML through one display handle. It needs no widgets, shows in a notebook that is not
trusted, and what is saved in the file ends at 100 %. What a bar shows is put together when it is drawn, ten times a
second at most; while nothing happens it is drawn once a second, so that clocks run and waits can be seen to end.
"""

from __future__ import annotations

import html
import io
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from dfllm._core.controls import visible
from dfllm._run import log
from dfllm._run.tally import Tally

_LOG_SECONDS = 30.0
_TICK_SECONDS = 1.0
#: Rate and time left are those of so many seconds back: rows that were known at the start say nothing about the rest.
_LATELY_SECONDS = 20.0
_BAR = (
    '<div style="font-family:monospace;font-size:13px;color:inherit">'
    '<progress max="{total}" value="{done}" style="width:180px;vertical-align:middle"></progress> {line}</div>'
)
logger = log.logger


class Speed:
    """Rows a second over the last seconds."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def now(self, now: float, done: int) -> float | None:
        """Return the present speed; None where no time has passed."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - _LATELY_SECONDS:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= 1.0:
            samples.append((now, done))
        return (done - before) / (now - since) if now > since else None


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
        self._title = visible(title)
        self._clock = clock
        self._next_line = clock() + _LOG_SECONDS
        self._speed = Speed(clock())
        self._bar: _Bar | None = None
        self._ended: threading.Event | None = None
        if shown is False or tally.rows == 0:
            return
        try:
            self._bar = self._made(shown=shown)
        except Exception:
            logger.exception("progress.failed")

    def _made(self, *, shown: bool | None) -> _Bar | None:
        # miniters: tqdm would wait for as many rows as came before, however long those take.
        options = {"total": self._tally.rows, "desc": self._title, "unit": "row", "miniters": 0}
        if _in_notebook():
            return _NotebookBar(self._tally, self._clock, **options)
        if shown or (sys.stderr is not None and sys.stderr.isatty()):
            return _Bar(self._tally, self._clock, file=sys.stderr, dynamic_ncols=True, **options)
        return None

    def update(self) -> None:
        """Draw what has changed; trouble with drawing never reaches the run."""
        try:
            if self._bar is not None:
                if self._ended is None:
                    self._ended = self._bar.ticking()
                self._bar.update(self._tally.done - self._bar.n)
            elif self._clock() >= self._next_line:
                self._log()
        except Exception:
            logger.exception("progress.failed")
            self._bar = None

    def _log(self) -> None:
        now, tally = self._clock(), self._tally
        self._next_line = now + _LOG_SECONDS
        speed = self._speed.now(now, tally.done)
        parts = [_postfix(tally, now), f"{_rate(speed)} rows/s" if speed is not None else "", _left(tally, speed)]
        facts = {"done": tally.done, "rows": tally.rows}
        logger.info("run.progress %s/%s %s", *facts.values(), ", ".join(filter(None, parts)), extra=facts)

    def close(self) -> None:
        """Draw for the last time."""
        self.update()
        if self._ended is not None:
            self._ended.set()
        try:
            if self._bar is not None:
                self._bar.close()
        except Exception:
            logger.exception("progress.failed")


def _postfix(tally: Tally, now: float | None = None) -> str:
    """Return the counts; with the time given, before them what is being waited for: a narrow terminal cuts the end."""
    parts = []
    if now is not None and tally.waiting is not None:
        left = tally.waiting_until - now if tally.waiting_until is not None else 0.0
        parts.append(f"{tally.waiting} {_span(left)}" if left > 0 else tally.waiting)
    parts += [f"ok {tally.ok:,}", f"failed {tally.failed:,}", f"known {tally.known:,}"]
    if tally.skipped:
        parts.append(f"skipped {tally.skipped:,}")
    if tally.cost:
        parts.append(f"${tally.cost / 1e9:.4f}")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    """Return a wait in one number, rounded up."""
    for unit, size in (("s", 1), ("min", 60)):
        if (count := math.ceil(seconds / size)) < 100:
            return f"{count} {unit}"
    return f"{seconds / 3600:.1f} h"


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 or speed == 0 else f"{speed:.2g}"


def _left(tally: Tally, speed: float | None) -> str:
    return f"eta {tqdm.format_interval((tally.rows - tally.done) / speed)}" if speed and tally.done < tally.rows else ""


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    ask: Callable[[], Any] | None = getattr(shell, "get_ipython", None)
    found = ask() if ask is not None else None
    return found is not None and getattr(found, "kernel", None) is not None


class _Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs only
    """A bar that stops drawing where drawing fails.

    tqdm draws with its one lock for all bars taken, and an exception would leave it so for ever.
    """

    def __init__(self, tally: Tally, clock: Callable[[], float], **options: Any) -> None:
        self._tally = tally
        self._clock = clock
        self._speed = Speed(clock())
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What is shown: the present speed and wait while the run goes, what it all came to at its end."""
        facts = dict(super().format_dict)
        now = self._clock()
        ended = self.disable
        facts["rate"] = None if ended else self._speed.now(now, self._tally.done)
        facts["postfix"] = _postfix(self._tally, None if ended else now)
        return facts

    def ticking(self) -> threading.Event:
        """Begin to draw once a second while nothing happens, until the event that is returned."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(_TICK_SECONDS):
                with _lock:
                    # Under the lock, since who closes the bar has the last stroke.
                    if not self.disable and time.time() - self.last_print_t >= _TICK_SECONDS:
                        self.display()

        threading.Thread(target=tick, name="dfllm-progress", daemon=True).start()
        return ended

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
_lock = threading.RLock()
_Bar.set_lock(_lock)


def _forget() -> None:
    global _lock  # a fork copies no owner
    _lock = threading.RLock()
    _Bar.set_lock(_lock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _NotebookBar(_Bar):
    """A bar drawn as HTML under one display handle, from any thread."""

    def __init__(self, tally: Tally, clock: Callable[[], float], **options: Any) -> None:
        self.disable = True  # there is nothing to close before there is anything to see
        from IPython.display import HTML, display  # only there where there is a notebook

        page: Callable[[str], Any] = HTML
        show: Callable[..., Any] = display
        self._html = page
        self._handle = show(page(""), display_id=True)
        super().__init__(tally, clock, file=io.StringIO(), gui=False, **options)

    def _draw(self, msg: str | None, pos: int | None) -> None:
        facts = self.format_dict
        done, total, elapsed = facts["n"], facts["total"], facts["elapsed"]
        speed = facts["rate"] if not self.disable else done / elapsed if elapsed > 0 else None
        parts = (
            facts["prefix"].removesuffix(": "),
            f"{done:,}/{total:,}",
            f"{100 * done // total}%",
            tqdm.format_interval(elapsed),
            _left(self._tally, speed) if not self.disable else "",
            f"{_rate(speed)} rows/s" if speed is not None else "",
            facts["postfix"],
        )
        line = html.escape(" ".join(part for part in parts if part))
        self._handle.update(self._html(_BAR.format(total=total, done=done, line=line)))

    def close(self) -> None:
        """Draw the last state and let the bar stand."""
        with _lock:
            if not self.disable:
                self.disable = True
                self.display()
