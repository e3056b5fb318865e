"""The Gemini dialect: what is its own, beside the contract that all dialects keep."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests._wire.vendors import GEMINI, TEXT, packed

from dfllm._core.errors import OptionError
from dfllm._core.types import Message, Request, Response, Terms
from dfllm._wire.dialects import DIALECTS
from dfllm._wire.gemini import decode, encode, encoder, headers, read, response_format

TERMS = Terms("gemini", "gemini", "gemini-flash")
ASK = (Message("user", "Where is Oslo?"),)
SCHEMA = '{"type":"object","properties":{"a":{"type":"string","pattern":"x"}},"required":["a"]}'
FULL = replace(
    TERMS,
    temperature=0.5,
    top_p=0.9,
    max_tokens=10,
    stop=("\n",),
    seed=1,
    reasoning="low",
    schema=response_format(SCHEMA, strict=True),
    extra='{"generationConfig":{"topK":40},"serviceTier":"flex"}',
)


def test_plain_body_holds_the_turns_only():
    """What the user did not ask for is not sent, and the model stands in the path."""
    talk = (*ASK, Message("assistant", "In the north."), Message("user", "Of what?"))

    sent = json.loads(encode(Request(TERMS, talk)))

    said = [("user", "Where is Oslo?"), ("model", "In the north."), ("user", "Of what?")]
    assert {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in said]} == sent


def test_full_body_holds_every_term():
    """Each term stands under the API's own name, and what the user adds beside them."""
    sent = json.loads(encode(Request(FULL, (Message("system", "Be brief."), *ASK))))

    schema = {"type": "object", "properties": {"a": {"type": "string", "description": '(pattern: "x")'}}}
    assert {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Where is Oslo?"}]}],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 10,
            "stopSequences": ["\n"],
            "seed": 1,
            "thinkingConfig": {"thinkingLevel": "LOW"},
            "responseMimeType": "application/json",
            "responseJsonSchema": schema | {"required": ["a"]},
            "topK": 40,
        },
        "serviceTier": "flex",
    } == sent


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("high", {"thinkingLevel": "HIGH"}),
        ("0", {"thinkingBudget": 0}),
        ("-1", {"thinkingBudget": -1}),
        ("1024", {"thinkingBudget": 1024}),
    ],
)
def test_reasoning_is_a_level_or_a_number(word, sent):
    """Older models know only a budget."""
    body = json.loads(encode(Request(replace(TERMS, reasoning=word), ASK)))

    assert sent == body["generationConfig"]["thinkingConfig"]


def test_the_model_stands_in_the_path():
    """Nothing in its name leads elsewhere."""
    paths = [DIALECTS["gemini"].path_for(replace(TERMS, model=name)) for name in ("gemini-flash", "../x?y")]

    assert ["/v1/models/gemini-flash:generateContent", "/v1/models/..%2Fx%3Fy:generateContent"] == paths


def test_the_key_has_a_header_of_its_own():
    """It is not in the URL."""
    assert {"x-goog-api-key": "{key}"} == headers(TERMS)


@pytest.mark.parametrize(
    "extra",
    [
        {"contents": []},
        {"systemInstruction": {}},
        {"generationConfig": {"candidateCount": 2}},
        {"generationConfig": {"maxOutputTokens": 2}},
        {"generationConfig": {"responseSchema": {}}},
        {"generationConfig": 1},
    ],
)
def test_extra_cannot_set_what_is_ours(extra):
    """Answers would be lost or mixed up."""
    with pytest.raises(OptionError, match="extra"):
        encoder(replace(TERMS, extra=json.dumps(extra)))


def ended(finish, **changes):
    """Return the outcome of the plain answer, ended for another reason."""
    candidate = GEMINI.plain["candidates"][0] | {"finishReason": finish} | changes
    return decode(packed({**GEMINI.plain, "candidates": [candidate]}))


@pytest.mark.parametrize("finish", ["STOP", None, "OTHER", "SOMETHING_NEW"])
def test_text_that_came_to_its_end_is_an_answer(finish):
    """Also for a reason that is not known yet."""
    outcome = ended(finish)

    assert isinstance(outcome, Response)
    assert (TEXT, finish or "STOP") == (outcome.text, outcome.finish)


@pytest.mark.parametrize(
    ("finish", "kind"),
    [
        *((one, "ContentFiltered") for one in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")),
        *((one, "ContentFiltered") for one in ("MODEL_ARMOR", "LANGUAGE", "IMAGE_SAFETY")),
        ("MAX_TOKENS", "Truncated"),
        ("CONTINUATION", "Truncated"),
        ("MALFORMED_FUNCTION_CALL", "InvalidOutput"),
        ("UNEXPECTED_TOOL_CALL", "InvalidOutput"),
        ("MALFORMED_RESPONSE", "InvalidOutput"),
    ],
)
def test_text_that_was_ended_is_kept_beside_its_failure(finish, kind):
    """Each reason has its word."""
    outcome = ended(finish)

    assert (kind, "paid", TEXT) == (outcome.type, outcome.billing, outcome.response.text)


def test_nothing_for_an_unknown_reason_says_the_reason():
    """`OTHER` without a text is no answer."""
    assert "OTHER: no reason given" == ended("OTHER", content={"role": "model"}).reason


def test_thought_away():
    """A limit that thoughts have used up says so."""
    assert "all 4 tokens were reasoning" == ended("MAX_TOKENS", content={"role": "model"}).reason


def test_blocked_prompt():
    """It has no candidate, and reading it was paid for."""
    said = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}

    outcome = decode(packed(said))

    assert ("ContentFiltered", "prompt refused by policy, SAFETY", "paid") == (
        outcome.type,
        outcome.reason,
        outcome.billing,
    )
    assert (9, 0) == (outcome.response.tokens_in, outcome.response.tokens_out)


def test_limits_are_told_in_the_details():
    """The text speaks of a quota; how long to wait, and for which limit, stands beside it."""
    minute, day = (
        {
            "error": {
                "code": 429,
                "message": "You exceeded your current quota",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"violations": [{"quotaId": f"GenerateRequestsPer{per}PerProject"}]},
                    {"retryDelay": "34.5s"},
                ],
            }
        }
        for per in ("Minute", "Day")
    )

    assert ("RateLimited", 34.5, None) == said_of(minute)
    assert ("RateLimited", None, False) == said_of(day)


def said_of(error):
    """Return type, wait and whether to try again."""
    failure = read(429, {}, packed(error))
    return failure.type, failure.wait_seconds, failure.again


def test_a_bad_key_is_one_though_the_status_is_400():
    """The reason stands in the details."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details}

    assert "AuthFailed" == read(400, {}, packed({"error": error})).type


def test_a_prompt_that_does_not_fit():
    """The vendor's phrase for it is known."""
    text = "The input token count (9) exceeds the maximum number of tokens allowed (8)."

    assert "ContextTooLong" == read(400, {}, packed(GEMINI.error(400, text))).type
