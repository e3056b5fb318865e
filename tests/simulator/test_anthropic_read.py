"""Good requests for messages are read, broken ones are refused in Anthropic's words."""

import json

import pytest

from dfllm.simulator.anthropic_read import read
from dfllm.simulator.openai import Rejected

BODY = {"model": "small", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def asked(version="2026-10-21", **changes):
    """Read a small request with some fields changed; None takes one out."""
    body = {name: value for name, value in (BODY | changes).items() if value is not None}
    return read(json.dumps(body).encode(), {"version": version})


def form(schema):
    """Return the field that asks for a schema."""
    return {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({}, "allowance", 10),
        ({}, "text", "hi"),
        ({}, "prompt_tokens", 5),
        ({"system": [{"type": "text", "text": "1234"}]}, "prompt_tokens", 10),
        ({"stop_sequences": ["a"]}, "stops", ("a",)),
        ({"output_config": form(SCHEMA)}, "schema", SCHEMA),
        ({"thinking": {"type": "adaptive"}}, "schema", None),
    ],
)
def test_options_are_read(changes, field, value):
    """What shapes an answer is read from the body."""
    assert value == getattr(asked(**changes), field)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": " "}]}, "non-whitespace"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "prefill"),
        ({"stream": True}, "stream"),
        ({"seed": 1}, "seed: Extra inputs are not permitted"),
        ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "budget_tokens"),
        ({"output_config": {"effort": "some"}}, "effort"),
        ({"output_config": form({"type": "object", "properties": {}})}, "additionalProperties"),
        (
            {"output_config": form(SCHEMA | {"properties": {"a": {"type": "integer", "minimum": 1}}})},
            "'minimum' is not supported",
        ),
        ({"model": "claude"}, "model: claude"),
        ({"version": ""}, "header is required"),
        ({"version": "2020-01-01"}, "not a valid version"),
    ],
)
def test_what_the_vendor_refuses_is_refused(changes, says):
    """In its words."""
    with pytest.raises(Rejected) as caught:
        asked(**changes)

    assert says in json.loads(caught.value.reply.body)["error"]["message"]


def test_the_older_version_takes_sampling():
    """Up to 1."""
    assert "hi" == asked("2023-06-01", temperature=1, top_p=0.5).text
    with pytest.raises(Rejected):
        asked("2023-06-01", temperature=2)
