"""Good requests for Converse are read, broken ones are refused in AWS's words."""

import json

import pytest

from dfllm.simulator.asks import tokens_of
from dfllm.simulator.converse_read import read
from dfllm.simulator.openai import Rejected
from dfllm.simulator.tools import Offer, Tool

BODY = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OFFERED = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}


def asked(model="small", **changes):
    """Read a small request with some fields changed."""
    return read(json.dumps(BODY | changes).encode(), {"model": model})


def form(schema):
    """Return the field that asks for a schema."""
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema)}}}}


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({}, "text", "hi"),
        ({}, "prompt_tokens", 5),
        ({"system": [{"text": "1234"}]}, "prompt_tokens", 10),
        ({"toolConfig": OFFERED}, "prompt_tokens", 5 + tokens_of(json.dumps(OFFERED["tools"]))),
        ({"toolConfig": OFFERED}, "offer", Offer((Tool("look", {"type": "object"}),))),
        ({"inferenceConfig": {"maxTokens": 10}}, "allowance", 10),
        ({"inferenceConfig": {"stopSequences": ["a"]}}, "stops", ("a",)),
        ({"outputConfig": form(SCHEMA)}, "schema", SCHEMA),
        ({"outputConfig": {"effort": "low"}}, "schema", None),
    ],
)
def test_options_are_read(changes, field, value):
    """What shapes an answer is read from the body."""
    assert value == getattr(asked(**changes), field)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"messages": []}, "messages field is required"),
        ({"messages": [{"role": "system", "content": [{"text": "hi"}]}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]}, "alternate"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "content field"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "blank"),
        ({"seed": 1}, "unknown field: seed"),
        ({"inferenceConfig": {"topK": 1}}, "unknown field: topK"),
        ({"inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
        ({"inferenceConfig": {"temperature": 1.5}}, "temperature"),
        ({"serviceTier": {"type": "fast"}}, "serviceTier"),
        ({"outputConfig": {"textFormat": {"type": "json_schema"}}}, "text of a JSON schema"),
        ({"outputConfig": form({"type": "object", "properties": {}})}, "additionalProperties"),
        ({"modelId": "small"}, "unknown field: modelId"),
    ],
)
def test_what_is_broken_is_refused(changes, says):
    """With what is wrong."""
    with pytest.raises(Rejected) as raised:
        asked(**changes)

    assert 400 == raised.value.reply.status
    assert says in raised.value.reply.body.decode()


@pytest.mark.parametrize(("model", "status"), [("other", 400), ("arn:aws:bedrock:x", 404)])
def test_unknown_models_are_refused(model, status):
    """As a wrong name, or as a thing that is not there."""
    with pytest.raises(Rejected) as raised:
        asked(model)

    assert status == raised.value.reply.status


def test_what_only_routes_is_not_in_the_hash():
    """The same question at another tier is billed as the same."""
    plain, tiered, other = (
        asked(**more) for more in ({}, {"serviceTier": {"type": "flex"}}, {"inferenceConfig": {"topP": 0.5}})
    )

    assert plain.hash == tiered.hash != other.hash
