"""The OpenAI dialect: bodies as the API takes them, and every way a 200 can be no answer."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from dfllm._core.errors import OptionError
from dfllm._core.keys import key_of
from dfllm._core.types import Failure, Message, Request, Response, Terms
from dfllm._wire.openai import decode, encode, encoder, read, response_format

TERMS = Terms("openai", "openai", "gpt-mini")
ASK = (Message("user", "Where is Oslo?"),)
FULL = replace(
    TERMS,
    temperature=0.5,
    top_p=0.9,
    max_tokens=10,
    max_tokens_field="max_completion_tokens",
    stop=("\n",),
    seed=1,
    seed_field="random_seed",
    reasoning="low",
    schema=response_format('{"type":"object","properties":{},"required":[],"additionalProperties":false}', strict=True),
    extra='{"top_k":1}',
    service_tier="flex",
    prompt_cache_key="dfllm-1",
    tools='[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}]',
    tool_choice="look",
)


def body(**changes):
    """Return a chat completion as the API sends it, with these changes."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "In Norway.", "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "stop",
    }
    message = changes.pop("message", {})
    choice |= {"message": choice["message"] | message} | changes.pop("choice", {})
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-mini-2026",
        "choices": [choice],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 4,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    return json.dumps(whole | changes).encode()


def test_plain_body_holds_model_and_messages_only():
    """What the user did not ask for is not sent."""
    sent = encode(Request(TERMS, (Message("system", "Be brief."), *ASK)))

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Oslo?"}]
    assert {"model": "gpt-mini", "messages": turns} == json.loads(sent)


def test_full_body_holds_every_term():
    """Each term stands under the API's own name, extra last."""
    sent = json.loads(encode(Request(FULL, ASK)))

    assert {
        "model": "gpt-mini",
        "messages": [{"role": "user", "content": "Where is Oslo?"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 10,
        "stop": ["\n"],
        "random_seed": 1,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "strict": True,
                "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
            },
        },
        "service_tier": "flex",
        "top_k": 1,
        "prompt_cache_key": "dfllm-1",
        "tools": [
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
    } == sent


def test_prompt_cache_key_of_the_user_goes_before_ours():
    """What stands in `extra` is sent as it is."""
    own = replace(FULL, extra='{"prompt_cache_key":"mine"}')

    assert "mine" == json.loads(encode(Request(own, ASK)))["prompt_cache_key"]


#: Those that only embeddings have are in their own bodies.
ELSEWHERE = ("provider", "dialect", "dimensions", "task")


@pytest.mark.parametrize("name", [field.name for field in fields(Terms) if field.name not in ELSEWHERE])
def test_bodies_differ_in_nothing_that_is_not_in_the_key(name):
    """Take a field out of the full terms: if the key stays, all that has changed on the wire is the field itself."""
    default = next(field.default for field in fields(Terms) if field.name == name)
    less = replace(FULL, **{name: "other" if name == "model" else default})
    asked, other = Request(FULL, ASK), Request(less, ASK)

    sent, less_sent = (json.loads(encode(one)) for one in (asked, other))
    changed = {field for field in sent | less_sent if sent.get(field) != less_sent.get(field)}

    assert changed
    assert (key_of(asked) == key_of(other)) == (changed <= {"prompt_cache_key", "service_tier"})


def test_rows_begin_alike_up_to_their_first_value():
    """Providers keep what prompts begin with: the system message and the examples stand before the row, as written."""
    shared = (Message("system", "Be brief."), Message("user", "Where is Rome?"), Message("assistant", "In Italy."))
    rows = [encode(Request(FULL, (*shared, Message("user", f"Where is {city}?")))) for city in ("Oslo", "Lima")]

    same = rows[0][: rows[0].index(b"Oslo")]

    assert rows[1].startswith(same + b"Lima")
    assert same.endswith(b'{"role":"assistant","content":"In Italy."},{"role":"user","content":"Where is ')


@pytest.mark.parametrize("terms", [TERMS, FULL], ids=["plain", "full"])
def test_bodies_are_valid_by_the_official_types(terms):
    """The official SDK's own request type takes our bodies."""
    sent = json.loads(encode(Request(terms, ASK)))

    checked = TypeAdapter(CompletionCreateParamsNonStreaming).validate_python(sent)

    assert sent["model"] == checked["model"]


def test_our_sample_answer_is_valid_by_the_official_types():
    """The answers these tests read are such as the official SDK reads."""
    assert "In Norway." == ChatCompletion.model_validate_json(body()).choices[0].message.content


@given(st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text(st.characters(codec="utf-8"))), min_size=1))
def test_any_text_arrives_as_it_was(messages):
    """The constant head and tail never mix with a message."""
    asked = tuple(Message(*one) for one in messages)

    sent = json.loads(encoder(FULL)(asked))

    assert messages == [(turn["role"], turn["content"]) for turn in sent["messages"]]
    assert 0.5 == sent["temperature"]


@pytest.mark.parametrize("name", ["model", "messages", "stream", "n", "response_format"])
def test_extra_cannot_set_what_is_ours(name):
    """Answers would be lost or mixed up; the call hears of it before anything is sent."""
    with pytest.raises(OptionError, match=name):
        encoder(replace(TERMS, extra=json.dumps({name: 1})))


def test_plain_answer_is_read_whole():
    """Text, finish, tokens and the served model."""
    assert Response("In Norway.", "stop", 12, 4, 2, 1, "gpt-mini-2026") == decode(body())


ANSWERS = {
    "refusal": (body(message={"content": None, "refusal": "I cannot."}), "Refused", "I cannot.", "paid", True),
    "filter": (
        body(choice={"finish_reason": "content_filter"}),
        "ContentFiltered",
        "answer withheld by the provider's filter",
        "paid",
        True,
    ),
    "length": (body(choice={"finish_reason": "length"}), "Truncated", "4 output tokens", "paid", True),
    "reasoned away": (
        body(choice={"finish_reason": "length"}, message={"content": ""}),
        "Truncated",
        "all 4 tokens were reasoning",
        "paid",
        True,
    ),
    "blank": (body(message={"content": " \n"}), "EmptyResponse", "blank", "paid", True),
    "null": (body(message={"content": None}), "EmptyResponse", "blank", "paid", True),
    "tool call": (
        body(choice={"finish_reason": "tool_calls"}, message={"content": None, "tool_calls": [{"id": "1"}]}),
        "InvalidOutput",
        "a call names no tool",
        "paid",
        True,
    ),
    "no choices": (body(choices=[]), "EmptyResponse", "no choices", "paid", False),
    "choices null": (body(choices=None, usage=None), "EmptyResponse", "no choices", "maybe", False),
    "not JSON": (b"<html>", "BadResponse", "not JSON at 0", "maybe", False),
    "cut JSON": (body()[:200], "BadResponse", "not JSON at", "maybe", False),
    "a list": (b"[1]", "BadResponse", "a JSON list, not an object", "maybe", False),
    "wrong shape": (b'{"choices": "none"}', "BadResponse", "not a chat completion", "maybe", False),
    "nested deep": (b'{"a":' * 100_000, "BadResponse", "", "maybe", False),
    "error, money": (
        b'{"error": {"message": "x", "code": "insufficient_quota"}}',
        "QuotaExhausted",
        "the account has no quota left",
        "free",
        False,
    ),
    "error, limit": (b'{"error": {"message": "wait", "code": 429}}', "RateLimited", "rate limit", "free", False),
    "error, unknown": (b'{"error": {"message": "odd"}}', "ProviderError", "odd", "free", False),
    "error, text": (b'{"error": "model is loading"}', "ProviderError", "model is loading", "free", False),
    "ended by a fault": (
        body(choice={"finish_reason": "insufficient_system_resource"}, message={"content": ""}),
        "ServerError",
        "the provider ended the answer with insufficient_system_resource",
        "maybe",
        False,
    ),
}


@pytest.mark.parametrize(("sent", "kind", "reason", "billing", "kept"), ANSWERS.values(), ids=ANSWERS)
def test_200_that_is_no_answer(sent, kind, reason, billing, kept):
    """Each says its type, its reason, what it cost, and whether it stays the row's outcome."""
    outcome = decode(sent)

    assert isinstance(outcome, Failure)
    assert (kind, billing, kept) == (outcome.type, outcome.billing, outcome.response is not None)
    assert outcome.reason.startswith(reason)


def test_cut_text_is_kept_beside_its_failure():
    """An answer cut short holds the text it got to."""
    outcome = decode(body(choice={"finish_reason": "length"}))

    assert "In Norway." == outcome.response.text


def test_lone_surrogate_is_an_answer():
    """Legal JSON that fast decoders refuse is read once more by the standard one."""
    outcome = decode(body(message={"content": "cut \ud83d"}))

    assert "cut \ud83d" == outcome.text


def test_chunks_of_text_are_joined():
    """Servers that send content as parts are read, thinking left out."""
    parts = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "In "}, {"type": "text", "text": "Norway."}]

    assert "In Norway." == decode(body(message={"content": parts})).text


def test_odd_usage_does_not_cost_the_answer():
    """A count that is no number is left out, the text stays."""
    outcome = decode(body(usage={"prompt_tokens": "many"}))

    assert ("In Norway.", None) == (outcome.text, outcome.tokens_in)


@pytest.mark.parametrize("finish", [None, "eos", "stop_sequence"])
def test_text_with_another_finish_is_an_answer(finish):
    """Compatible servers have finish reasons of their own."""
    assert "In Norway." == decode(body(choice={"finish_reason": finish})).text


def test_html_with_200_is_named():
    """A proxy's page is no answer, and the page itself is not shown."""
    outcome = read(200, {"content-type": "text/html; charset=utf-8"}, b"<html>secret page</html>")

    assert "BadResponse: text/html, not JSON (maybe)" == str(outcome)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(sent):
    """Whatever a server sends, a row gets an outcome."""
    assert isinstance(decode(sent), (Response, Failure))
    assert isinstance(read(500, {}, sent), Failure)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(json_values, st.sampled_from(["choices", "usage", "error", "model", "message", "choice"]))
def test_no_json_breaks_the_reader(value, place):
    """Whatever stands in a known field, a row gets an outcome."""
    sent = json.loads(body())
    if place == "message":
        sent["choices"][0]["message"] = value
    elif place == "choice":
        sent["choices"] = [value]
    else:
        sent[place] = value

    assert isinstance(decode(json.dumps(sent).encode()), (Response, Failure))


def test_an_error_in_a_list_of_one_is_read():
    """So does Google's OpenAI endpoint put it."""
    error = b'{"error":{"code":401,"message":"bad","status":"UNAUTHENTICATED"}}'

    assert read(401, {}, error) == read(401, {}, b"[" + error + b"]")
    assert "AuthFailed" == read(401, {}, b"[" + error + b"]").type
