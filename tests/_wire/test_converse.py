"""Converse: what only this wire says, in bodies as AWS has them."""

from __future__ import annotations

import json

import pytest

from dfllm._core.files import file_url
from dfllm._core.retry import next_step
from dfllm._core.terms import terms_of
from dfllm._core.types import Message, Part, Parted
from dfllm._wire.converse import decode, encoder, read
from dfllm._wire.dialects import DIALECTS

TALK = (Message("system", "Be brief."), Message("user", "Where?"), Message("assistant", "Up."), Message("user", "So?"))


def sent(messages=TALK, **options):
    """Return the body of a question."""
    return json.loads(encoder(terms_of(provider="bedrock", dialect="converse", model="m", **options))(messages))


def test_turns_and_rules_have_parts():
    """Rules stand at the top, as they do at no other of AWS's wires."""
    assert {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Where?"}]},
            {"role": "assistant", "content": [{"text": "Up."}]},
            {"role": "user", "content": [{"text": "So?"}]},
        ],
    } == sent()


def test_turns_of_one_role_are_one():
    """Roles must alternate there, and rules between them stand elsewhere."""
    turns = sent(
        (Message("user", "a"), Message("system", "Be brief."), Message("user", "b"), Message("assistant", "c"))
    )

    assert [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": [{"text": "c"}]},
    ] == turns["messages"]


def test_documents_are_numbered_over_all_turns():
    """Each needs a name that no other has, and its own would be one more thing that a stranger may have written."""
    pdf, note = Part("file", file_url(b"%PDF-1.7 a")), Part("file", file_url(b"A note."))
    one, two = (Parted("user", "See?", (*parts, Part("text", "See?"))) for parts in ((pdf, note), (pdf,)))

    turns = sent((one, Message("assistant", "Yes."), two))["messages"]

    named = [part["document"]["name"] for turn in turns for part in turn["content"] if "document" in part]
    assert ["document 1", "document 2", "document 3"] == named


def test_options_have_its_own_names():
    """Each in the group it belongs to."""
    body = sent(
        temperature=0.5,
        top_p=0.9,
        max_tokens=10,
        stop="x",
        reasoning="low",
        service_tier="flex",
        service_tiers=["flex"],
        extra={"additionalModelRequestFields": {"top_k": 40}},
    )

    assert {"maxTokens": 10, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]} == body["inferenceConfig"]
    assert ({"effort": "low"}, {"type": "flex"}) == (body["outputConfig"], body["serviceTier"])
    assert {"top_k": 40} == body["additionalModelRequestFields"]


def test_a_schema_is_text_within_the_json():
    """As its own type has it."""
    part = DIALECTS["converse"].response_format('{"type":"object","properties":{"a":{"type":"string"}}}', strict=True)
    inside = sent(schema=part)["outputConfig"]["textFormat"]

    assert "json_schema" == inside["type"]
    assert {"a": {"type": "string"}} == json.loads(inside["structure"]["jsonSchema"]["schema"])["properties"]


def test_the_model_stands_in_the_path():
    """Its colons and slashes are quoted, or it would be another path."""
    terms = terms_of(provider="bedrock", dialect="converse", model="arn:aws:bedrock:x/y:0")

    assert "/model/arn%3Aaws%3Abedrock%3Ax%2Fy%3A0/converse" == DIALECTS["converse"].path_for(terms)


@pytest.mark.parametrize(
    ("usage", "tokens_in"),
    [
        ({"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}, 7),
        ({"inputTokens": 7, "cacheReadInputTokens": 5, "outputTokens": 4, "totalTokens": 16}, 12),
        ({"inputTokens": 12, "cacheReadInputTokens": 5, "outputTokens": 4, "totalTokens": 16}, 12),
        ({"inputTokens": 7, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 1, "outputTokens": 4}, 13),
    ],
)
def test_cached_tokens_are_counted_once(usage, tokens_in):
    """Whether they are among the input is said by the total alone; without one they are not, as at Anthropic."""
    body = {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": "end_turn", "usage": usage}

    assert tokens_in == decode(json.dumps(body).encode()).tokens_in


@pytest.mark.parametrize(
    ("status", "name", "message", "kind", "step"),
    [
        (429, "ThrottlingException", "Too many requests, please wait.", "RateLimited", "limiter"),
        (429, "ModelNotReadyException", "Wait for the model.", "Overloaded", "transient"),
        (408, "ModelTimeoutException", "Model has timed out.", "ServerError", "ambiguous"),
        (424, "ModelErrorException", "The model failed.", "ServerError", "transient"),
        (500, "InternalServerException", "Try your request again.", "ServerError", "transient"),
        (503, "ServiceUnavailableException", "Try again.", "Overloaded", "transient"),
        (400, "ServiceQuotaExceededException", "Your quota is used up.", "QuotaExhausted", "never"),
        (400, "ValidationException", "Malformed input request.", "BadRequest", "never"),
        (400, "ValidationException", "Input is too long for requested model.", "ContextTooLong", "never"),
        (400, "ValidationException", "The provided model identifier is invalid.", "ModelNotFound", "never"),
        (403, "AccessDeniedException", "You don't have access to the model.", "PermissionDenied", "never"),
        (403, "ExpiredTokenException", "The security token included is expired", "AuthFailed", "never"),
        (403, "UnrecognizedClientException", "The security token is invalid.", "AuthFailed", "never"),
        (404, "ResourceNotFoundException", "Could not resolve the model.", "ModelNotFound", "never"),
    ],
)
@pytest.mark.parametrize("where", ["header", "body"])
def test_kinds_of_errors_say_more_than_statuses(where, status, name, message, kind, step):
    """The header may have a place behind the name, the body one before it."""
    headers = {"x-amzn-requestid": "a-b"} | ({"x-amzn-errortype": f"{name}:http://x/"} if where == "header" else {})
    body = {"message": message} | ({"__type": f"com.amazon.coral.service#{name}"} if where == "body" else {})

    failure = read(status, headers, json.dumps(body).encode())

    assert (kind, status, name, "a-b", step) == (
        failure.type,
        failure.status,
        failure.code,
        failure.request_id,
        next_step(failure),
    )


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("guardrail_intervened", "ContentFiltered"),
        ("content_filtered", "ContentFiltered"),
        ("model_context_window_exceeded", "Truncated"),
        ("malformed_model_output", "InvalidOutput"),
        ("malformed_tool_use", "InvalidOutput"),
    ],
)
def test_ends_that_are_no_answers(stop, kind):
    """Each was paid for."""
    body = {"output": {"message": {"content": [{"text": "Sorry."}]}}, "stopReason": stop}

    outcome = decode(json.dumps(body).encode())

    assert (kind, "paid") == (outcome.type, outcome.billing)
