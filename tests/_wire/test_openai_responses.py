"""The dialect of OpenAI's Responses: what is its own, beside the contract that all dialects keep."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests._wire.vendors import RESPONSES, TEXT, packed

from dfllm._core.errors import OptionError
from dfllm._core.types import Message, Request, Terms
from dfllm._wire.openai_responses import decode, encode, encoder, response_format

TERMS = Terms("openai-responses", "openai-responses", "gpt-mini")
ASK = (Message("system", "Be brief."), Message("user", "Where is Oslo?"))
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
FULL = replace(
    TERMS,
    temperature=0.5,
    top_p=0.9,
    max_tokens=10,
    reasoning="low",
    schema=response_format(json.dumps(SCHEMA), strict=True),
    extra='{"reasoning":{"summary":"auto"},"text":{"verbosity":"low"},"service_tier":"flex"}',
)


def test_plain_body_holds_model_and_turns_and_is_not_to_be_stored():
    """Else the vendor keeps what was asked for a month."""
    sent = json.loads(encode(Request(TERMS, ASK)))

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Oslo?"}]
    assert {"model": "gpt-mini", "input": turns, "store": False} == sent


def test_full_body_holds_every_term():
    """What the user adds stands beside it, also inside of an object of ours."""
    sent = json.loads(encode(Request(FULL, ASK[1:])))

    assert {
        "model": "gpt-mini",
        "input": [{"role": "user", "content": "Where is Oslo?"}],
        "store": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 10,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {
            "format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA},
            "verbosity": "low",
        },
        "service_tier": "flex",
    } == sent


@pytest.mark.parametrize(
    "extra",
    [{name: 1} for name in ("input", "instructions", "background", "stream")] + [{"text": {"format": {}}}],
)
def test_extra_cannot_set_what_is_ours(extra):
    """Answers would be lost or mixed up."""
    with pytest.raises(OptionError, match="extra"):
        encoder(replace(TERMS, extra=json.dumps(extra)))


def said(**changes):
    """Return the outcome of the plain answer with some fields changed."""
    return decode(packed({**RESPONSES.plain, **changes}))


@pytest.mark.parametrize(
    ("code", "kind"),
    [("server_error", "ServerError"), ("rate_limit_exceeded", "RateLimited"), ("invalid_prompt", "ContentFiltered")],
)
def test_failed_inside_a_200(code, kind):
    """The response's own status counts, and its error has the words that are known."""
    outcome = said(status="failed", error={"code": code, "message": "x"}, output=[])

    assert (kind, "free") == (outcome.type, outcome.billing)


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_a_response_that_is_none_yet(status):
    """Nobody asked for it to go on without us."""
    assert f"the response is {status}" == said(status=status, output=[]).reason


def test_cut_for_another_reason_is_cut():
    """Whatever the reason is called."""
    outcome = said(status="incomplete", incomplete_details={"reason": "max_messages"})

    assert ("Truncated", "the provider ended the answer, max_messages", TEXT) == (
        outcome.type,
        outcome.reason,
        outcome.response.text,
    )


def test_the_final_answer_is_the_answer():
    """What was said on the way there is not."""
    items = [
        {"type": "message", "phase": phase, "content": [{"type": "output_text", "text": text}]}
        for phase, text in (("commentary", "Let me see."), ("final_answer", "Norway."))
    ]

    assert "Norway." == said(output=items).text


def test_thought_away():
    """A limit that reasoning has used up says so."""
    outcome = said(status="incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[])

    assert "all 4 tokens were reasoning" == outcome.reason
