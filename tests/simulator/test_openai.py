"""Answers, errors and models have the vendor's shapes."""

import json
import math

import pytest

from dfllm.simulator import openai
from dfllm.simulator.answers import Answer
from dfllm.simulator.asks import Ask
from dfllm.simulator.limiter import Verdict

ASK = Ask(hash="ab" * 32, model="small", text="hi", prompt_tokens=5)

HEADERS = {"retry-after": "1", "retry-after-ms": "120"}


def test_completion_has_every_field():
    """A completion has the fields of the real one, in its order."""
    body = openai.completion(ASK, [Answer("yes", "stop", 1), Answer("no", "length", 1)], attempt=1)

    assert ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"] == list(body)
    assert [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": finish,
        }
        for index, text, finish in ((0, "yes", "stop"), (1, "no", "length"))
    ] == body["choices"]


def test_usage_adds_up():
    """The total is the sum, and all choices are charged."""
    body = openai.completion(ASK, [Answer("yes", "stop", 2), Answer("no", "stop", 3)], attempt=1)

    usage = body["usage"]
    assert (5, 5, 10) == (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])


def test_attempts_have_ids_of_their_own():
    """Two answers to one question can be told apart."""
    ids = {openai.completion(ASK, [], attempt)["id"] for attempt in (1, 2)}

    assert 2 == len(ids)


def test_good_is_charged_by_usage():
    """What is sent instead of a body does not change what it costs."""
    body = openai.completion(ASK, [Answer("yes", "stop", 1)], attempt=1)

    reply = openai.good(body, sent=b"{")

    assert (200, b"{", True, 5, 1) == (
        reply.status,
        reply.body,
        reply.billed,
        reply.prompt_tokens,
        reply.completion_tokens,
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [("", "You didn't provide"), ("sk-1", "provided: ****."), ("sk-abcd-0123456789", "provided: sk-abcd*******6789.")],
)
def test_bad_key_shows_some_of_it(key, shown):
    """The message gives away the ends of a key, as the vendor's does: a client must not pass it on."""
    reply = openai.bad_key(key)

    assert shown in json.loads(reply.body)["error"]["message"]
    assert 401 == reply.status


def test_models_are_listed_and_found():
    """Each model in the list can be asked for by its name; another one cannot."""
    listed = json.loads(openai.models().body)["data"]

    assert ["small", "large", "moody", "echo", "embed-small", "embed-large"] == [model["id"] for model in listed]
    assert listed == [json.loads(openai.model(model["id"]).body) for model in listed]
    assert 404 == openai.model("gpt").status


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("requests", "requests per min (RPM): Limit 3, Used 2, Requested 1. Please try again in 120ms. Visit"),
        ("tokens", "tokens per min (TPM): Limit 3, Used 2, Requested 1. Please try again in 120ms. Visit"),
    ],
)
def test_limits_are_refused_in_the_vendors_words(which, said):
    """A refusal names limit, use and wait, and its type is the limit's."""
    reply = openai.limited(
        ASK,
        Verdict(admitted=False, retry_after_seconds=0.12, which=which, limit=3, used=2, requested=1, headers=HEADERS),
    )

    error = json.loads(reply.body)["error"]
    assert (429, which, "rate_limit_exceeded") == (reply.status, error["type"], error["code"])
    assert error["message"].startswith(f"Rate limit reached for small in organization org-simulator on {said}")
    assert HEADERS == reply.headers


def test_too_large_is_not_to_be_tried_again():
    """A request over the whole limit is told to shrink, not to wait."""
    reply = openai.limited(
        ASK, Verdict(admitted=False, retry_after_seconds=math.inf, which="tokens", limit=3, used=2, requested=10)
    )

    error = json.loads(reply.body)["error"]
    assert ("tokens", "rate_limit_exceeded") == (error["type"], error["code"])
    assert error["message"].startswith(
        "Request too large for small in organization org-simulator on tokens per min (TPM): Limit 3, Requested 10. "
    )
