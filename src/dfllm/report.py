"""The run report: what a call came to, as a line, as a mapping, and as a page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dfllm import _comparing
from dfllm._core.budget import dollars
from dfllm._core.controls import visible
from dfllm._core.meter import LimitUse
from dfllm._report_page import PAGE
from dfllm._run.gathering import type_in
from dfllm._run.tally import Latency, Tally
from dfllm._running import Answers, Ending

#: A page is to stay below 10 kB; so much of it is for kinds of errors, each a row with one example.
_ERRORS_BYTES = 6_000
_ROW_BYTES = 150


class Run:
    """What one call came to.

    Attributes:
        frame: the frame as it was returned, or as far as it came.
    """

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self.frame: pd.DataFrame = ending.frame

    @property
    def failures(self) -> pd.DataFrame:
        """The rows without an answer.

        Returns:
            One row per failed row, in the frame's order and under its index: ``position`` in the frame (from 0),
            ``type`` and ``error``, and ``model`` where several were asked. Skipped rows are no failures.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]}).llm.complete("{{ city }}", model="simulator/echo")
            >>> len(dfllm.last_run().failures)
            0
        """
        asked = self._compared
        found: dict[str, Any] = {"position": [], "type": [], "error": [], "model": []}
        errors = [(one.name, self.frame[one.error].tolist()) for one in asked]
        for place in range(len(self.frame)):
            for name, texts in errors:
                text = texts[place]
                if isinstance(text, str) and not text.startswith("Skipped:"):
                    for what, value in zip(found, (place, type_in(text), text, name), strict=True):
                        found[what].append(value)
        positions = np.array(found.pop("position"), dtype="int64")
        if len(asked) == 1:
            del found["model"]
        texts_of = {name: pd.Series(values, dtype="str") for name, values in found.items()}
        return pd.DataFrame({"position": pd.Series(positions), **texts_of}).set_axis(self.frame.index.take(positions))

    @property
    def _compared(self) -> list[Answers]:
        """Where the answers of each model stand; once where later models only fill in."""
        answers = [
            ending.answers or Answers(ending.model, {}, ending.error_column, text=True)
            for ending in self._ending.parts or (self._ending,)
        ]
        return list({one.error: one for one in answers[::-1]}.values())[::-1]

    def agreement(self, against: str | Mapping[str, str] | None = None) -> pd.DataFrame:
        """Compare the answers of several models, or of each with a column that has the right ones.

        Answers are compared where both sides have one: text without the blanks around it, numbers by their value. With
        samples, each is compared with the other side's sample of that number. Kappa is Cohen's, which is 1 for full
        agreement and 0 for what chance would give: (p_o - p_e) / (1 - p_e), where p_o is the share of equal answers and
        p_e what it would be if both sides drew theirs by chance, each as often as it gave them (Cohen 1960, "A
        coefficient of agreement for nominal scales", Educational and Psychological Measurement 20(1), 37-46). It is
        missing for free text, and where both sides always gave one and the same answer.

        Args:
            against: a column of the frame; for a schema of fields a mapping from fields to columns. None compares the
                models with each other.

        Returns:
            A new frame with a row for each two models, ``first second compared share kappa``, or for each model,
            ``model compared accuracy kappa``; with a schema of fields a row for each ``field``.

        Raises:
            OptionError: there is nothing to compare, or no such column.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo", "Lima"]})
            >>> models = {"one": "simulator/echo", "two": "simulator/small"}
            >>> df = df.llm.complete("{{ city }}", model=models)
            >>> dfllm.last_run().agreement()["compared"].tolist()
            [2]
        """
        if against is None:
            return _comparing.between(self.frame, self._compared)
        return _comparing.with_column(self.frame, self._compared, against)

    @property
    def causes(self) -> list[tuple[int, str]]:
        """Why rows failed.

        Returns:
            For each type of failure, and apart what is free, paid or may have been billed: how many rows, and the error
            text of one of them; the commonest first.
        """
        tally = self._ending.tally
        return [(count, tally.examples[cause]) for cause, count in tally.causes.most_common()]

    @property
    def latency(self) -> Latency | None:
        """How long the answers took that were paid in this run.

        Returns:
            ``p50``, ``p95`` and ``max`` in seconds, from sending to the last byte, without any wait before sending; the
            first two within 2.2 %. None where nothing was answered. Refusals such as 429 are not counted.
        """
        return self._ending.tally.latencies.summary()

    @property
    def retries(self) -> dict[str, int]:
        """How many further attempts were made, by what had gone wrong before.

        Returns:
            A new mapping from the failure's type, as ``"RateLimited"`` or ``"Overloaded"``, to a count.
        """
        return dict(self._ending.tally.retries)

    @property
    def limits(self) -> LimitUse | None:
        """How the run lived with the provider's rate limits.

        Returns:
            ``requests``, ``tokens`` and ``output`` a minute, each None where no limit is known; ``source``, which is
            who said so (``"given"`` by you, ``"stated"`` by headers, ``"found"`` by refusals); ``share``, how much of
            the tightest was used; ``refusals``, answers that said 429; ``held_seconds``, how long sending was held
            because of them. None where nothing was sent, and where several models were asked: each has its own.
        """
        return self._ending.tally.limits

    @property
    def rows_per_second(self) -> float | None:
        """Rows that ended, known ones included, by the whole time of the call; None where it took none."""
        return self._per_second(self._ending.tally.done)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens paid in this run, input and output, by the whole time of the call; None where it took none."""
        return self._per_second(self._ending.tally.tokens_in + self._ending.tally.tokens_out)

    @property
    def cached_share(self) -> float | None:
        """How much of the input was a prefix that the provider had kept, and read for less; None where none was paid.

        Returns:
            A share from 0 to 1 of the input tokens paid in this run.
        """
        tally = self._ending.tally
        return tally.tokens_cached / tally.tokens_in if tally.tokens_in else None

    def _per_second(self, count: int) -> float | None:
        return count / self._ending.seconds if self._ending.seconds > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain values, fit for JSON.

        Returns:
            Counts by name; ``seconds`` a float; ``cost_usd`` a float, or None where no price is known; ``maybe_usd``
            the most that attempts can have cost which may have been billed without an answer; ``saved_store_usd`` and
            ``saved_dedupe_usd`` what known and equal rows would have cost; ``errors`` and ``retries`` mappings from
            type to count; ``latency`` and ``limits`` mappings of what the properties of that name have, or None.
        """
        ending, tally = self._ending, self._ending.tally
        return {
            "model": ending.model,
            "tag": ending.tag,
            "state": self._state(),
            "rows": tally.rows,
            "ok": tally.ok,
            "failed": tally.failed,
            "skipped": tally.skipped,
            "known": tally.known,
            "shared": tally.shared,
            "sent": tally.asked,
            "requests": tally.requests,
            "maybe_billed": tally.unsure,
            "tokens_in": tally.tokens_in,
            "tokens_out": tally.tokens_out,
            "tokens_cached": tally.tokens_cached,
            "cached_share": _rounded(self.cached_share),
            "cost_usd": None if tally.unpriced else tally.cost / 1e9,
            "maybe_usd": tally.maybe_cost / 1e9,
            "saved_store_usd": tally.saved_store / 1e9,
            "saved_dedupe_usd": tally.saved_shared / 1e9,
            "seconds": round(ending.seconds, 3),
            "rows_per_second": _rounded(self.rows_per_second),
            "tokens_per_second": _rounded(self.tokens_per_second),
            "latency": None if self.latency is None else _plain(self.latency._asdict()),
            "limits": None if self.limits is None else _plain(self.limits._asdict()),
            "errors": dict(tally.errors),
            "retries": dict(tally.retries),
            "stopped": None if ending.stopped is None else str(ending.stopped),
            "store": ending.store,
            **({"models": {part.model: _own(part.tally) for part in ending.parts}} if ending.parts else {}),
        }

    def _state(self) -> str:
        if self._ending.interrupted:
            return "interrupted"
        return "stopped" if self._ending.stopped is not None else "finished"

    def __repr__(self) -> str:
        facts = self.to_dict()
        parts = [f"{facts['rows']:,} rows: {facts['ok']:,} ok, {facts['failed']:,} failed, {facts['known']:,} known"]
        parts += [f"{facts['skipped']:,} skipped"] if facts["skipped"] else []
        parts += [f"{facts['sent']:,} sent", self._tokens(), self._price()]
        parts += [self._unsure()] if facts["maybe_billed"] else []
        parts += [*self._saved(), f"{facts['seconds']:.1f} s", *self._speed()]
        parts += [self._retried()] if facts["retries"] else []
        parts += [f"{name} {own['ok']:,} ok" for name, own in facts.get("models", {}).items()]
        return visible(f"Run({facts['model']}, {facts['state']}: {', '.join(parts)})")

    def _tokens(self) -> str:
        tally = self._ending.tally
        cached = f" ({self.cached_share:.0%} of the input cached)" if tally.tokens_cached else ""
        return f"{tally.tokens_in:,} + {tally.tokens_out:,} tokens{cached}"

    def _price(self) -> str:
        tally = self._ending.tally
        if tally.asked == 0:
            return "$0"
        priced = f"${tally.cost / 1e9:.4f}"
        if tally.unpriced == tally.asked:
            return "price unknown"
        return priced if not tally.unpriced else f"{priced} and {tally.unpriced:,} answers of unknown price"

    def _unsure(self) -> str:
        tally = self._ending.tally
        said = f"{tally.unsure:,} attempts may have been billed without an answer"
        return f"{said}: up to {dollars(tally.maybe_cost)}" if tally.maybe_cost else said

    def _saved(self) -> list[str]:
        """Return what the store and equal rows saved; nothing where that is nothing, or unknown."""
        tally = self._ending.tally
        saved = ((tally.saved_store, "by the store"), (tally.saved_shared, "by equal rows"))
        return [f"{dollars(nano)} saved {how}" for nano, how in saved if nano]

    def _retried(self) -> str:
        retried = self._ending.tally.retries.most_common(4)
        return "retried " + ", ".join(f"{count:,} after {kind}" for kind, count in retried) if retried else ""

    def _speed(self) -> list[str]:
        """Return how fast it went and what the limits let through; nothing where nothing was sent."""
        if not self._ending.tally.requests:
            return []
        rates = ((self.rows_per_second, "rows"), (self.tokens_per_second, "tokens"))
        said = [f"{_rate(rate)} {what}/s" for rate, what in rates if rate]
        if (took := self.latency) is not None:
            points = ((took.p50, "p50"), (took.p95, "p95"), (took.max, "max"))
            said.append("answers in " + ", ".join(f"{_seconds(seconds)} ({name})" for seconds, name in points))
        if (used := self.limits) is not None:
            named = ((used.requests, "requests"), (used.tokens, "tokens"), (used.output, "output tokens"))
            known = " and ".join(f"{limit:,.0f} {what}" for limit, what in named if limit is not None)
            said += [f"limit {known} a minute"] if known else []
            said += [f"{used.share:.0%} of it used"] if known and used.share is not None else []
            said += [f"{used.refusals:,} x 429"] if used.refusals else []
            said += [f"held {_seconds(used.held_seconds)}"] if used.held_seconds else []
        return said

    def _errors(self) -> list[tuple[str, str]]:
        """Return the count and an example of the commonest errors, as many as a page has room for."""
        room = _ERRORS_BYTES
        shown = []
        for count, example in self.causes:
            room -= len(html.escape(example).encode()) + _ROW_BYTES
            if room < 0:
                break
            shown.append((f"{count:,}", example))
        return shown

    def _by_model(self) -> list[list[str]]:
        """Return the counts of each model as a table; nothing where one was asked."""
        models = self.to_dict().get("models", {})
        rows = [["model", "ok", "failed", "known", "sent", "cost"]] if models else []
        for name, own in models.items():
            cost = "unknown" if own["cost_usd"] is None else f"${own['cost_usd']:.4f}"
            rows.append([name, *(f"{own[what]:,}" for what in ("ok", "failed", "known", "sent")), cost])
        return rows

    def _repr_html_(self) -> str:
        ending, tally = self._ending, self._ending.tally
        green, red, blue, grey = "#2e7d32", "#c62828", "#1565c0", "#757575"
        known = tally.known_ok
        bar = [("new", tally.ok - known, green), ("known", known, blue), ("failed", tally.failed, red)]
        unsure = self._unsure() if tally.unsure else ""
        errors = self._errors()
        return PAGE.render(
            model=ending.model,
            state=self._state(),
            seconds=f"{ending.seconds:.1f} s",
            rows=tally.rows,
            counts=[
                ("rows", f"{tally.rows:,}", "inherit"),
                ("ok", f"{tally.ok:,}", green),
                ("failed", f"{tally.failed:,}", red if tally.failed else grey),
                ("known", f"{tally.known:,}", blue),
                ("skipped", f"{tally.skipped:,}", grey),
                ("sent", f"{tally.asked:,}", "inherit"),
            ],
            bar=[(name, round(100 * count / max(1, tally.rows), 2), colour) for name, count, colour in bar if count],
            sent=f"{tally.requests:,} requests" + (f", {self._retried()}" if tally.retries else ""),
            speed=" · ".join(self._speed()),
            paid=f"{self._tokens()} · {self._price()}" if tally.asked else "nothing paid",
            saved=" · ".join(self._saved()),
            unsure=unsure,
            failed=f"{tally.failed:,}",
            errors=errors,
            models=self._by_model(),
            more=len(tally.causes) - len(errors),
            store=ending.store,
        )


def _own(tally: Tally) -> dict[str, Any]:
    """Return what stands for one model in the report of several."""
    return {
        "ok": tally.ok,
        "failed": tally.failed,
        "known": tally.known,
        "sent": tally.asked,
        "cost_usd": None if tally.unpriced else tally.cost / 1e9,
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:,.1f} s"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(fact, 4) if isinstance(fact, float) else fact for name, fact in facts.items()}


_last: Run | None = None


def remember(ending: Ending) -> None:
    """Make this the last run."""
    global _last  # the accessor has no state, so the last run is the process's
    _last = Run(ending)


def last_run() -> Run | None:
    """Return what the last call of this process came to, also one that was interrupted or stopped.

    Returns:
        A Run, shown as HTML in a notebook and as one line elsewhere; None before the first call.

    Example:
        >>> import pandas as pd, dfllm
        >>> df = pd.DataFrame({"city": ["Oslo"]}).llm.complete("{{ city }}", model="simulator/echo")
        >>> dfllm.last_run().to_dict()["ok"]
        1
    """
    return _last
