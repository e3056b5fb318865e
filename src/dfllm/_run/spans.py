"""Spans for OpenTelemetry: one for a run, one for each request of it, by the conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai has the names; they are still in development there. The
conventions have one span for a question with all its retries. Here each attempt has its own, since each may be billed.
Prompts, answers and the provider's own words are in none.

Nothing is imported and nothing is made where no tracer provider is set: the package is an extra, and whoever has set a
provider has imported it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dfllm._core.types import Failure, Outcome, Terms

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_NANO = 1e9
_PORTS = {"https": 443, "http": 80}


def run_span(run: str, terms: Terms, base_url: str, now: Callable[[], int] = time.time_ns) -> RunSpan | None:
    """Begin the span of a run, within the caller's present one; None where nobody traces, or not this run.

    Args:
        run: the run's id.
        terms: what its requests share.
        base_url: where the provider is.
        now: nanoseconds since 1970.
    """
    tracer = _tracer()
    if tracer is None:
        return None
    provider = terms.provider.partition(" ")[0]
    span = tracer.start_span(
        "dfllm.complete", attributes={"dfllm.run": run, "dfllm.model": f"{provider}/{terms.model}"}
    )
    if not span.is_recording():
        return None  # sampled out, and with it its requests
    return RunSpan(tracer, span, f"{_operation(terms)} {terms.model}", _shared(run, provider, terms, base_url), now)


def _tracer() -> Tracer | None:
    # The variable names a provider that is loaded by whoever asks first.
    if "opentelemetry.trace" not in sys.modules and not os.environ.get("OTEL_PYTHON_TRACER_PROVIDER"):
        return None
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer("dfllm")


def _shared(run: str, provider: str, terms: Terms, base_url: str) -> dict[str, Any]:
    """Return the attributes that all requests of a run have."""
    place = urlsplit(base_url)
    named = {
        "gen_ai.operation.name": _operation(terms),
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": terms.model,
        "gen_ai.request.temperature": terms.temperature,
        "gen_ai.request.top_p": terms.top_p,
        "gen_ai.request.max_tokens": terms.max_tokens,
        "gen_ai.request.stop_sequences": terms.stop,
        "gen_ai.request.seed": terms.seed,
        "gen_ai.request.reasoning.level": terms.reasoning,
        "gen_ai.output.type": "json" if terms.schema else None,
        "gen_ai.embeddings.dimension.count": terms.dimensions,
        "server.address": place.hostname,
        "server.port": place.port or _PORTS.get(place.scheme),
        "dfllm.run": run,
    }
    return {name: value for name, value in named.items() if value is not None}


def _operation(terms: Terms) -> str:
    return "embeddings" if terms.dialect.endswith("-embeddings") else "chat"


class RunSpan:
    """A run's span, from which those of its requests hang."""

    def __init__(
        self, tracer: Tracer, span: Span, name: str, shared: Mapping[str, Any], now: Callable[[], int]
    ) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._span = span
        self._name = name
        self._shared = shared
        self._now = now
        self._kind = trace.SpanKind.CLIENT
        self._error = trace.Status(trace.StatusCode.ERROR)
        self._within: Context = trace.set_span_in_context(span)

    def request(
        self, key: str, tries: int, outcome: Outcome, status: int | None, seconds: float, request_id: str | None
    ) -> None:
        """Note one attempt that has just ended."""
        ended = self._now()
        failed = isinstance(outcome, Failure)
        response = outcome.response if isinstance(outcome, Failure) else outcome
        attributes = {
            **self._shared,
            "dfllm.key": key,
            "dfllm.try": tries,
            "dfllm.billing": (outcome.billing or "free") if isinstance(outcome, Failure) else "paid",
        }
        if status is not None:
            attributes["http.response.status_code"] = status
        if request_id is not None:
            attributes["dfllm.request_id"] = request_id
        if isinstance(outcome, Failure):
            attributes["error.type"] = outcome.type
        if response is not None:
            attributes["gen_ai.response.finish_reasons"] = (response.finish,)
            counted = (
                ("gen_ai.response.model", response.model),
                ("gen_ai.usage.input_tokens", response.tokens_in),
                ("gen_ai.usage.output_tokens", response.tokens_out),
                ("gen_ai.usage.cache_read.input_tokens", response.tokens_cached or None),
                ("gen_ai.usage.reasoning.output_tokens", response.tokens_reasoning or None),
            )
            attributes.update((name, value) for name, value in counted if value is not None)
        span = self._tracer.start_span(
            self._name,
            self._within,
            self._kind,
            attributes,
            start_time=ended - round(seconds * _NANO),
            record_exception=False,
            set_status_on_exception=False,
        )
        if failed:
            span.set_status(self._error)
        span.end(ended)

    def end(self, facts: Mapping[str, Any], error_type: str | None) -> None:
        """End the run's span.

        Args:
            facts: what the run came to; None is left out.
            error_type: what stopped it early, in one word; None where nothing did.
        """
        for name, fact in facts.items():
            if fact is not None:
                self._span.set_attribute(f"dfllm.{name}", fact)
        if error_type is not None:
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(self._error)
        self._span.end()
