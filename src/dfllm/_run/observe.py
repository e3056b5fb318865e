"""What a run shows of itself: log lines and spans. Where nobody looks, `attempt` is None and nothing is called."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dfllm._core.keys import text_of
from dfllm._core.types import Failure, Terms
from dfllm._run import log
from dfllm._run.asks import Attempt
from dfllm._run.secret import Secret
from dfllm._run.spans import RunSpan, run_span
from dfllm._run.tally import Tally

logger = log.logger

_ID_NAMES = ("x-request-id", "request-id")
_MOST_ID = 80


class Observer:
    """Shows one run: `begin`, then `attempt` after each request if it is not None, then `end`.

    What is wanted is looked up when the run begins, and holds for all of it.

    Args:
        run: the run's id.
        terms: what its requests share.
        base_url: where the provider is.
        store: the store's file.
        secret: the API key, which is taken out of whatever is logged from now on.
        clock: seconds from any moment on.
    """

    def __init__(
        self,
        run: str,
        terms: Terms,
        *,
        base_url: str,
        store: Path,
        secret: Secret | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._terms = terms
        self._base_url = base_url
        self._store = store
        self._clock = clock
        self._began = clock()
        self._span: RunSpan | None = None
        self._lines = self._words = self._traces = False
        self.attempt: Callable[[Attempt], None] | None = None
        log.hide(secret)

    def begin(self, rows: int) -> None:
        """Hear that the run begins; to be called within the caller's context, so that its span is the parent."""
        self._began = self._clock()
        self._lines, self._words = log.shows_requests(), log.shows_content()
        try:
            self._span = run_span(self._run, self._terms, self._base_url)
            self._traces = self._span is not None
            log.run_began(self._run, rows)
        except Exception:
            logger.exception("observe.failed")
        if self._lines or self._words or self._traces:
            self.attempt = self._shown

    def _shown(self, one: Attempt) -> None:
        """Show one attempt; trouble with that never reaches the run, and is told once."""
        try:
            self._show(one)
        except Exception:
            self._lines = self._words = self._traces = False
            logger.exception("observe.failed")

    def _show(self, one: Attempt) -> None:
        key, answer, outcome = text_of(one.key), one.answer, one.outcome
        if answer is None or isinstance(answer, Failure):
            status, request_id, body = None, None, None
        else:
            status, request_id, body = answer.status, _id_of(answer.headers), answer.body
        if self._lines:
            log.request_ended(self._run, key, one.tries, outcome, status, one.seconds, request_id)
        if self._traces and self._span is not None:
            self._span.request(key, one.tries, outcome, status, one.seconds, request_id)
        if self._words:
            log.content_of(key, one.tries, one.asked, body)

    def end(
        self, tally: Tally, *, stopped: Failure | None, interrupted: bool, error: BaseException | None = None
    ) -> None:
        """Hear how the run ended.

        Args:
            tally: what it came to.
            stopped: what ended it early; None where nothing did.
            interrupted: whether the user ended it.
            error: what it raised; None where nothing was.
        """
        why = type(error).__name__ if error is not None else stopped.type if stopped is not None else None
        state = "interrupted" if interrupted else "finished" if why is None else f"stopped by {why}"
        counts = _counts(tally)
        try:
            log.run_ended(self._facts(tally, counts, state))
            if self._span is not None:
                self._span.end({"state": state.split()[0], **counts}, why)
        except Exception:
            logger.exception("observe.failed")

    def _facts(self, tally: Tally, counts: Mapping[str, Any], state: str) -> dict[str, Any]:
        provider = self._terms.provider.partition(" ")[0]
        return {
            "run": self._run,
            "model": f"{provider}/{self._terms.model}",
            "state": state,
            **counts,
            "retries": dict(tally.retries),
            "seconds": round(self._clock() - self._began, 3),
            "store": str(self._store),
        }


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "rows": tally.rows,
        "ok": tally.ok,
        "failed": tally.failed,
        "skipped": tally.skipped,
        "known": tally.known,
        "requests": tally.requests,
        "retries": tally.retries.total(),
        "maybe_billed": tally.unsure,
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cost_usd": None if tally.unpriced else tally.cost / 1e9,
    }


def _id_of(headers: Mapping[str, str]) -> str | None:
    """Return the provider's name for the exchange: the other side's words, so looked at before they are shown."""
    for name in _ID_NAMES:
        if found := headers.get(name):
            return log.hidden_id(found[:_MOST_ID])
    return None
