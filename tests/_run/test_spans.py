"""Spans: names and attributes by the conventions, one for each attempt, and nothing at all where nobody traces."""

import pytest

from dfllm._core.types import Failure, Response, Terms
from dfllm._run.spans import run_span

trace = pytest.importorskip("opentelemetry.trace")
pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider  # noqa: E402  # an extra: there or not
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402  # the same
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402  # the same
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: E402  # the same

TERMS = Terms("openai", "openai", "gpt-mini")
URL = "https://api.openai.com/v1"
NOW = 1_700_000_000_000_000_000
OK = Response("the answer", "stop", 12, 5, model="gpt-mini-2026")
KEY = "k1" + "ab" * 20


@pytest.fixture
def spans(monkeypatch):
    """Trace into memory, and return what is there."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def one_request(spans, *, terms=TERMS, url=URL, **told):
    """Return the span of one attempt, which is all of a run."""
    run = run_span("r_1", terms, url, now=lambda: NOW)
    told = {"outcome": OK, "status": 200, "seconds": 0.5, "request_id": "req_1", **told}
    run.request(KEY, 1, **told)
    run.end({}, None)
    return spans.get_finished_spans()[0]


def test_names_are_those_of_the_conventions(spans):
    """As the installed package spells them; a name that it does not know yet is listed here."""
    gen_ai_attributes = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

    known = {
        value
        for module in (gen_ai_attributes, error_attributes, http_attributes, server_attributes)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }
    later = {"gen_ai.request.reasoning.level"}
    terms = Terms("openai", "openai", "m", 0.5, 0.9, 100, "max_tokens", ("END",), 7, "low", "{}")
    said = Response("no", "length", 9, 3, 4, 2, "gpt-mini-2026")

    found = one_request(spans, terms=terms, outcome=Failure("Truncated", "cut", "paid", response=said)).attributes

    names = {name for name in found if not name.startswith("dfllm.")}
    assert 20 == len(names)
    assert set() == names - known - later


def test_answer_has_model_tokens_and_reason(spans):
    """One client span, as long as the request took, and nothing of what was said."""
    span = one_request(spans)

    assert ("chat gpt-mini", trace.SpanKind.CLIENT) == (span.name, span.kind)
    assert (NOW - 500_000_000, NOW) == (span.start_time, span.end_time)
    assert trace.StatusCode.UNSET == span.status.status_code
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-mini",
        "gen_ai.response.model": "gpt-mini-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "http.response.status_code": 200,
        "server.address": "api.openai.com",
        "server.port": 443,
        "dfllm.run": "r_1",
        "dfllm.key": KEY,
        "dfllm.try": 1,
        "dfllm.billing": "paid",
        "dfllm.request_id": "req_1",
    } == dict(span.attributes)


def test_terms_are_what_was_asked_for(spans):
    """Options that were given, under their names; those that were not, not."""
    terms = Terms("openai", "openai", "m", 0.5, 0.9, 100, "max_tokens", ("END",), 7, "low", '{"type":"object"}')

    found = dict(one_request(spans, terms=terms).attributes)

    asked = {name: value for name, value in found.items() if name.startswith(("gen_ai.request.", "gen_ai.output."))}
    assert {
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.seed": 7,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
    } == asked


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://127.0.0.1:8000/v1", ("127.0.0.1", 8000)),
        ("http://localhost/v1", ("localhost", 80)),
        ("https://[::1]:8443/v1?key=c0ffee", ("::1", 8443)),
    ],
)
def test_server_is_host_and_port(spans, url, place):
    """Nothing else of the address: a query may hold a key."""
    found = one_request(spans, terms=Terms(f"vllm {url}", "openai", "m"), url=url).attributes

    assert place == (found["server.address"], found["server.port"])
    assert "vllm" == found["gen_ai.provider.name"]
    assert "c0ffee" not in repr(dict(found))


@pytest.mark.parametrize(
    ("failure", "status", "billing"),
    [
        (Failure("Overloaded", "busy, they said", "free", status=529), 529, "free"),
        (Failure("ConnectionLost", "no answer came", "maybe"), None, "maybe"),
        (Failure("NotSent", "stopped"), None, "free"),
    ],
)
def test_failure_is_an_error_of_its_type(spans, failure, status, billing):
    """By our own word for it, which is one of a closed list; the reason may quote others and stays out."""
    span = one_request(spans, outcome=failure, status=status, request_id=None)

    found = span.attributes
    assert (failure.type, status, billing) == (
        found["error.type"],
        found.get("http.response.status_code"),
        found["dfllm.billing"],
    )
    assert (trace.StatusCode.ERROR, None) == (span.status.status_code, span.status.description)
    assert () == span.events
    assert failure.reason not in span.to_json()
    assert "gen_ai.usage.input_tokens" not in found


def test_failure_that_was_paid_for_has_its_tokens(spans):
    """Cut, refused or unfit: it is on the bill."""
    said = Response("no", "length", 9, 3, 4, 2, "gpt-mini-2026")

    span = one_request(spans, outcome=Failure("Truncated", "3 output tokens", "paid", response=said))

    assert "Truncated" == span.attributes["error.type"]
    assert (9, 3, 4, 2, ("length",)) == tuple(
        span.attributes[f"gen_ai.{name}"]
        for name in (
            "usage.input_tokens",
            "usage.output_tokens",
            "usage.cache_read.input_tokens",
            "usage.reasoning.output_tokens",
            "response.finish_reasons",
        )
    )
    assert trace.StatusCode.ERROR == span.status.status_code


def test_run_is_the_parent_of_its_requests_and_the_child_of_its_caller(spans):
    """One tree, whichever thread the requests were made in."""
    with trace.get_tracer_provider().get_tracer("mine").start_as_current_span("nightly") as mine:
        run = run_span("r_1", TERMS, URL)
    run.request(KEY, 1, OK, 200, 0.1, None)
    run.end({"rows": 3, "cost_usd": None, "state": "finished"}, None)

    request, ended = [span for span in spans.get_finished_spans() if span.name != "nightly"]
    assert ("dfllm.complete", trace.SpanKind.INTERNAL) == (ended.name, ended.kind)
    assert mine.get_span_context().span_id == ended.parent.span_id
    assert ended.context.span_id == request.parent.span_id
    assert {"dfllm.run": "r_1", "dfllm.model": "openai/gpt-mini", "dfllm.rows": 3, "dfllm.state": "finished"} == dict(
        ended.attributes
    )
    assert trace.StatusCode.UNSET == ended.status.status_code


def test_run_that_was_stopped_is_an_error(spans):
    """Of the type that stopped it."""
    run_span("r_1", TERMS, URL).end({}, "QuotaExhausted")

    (span,) = spans.get_finished_spans()
    assert ("QuotaExhausted", trace.StatusCode.ERROR) == (span.attributes["error.type"], span.status.status_code)


@pytest.mark.parametrize(
    "provider", [trace.ProxyTracerProvider(), trace.NoOpTracerProvider(), TracerProvider(sampler=ALWAYS_OFF)]
)
def test_run_that_nobody_traces_has_no_span(monkeypatch, provider):
    """No provider, one that does nothing, or a run that was not drawn: its requests cost nothing."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    assert None is run_span("r_1", TERMS, URL)
