"""The run report: what a call came to, as a line, as a mapping, and as HTML that needs no script and no style sheet.

An untrusted notebook drops ``<style>``, ``<script>`` and ``<svg>``; inline styles, tables and ``<details>`` stay. All
text is escaped: model output is data, wherever it is shown.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from dfllm._core.budget import dollars
from dfllm._core.controls import visible
from dfllm._core.meter import LimitUse
from dfllm._run.tally import Latency
from dfllm._work import Ending

#: A page is to stay below 10 kB; so much of it is for kinds of errors, each a row with one example.
_ERRORS_BYTES = 6_000
_ROW_BYTES = 150

_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<div style="font-family:system-ui,sans-serif;font-size:13px;color:inherit;background:transparent;line-height:1.5">
<div><b>dfllm run</b> · {{ model }} · {{ state }} · {{ seconds }}</div>
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
<tr>
{% for name, value, colour in counts %}
<td style="padding:2px 14px 2px 0;text-align:left"><span style="color:{{ colour }};font-weight:600;font-size:15px">\
{{ value }}</span><br>{{ name }}</td>
{% endfor %}
</tr>
</table>
{% if rows %}
<div style="display:flex;width:320px;height:8px;background:rgba(128,128,128,.25)">
{% for name, value, colour in bar %}
<div title="{{ name }}" style="width:{{ value }}%;background:{{ colour }}"></div>
{% endfor %}
</div>
{% endif %}
<div style="opacity:.8">{{ sent }}{% if paid %} · {{ paid }}{% endif %}</div>
{% if saved %}
<div style="opacity:.8">{{ saved }}</div>
{% endif %}
{% if speed %}
<div style="opacity:.8">{{ speed }}</div>
{% endif %}
{% if unsure %}
<div style="color:#b26a00">{{ unsure }}</div>
{% endif %}
{% if errors %}
<details><summary>{{ failed }} rows without an answer</summary>
<table style="border-collapse:collapse;color:inherit;background:transparent">
{% for count, text in errors %}
<tr><td style="padding:1px 10px 1px 0;text-align:right;vertical-align:top">{{ count }}</td>\
<td style="text-align:left;white-space:pre-wrap">{{ text }}</td></tr>
{% endfor %}
{% if more %}
<tr><td></td><td>{{ more }} kinds more; see .failures</td></tr>
{% endif %}
</table></details>
{% endif %}
<div style="opacity:.6;font-size:11px">store: {{ store }}</div>
</div>"""
)


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
            ``type`` and ``error``. Skipped rows are no failures.

        Example:
            >>> import pandas as pd, dfllm
            >>> df = pd.DataFrame({"city": ["Oslo"]}).llm.complete("{{ city }}", model="simulator/echo")
            >>> len(dfllm.last_run().failures)
            0
        """
        errors = enumerate(self.frame[self._ending.error_column].tolist())
        failed = [(place, one) for place, one in errors if isinstance(one, str) and not one.startswith("Skipped:")]
        positions = np.array([place for place, _ in failed], dtype="int64")
        found = {
            "position": pd.Series(positions),
            "type": pd.Series([one.partition(":")[0] for _, one in failed], dtype="str"),
            "error": pd.Series([one for _, one in failed], dtype="str"),
        }
        return pd.DataFrame(found).set_axis(self.frame.index.take(positions))

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
            because of them. None where nothing was sent.
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

    def _repr_html_(self) -> str:
        ending, tally = self._ending, self._ending.tally
        green, red, blue, grey = "#2e7d32", "#c62828", "#1565c0", "#757575"
        known = tally.known_ok
        bar = [("new", tally.ok - known, green), ("known", known, blue), ("failed", tally.failed, red)]
        unsure = self._unsure() if tally.unsure else ""
        errors = self._errors()
        return _PAGE.render(
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
            more=len(tally.causes) - len(errors),
            store=ending.store,
        )


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
