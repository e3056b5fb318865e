"""Quirks: what providers that share a dialect say otherwise, in bodies as they were recorded or documented."""

from __future__ import annotations

import json

import pytest

from dfllm._core.retry import next_step
from dfllm._core.terms import terms_of
from dfllm._core.types import Failure, Message
from dfllm._wire.dialects import DIALECTS, schema_part
from dfllm._wire.openai import decode, read
from dfllm._wire.providers import PROVIDERS

ASK = (Message("user", "Where is Oslo?"),)


def answer(content="In Norway.", finish="stop", usage=None, **message):
    """Return a body of a 200."""
    said = {"role": "assistant", "content": content} | message
    made = {"model": "m", "choices": [{"index": 0, "message": said, "finish_reason": finish}]}
    return json.dumps(made | ({"usage": usage} if usage else {})).encode()


def test_mistral_answers_in_chunks():
    """What was thought is no answer, and what was cached has a word of its own."""
    chunks = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "In "},
        {"type": "text", "text": "Norway."},
    ]
    usage = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16, "num_cached_tokens": 5}

    said = decode(answer(chunks, usage=usage))

    assert ("In Norway.", 12, 4, 5) == (said.text, said.tokens_in, said.tokens_out, said.tokens_cached)


@pytest.mark.parametrize(
    ("finish", "kind"), [("model_length", "Truncated"), ("error", "ServerError"), ("tool_calls", "InvalidOutput")]
)
def test_mistral_ends_in_its_own_words(finish, kind):
    """Each is what it is elsewhere under another name."""
    assert kind == decode(answer("In Nor", finish)).type


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason", "code"),
    [
        (
            429,
            {
                "object": "error",
                "message": "Rate limit exceeded",
                "type": "rate_limited",
                "param": None,
                "code": "1300",
                "raw_status_code": 429,
            },
            "RateLimited",
            "rate limit",
            "1300",
        ),
        (
            422,
            {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be at most 1.5", "type": "less_than"}]},
            "BadRequest",
            "body.temperature: Input should be at most 1.5",
            None,
        ),
        (
            422,
            {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}},
            "BadRequest",
            "body.x: Extra inputs",
            None,
        ),
    ],
    ids=["limit", "field", "nested"],
)
def test_mistral_says_what_is_wrong(status, body, kind, reason, code):
    """Beside the message, or in a list of fields."""
    failure = read(status, {}, json.dumps(body).encode())

    assert (kind, reason, code) == (failure.type, failure.reason, failure.code)


@pytest.mark.parametrize(
    "message",
    [
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 8200 and 100",
        "The input exceeds the model's context length.",
    ],
)
def test_together_says_too_long_with_a_403(message):
    """Which is a row's trouble there, and not the key's."""
    failure = read(403, {}, json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode())

    assert ("ContextTooLong", "never") == (failure.type, next_step(failure))


def test_together_also_has_403s_of_the_key():
    """Which stop the call, as anywhere."""
    assert "PermissionDenied" == read(403, {}, b'{"error": {"message": "Not allowed."}}').type


@pytest.mark.parametrize(("total", "tokens_out"), [(26, 14), (16, 4)], ids=["beside the answer", "among the answer's"])
def test_xai_counts_its_reasoning_where_its_total_says(total, tokens_out):
    """It is billed either way, and once."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 4,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 10 if total == 26 else 3},
    }

    assert tokens_out == decode(answer(usage=usage)).tokens_out


def test_deepseek_thinks_aloud_after_blank_lines():
    """While it waits it sends blank lines, and what it thought stands beside the answer."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 4,
        "total_tokens": 16,
        "prompt_cache_hit_tokens": 8,
        "prompt_cache_miss_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }

    said = decode(b"\n\n\n" + answer(usage=usage, reasoning_content="hm"))

    assert ("In Norway.", 8, 4, 3) == (said.text, said.tokens_cached, said.tokens_out, said.tokens_reasoning)


def test_deepseek_may_say_nothing():
    """In its JSON mode it sometimes does; that was paid for."""
    failure = decode(answer("", reasoning_content="hm", usage={"prompt_tokens": 12, "completion_tokens": 4}))

    assert ("EmptyResponse", "paid") == (failure.type, failure.billing)


@pytest.mark.parametrize(
    ("finish", "status", "body", "kind"),
    [
        ("insufficient_system_resource", 200, None, "ServerError"),
        (None, 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, "QuotaExhausted"),
        (None, 429, {"error": {"message": "Too many concurrent requests"}}, "RateLimited"),
    ],
)
def test_deepseek_is_short_of_something(finish, status, body, kind):
    """Of machines, of your money, or of patience."""
    raw = answer("", finish) if body is None else json.dumps(body).encode()

    assert kind == read(status, {}, raw).type


def test_deepseek_is_told_of_a_schema_in_words():
    """Its ``response_format`` knows JSON only; the row's own turns come behind the schema."""
    schema = '{"type":"object","properties":{"a":{"type":"string"}}}'
    asked = schema_part(PROVIDERS["deepseek"], schema, strict=True)
    terms = terms_of(provider="deepseek", dialect="openai", model="m", schema=asked)

    body = json.loads(DIALECTS["openai"].encoder(terms)(ASK))

    first, second = body["messages"]
    assert {"type": "json_object"} == body["response_format"]
    assert ("system", True) == (first["role"], first["content"].endswith(schema))
    assert {"role": "user", "content": "Where is Oslo?"} == second


@pytest.mark.parametrize(
    ("error", "kind", "billing"),
    [
        ({"code": 502, "message": "Provider returned error", "metadata": {}}, "ServerError", "free"),
        ({"code": 429, "message": "x", "metadata": {"error_type": "rate_limit_exceeded"}}, "RateLimited", "free"),
        (
            {"code": 400, "message": "x", "metadata": {"error_type": "context_length_exceeded"}},
            "ContextTooLong",
            "free",
        ),
        (
            {"code": 403, "message": "x", "metadata": {"error_type": "content_policy_violation"}},
            "ContentFiltered",
            "free",
        ),
    ],
)
def test_openrouter_says_errors_inside_a_200(error, kind, billing):
    """With the status that they would have had."""
    failure = decode(json.dumps({"error": error}).encode())

    assert (kind, billing) == (failure.type, failure.billing)


def test_openrouter_breaks_off():
    """Once an answer has begun, the error stands in its choice."""
    body = json.loads(answer("In Nor", "error"))
    body["choices"][0]["error"] = {"code": 502, "message": "Upstream error"}

    failure = decode(json.dumps(body).encode())

    assert ("ServerError", "maybe") == (failure.type, failure.billing)


@pytest.mark.parametrize(
    ("source", "kind"),
    [("openrouter_in_flight_budget", "RateLimited"), ("openrouter_credits", "QuotaExhausted")],
)
def test_openrouter_has_two_kinds_of_402(source, kind):
    """One passes."""
    error = {"code": 402, "message": "x", "metadata": {"limit_source": source}}

    assert kind == read(402, {"retry-after": "2"}, json.dumps({"error": error}).encode()).type


@pytest.mark.parametrize(
    "extra",
    [
        {"provider": {"require_parameters": True, "order": ["x"]}},
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        {"thinking": {"type": "disabled"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"structured_outputs": {"regex": "a+"}},
    ],
    ids=["openrouter", "penalties", "deepseek", "vllm", "vllm-guided"],
)
def test_extra_goes_along_as_it_is(extra):
    """Where a provider wants more than there are options for."""
    terms = terms_of(provider="x", dialect="openai", model="m", extra=extra)

    body = json.loads(DIALECTS["openai"].encoder(terms)(ASK))

    assert extra == {name: body[name] for name in extra}


def test_gemini_has_penalties_among_its_options():
    """`extra` reaches in there, beside what stands there already."""
    extra = {"generationConfig": {"presencePenalty": 0.5, "frequencyPenalty": 0.5}}
    terms = terms_of(provider="gemini", dialect="gemini", model="m", temperature=0.5, extra=extra)

    body = json.loads(DIALECTS["gemini"].encoder(terms)(ASK))

    assert {"temperature": 0.5, **extra["generationConfig"]} == body["generationConfig"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"error": "model 'x' not found, try pulling it first"}, "ModelNotFound"),
        (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, "Overloaded"),
        (400, {"error": {"message": "json: cannot unmarshal", "type": "invalid_request_error"}}, "BadRequest"),
    ],
)
def test_ollama_says_errors_in_a_text(status, body, kind):
    """Or as others do, on the compatible route."""
    failure = read(status, {}, json.dumps(body).encode())

    assert (kind, True) == (failure.type, isinstance(failure, Failure))


@pytest.mark.parametrize("nested", [True, False])
def test_vllm_says_too_long_with_or_without_an_envelope(nested):
    """Older ones have none."""
    error = {
        "object": "error",
        "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }

    assert "ContextTooLong" == read(400, {}, json.dumps({"error": error} if nested else error).encode()).type


def test_vllm_reasons_beside_the_answer():
    """Under its new name and its old one."""
    assert "In Norway." == decode(answer(reasoning="hm", reasoning_content="hm")).text


@pytest.mark.parametrize("status", [498, 503])
def test_groq_and_fireworks_are_full(status):
    """Flex has no room, or a model none; it passes."""
    failure = read(status, {}, b'{"error": {"message": "capacity exceeded", "code": "capacity_exceeded"}}')

    assert ("Overloaded", "transient") == (failure.type, next_step(failure))


def test_groqs_limit_of_requests_is_one_per_day():
    """And its row says so, before a header could be taken for another."""
    assert ["groq"] == [provider.name for provider in PROVIDERS.values() if provider.requests_per == "day"]
