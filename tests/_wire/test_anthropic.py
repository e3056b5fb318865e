"""The Anthropic dialect: what is its own, beside the contract that all dialects keep."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests._wire.vendors import ANTHROPIC, TEXT, packed

from dfllm._core.errors import OptionError
from dfllm._core.types import Message, Request, Response, Terms
from dfllm._wire.anthropic import MAX_TOKENS, decode, encode, encoder, headers, read, response_format

TERMS = Terms("anthropic", "anthropic", "claude", max_tokens=MAX_TOKENS)
ASK = (Message("user", "Where is Oslo?"),)
FULL = replace(
    TERMS,
    temperature=0.5,
    top_p=0.9,
    max_tokens=10,
    stop=("\n",),
    reasoning="low",
    schema=response_format('{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}', strict=True),
    service_tier="standard_only",
)


def test_plain_body_holds_model_limit_and_messages_only():
    """What the user did not ask for is not sent, save the limit that the API wants."""
    sent = json.loads(encode(Request(TERMS, ASK)))

    turns = [{"role": "user", "content": "Where is Oslo?"}]
    assert {"model": "claude", "messages": turns, "max_tokens": 8192} == sent


def test_full_body_holds_every_term():
    """Each term stands under the API's own name."""
    sent = json.loads(encode(Request(FULL, ASK)))

    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert {
        "model": "claude",
        "messages": [{"role": "user", "content": "Where is Oslo?"}],
        "max_tokens": 10,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["\n"],
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        "service_tier": "standard_only",
    } == sent


def test_system_stands_at_the_top():
    """One as text, several as blocks, in their order; the turns keep theirs."""
    rules = (Message("system", "Be brief."), Message("developer", "Be kind."))

    one, both = (json.loads(encode(Request(TERMS, (*some, *ASK)))) for some in (rules[:1], rules))

    assert "Be brief." == one["system"]
    assert [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}] == both["system"]
    assert [{"role": "user", "content": "Where is Oslo?"}] == one["messages"] == both["messages"]


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, "2026-10-21"),
        ({"stop": ("x",), "reasoning": "low"}, "2026-10-21"),
        ({"temperature": 0.0}, "2023-06-01"),
        ({"top_p": 1.0}, "2023-06-01"),
        ({"extra": '{"top_k":5}'}, "2023-06-01"),
    ],
)
def test_version_follows_from_what_is_asked(changes, version):
    """Only the older version of the API takes sampling parameters."""
    assert {"x-api-key": "{key}", "anthropic-version": version} == headers(replace(TERMS, **changes))


@pytest.mark.parametrize("word", ["adaptive", "disabled", "between_tools"])
def test_reasoning_may_name_a_way_to_think(word):
    """The API has two places for it: an effort, and whether to think at all."""
    sent = json.loads(encode(Request(replace(TERMS, reasoning=word), ASK)))

    assert ({"type": word}, None) == (sent["thinking"], sent.get("output_config"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 1}, "no seed"),
        ({"temperature": 1.5}, "from 0 to 1"),
        ({"max_tokens": None}, "max_tokens"),
        *(({"extra": json.dumps({name: 1})}, name) for name in ("system", "max_tokens", "stream", "output_config")),
    ],
)
def test_what_cannot_be_sent_is_refused(changes, says):
    """The call hears of it before anything is sent."""
    with pytest.raises(OptionError, match=says):
        encoder(replace(TERMS, **changes))


def ended(stop, **changes):
    """Return the outcome of the plain answer, ended for another reason."""
    return decode(packed({**ANTHROPIC.plain, "stop_reason": stop, **changes}))


@pytest.mark.parametrize("stop", ["end_turn", "stop_sequence", None, "something_new"])
def test_text_that_came_to_its_end_is_an_answer(stop):
    """Also for a reason that is not known yet."""
    outcome = ended(stop)

    assert isinstance(outcome, Response)
    assert (TEXT, stop or "end_turn") == (outcome.text, outcome.finish)


@pytest.mark.parametrize(
    ("stop", "kind", "reason"),
    [
        ("max_tokens", "Truncated", "4 output tokens"),
        ("model_context_window_exceeded", "Truncated", "the model's context was full"),
        ("pause_turn", "Truncated", "the provider paused its turn"),
        ("refusal", "Refused", "the model declined"),
        ("tool_use", "InvalidOutput", "function call"),
    ],
)
def test_text_that_was_ended_is_kept_beside_its_failure(stop, kind, reason):
    """Each reason says what it means."""
    outcome = ended(stop)

    assert (kind, reason, TEXT) == (outcome.type, outcome.reason, outcome.response.text)


def test_thought_away():
    """A limit that thinking has used up says so."""
    outcome = ended("max_tokens", content=[{"type": "thinking", "thinking": "hm", "signature": "s"}])

    assert "all 4 tokens were reasoning" == outcome.reason


def test_tokens_in_hold_those_of_the_cache():
    """The vendor counts read and written ones apart."""
    outcome = decode(packed(ANTHROPIC.plain))

    assert (7 + 3 + 2, 2) == (outcome.tokens_in, outcome.tokens_cached)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (402, "billing_error", "x", "QuotaExhausted"),
        (400, "invalid_request_error", "You have reached your specified API usage limits.", "QuotaExhausted"),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 9 + 8 > 10",
            "ContextTooLong",
        ),
        (403, "permission_error", "x", "PermissionDenied"),
        (413, "request_too_large", "x", "ContextTooLong"),
        (504, "timeout_error", "x", "ServerError"),
        (529, "overloaded_error", "x", "Overloaded"),
    ],
)
def test_errors_of_its_own(status, kind, message, expected):
    """The vendor's types and phrases are known."""
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    assert expected == read(status, {}, packed(error)).type


def test_reasoning_may_be_a_budget():
    """For older models, which know only that; it has to leave room for an answer."""
    sent = json.loads(encode(Request(replace(TERMS, reasoning="2048"), ASK)))

    assert ({"type": "enabled", "budget_tokens": 2048}, None) == (sent["thinking"], sent.get("output_config"))


@pytest.mark.parametrize("budget", ["0", "1023", "8192", "10000"])
def test_a_budget_that_leaves_no_room_is_refused(budget):
    """The API wants 1024 at least, and less than the limit of the whole answer."""
    with pytest.raises(OptionError, match="from 1024 to below max_tokens, which is 8192"):
        encode(Request(replace(TERMS, reasoning=budget), ASK))
