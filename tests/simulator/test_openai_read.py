"""Good requests are read, broken ones are refused in the vendor's words."""

import json

import pytest

from dfllm.simulator.openai import Rejected
from dfllm.simulator.openai_read import read

USER = {"role": "user", "content": "hi"}
BODY = {"model": "small", "messages": [USER]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def asked(**changes):
    """Read a small request with some fields changed."""
    return read(json.dumps(BODY | changes).encode())


def form(**changes):
    """Return a response format with some fields changed."""
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA} | changes}


def test_text_is_the_last_user_message():
    """Text parts of the last user message are joined; other parts are not text."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    parts = [{"type": "text", "text": "one"}, image, {"type": "text", "text": "two"}]
    ask = asked(messages=[USER, {"role": "assistant", "content": None}, {"role": "user", "content": parts}])

    assert "one\ntwo" == ask.text


def test_prompt_tokens_follow_the_rule():
    """A message costs four tokens, and its text a token for four bytes."""
    ask = asked(messages=[{"role": "system", "content": "12345678"}, {"role": "user", "content": "é" * 3}])

    assert (4 + 2) + (4 + 2) == ask.prompt_tokens


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"max_completion_tokens": 3}, "allowance", 3),
        ({"max_tokens": 4}, "allowance", 4),
        ({}, "allowance", None),
        ({"n": 3}, "choices", 3),
        ({"n": None}, "choices", 1),
        ({"stop": "a"}, "stops", ("a",)),
        ({"stop": ["a", "b"]}, "stops", ("a", "b")),
        ({"response_format": {"type": "text"}}, "schema", None),
        ({"response_format": form()}, "schema", SCHEMA),
        ({"stream": False}, "text", "hi"),
    ],
)
def test_options_are_read(changes, field, value):
    """What shapes an answer is read from the body."""
    assert value == getattr(asked(**changes), field)


def test_json_object_is_a_small_schema():
    """A JSON object of any kind is asked for by a schema of one field."""
    ask = asked(messages=[{"role": "user", "content": "as JSON"}], response_format={"type": "json_object"})

    assert ["answer"] == ask.schema["required"]


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"model": None}, 400, "model", None),
        ({"model": "gpt"}, 404, None, "model_not_found"),
        ({"messages": None}, 400, "messages", "missing_required_parameter"),
        ({"messages": "hi"}, 400, "messages", "invalid_type"),
        ({"messages": []}, 400, "messages", "empty_array"),
        ({"messages": ["hi"]}, 400, "messages[0]", "invalid_type"),
        ({"messages": [USER, {"role": "bot", "content": "x"}]}, 400, "messages[1].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": 3}]}, 400, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, 400, "messages[0].content", "invalid_type"),
        ({"stream": True}, 400, "stream", "unsupported_value"),
        ({"n": 0}, 400, "n", "integer_below_min_value"),
        ({"n": 1_000}, 400, "n", "integer_above_max_value"),
        ({"n": True}, 400, "n", "invalid_type"),
        ({"max_tokens": "many"}, 400, "max_tokens", "invalid_type"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, 400, "max_tokens", "invalid_parameter_combination"),
        ({"temperature": 3}, 400, "temperature", "decimal_above_max_value"),
        ({"top_p": -1}, 400, "top_p", "decimal_below_min_value"),
        ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({"stop": ["a"] * 5}, 400, "stop", "invalid_type"),
        ({"stop": 3}, 400, "stop", "invalid_type"),
        ({"response_format": "json"}, 400, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, 400, "messages", None),
        (
            {"response_format": {"type": "json_schema"}},
            400,
            "response_format.json_schema.schema",
            "missing_required_parameter",
        ),
        ({"response_format": form(name="a b")}, 400, "response_format.json_schema.name", "invalid_value"),
        ({"response_format": form(schema={"type": "array"})}, 400, "response_format", "invalid_json_schema"),
    ],
)
def test_broken_requests_are_refused(changes, status, param, code):
    """Each mistake has its status, and names the field."""
    with pytest.raises(Rejected) as raised:
        asked(**changes)

    error = json.loads(raised.value.reply.body)["error"]
    assert (status, param, code) == (raised.value.reply.status, error["param"], error["code"])
    assert "invalid_request_error" == error["type"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"model": NaN}', b"\xff", b'{"a":' * 100_000], ids=lambda raw: repr(raw[:12])
)
def test_broken_bodies_are_refused(raw):
    """What is no JSON object is refused, however it is broken."""
    with pytest.raises(Rejected) as raised:
        read(raw)

    assert 400 == raised.value.reply.status


def test_lone_surrogates_are_read():
    """A prompt with half a character is answered like any other."""
    ask = read(b'{"model":"small","messages":[{"role":"user","content":"\\ud83d"}]}')

    assert "\ud83d" == ask.text
