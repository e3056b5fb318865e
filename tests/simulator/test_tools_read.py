"""Tools on their way in: the same offer from each vendor's words, and refusals in them."""

import json

import pytest

from dfllm.simulator import openai
from dfllm.simulator.tools import NO_PARAMETERS, Offer, Tool
from dfllm.simulator.tools_read import as_chat, from_anthropic, from_converse, from_gemini, from_openai

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
LOOK, WAIT = Tool("look", SCHEMA), Tool("wait", NO_PARAMETERS)

CHAT = {
    "tools": [
        {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "wait"}},
    ]
}
FLAT = {
    "tools": [
        {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False},
        {"type": "function", "name": "wait"},
    ]
}
ANTHROPIC = {"tools": [{"name": "look", "input_schema": SCHEMA}, {"name": "wait", "input_schema": dict(NO_PARAMETERS)}]}
GEMINI = {"tools": [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": SCHEMA}, {"name": "wait"}]}]}
SPECS = [
    {"toolSpec": {"name": "look", "description": "Look.", "inputSchema": {"json": SCHEMA}}},
    {"toolSpec": {"name": "wait", "inputSchema": {"json": dict(NO_PARAMETERS)}}},
]
CONVERSE = {"toolConfig": {"tools": SPECS}}


def config(mode, *names):
    """Return Google's way to choose."""
    return {
        "toolConfig": {"functionCallingConfig": {"mode": mode} | ({"allowedFunctionNames": [*names]} if names else {})}
    }


READERS = {
    "openai": (from_openai, CHAT),
    "openai-responses": (lambda body: from_openai(as_chat(body)), FLAT),
    "anthropic": (from_anthropic, ANTHROPIC),
    "gemini": (lambda body: from_gemini(body, lambda schema: None), GEMINI),
    "converse": (from_converse, CONVERSE),
}
BOTH = (LOOK, WAIT)
CHOICES = {
    "openai": {
        "auto": {"tool_choice": "auto"},
        "must": {"tool_choice": "required"},
        "none": {"tool_choice": "none"},
        "named": {"tool_choice": {"type": "function", "function": {"name": "wait"}}},
    },
    "openai-responses": {
        "auto": {"tool_choice": "auto"},
        "must": {"tool_choice": "required"},
        "none": {"tool_choice": "none"},
        "named": {"tool_choice": {"type": "function", "name": "wait"}},
    },
    "anthropic": {
        "auto": {"tool_choice": {"type": "auto"}},
        "must": {"tool_choice": {"type": "any"}},
        "none": {"tool_choice": {"type": "none"}},
        "named": {"tool_choice": {"type": "tool", "name": "wait"}},
    },
    "gemini": {
        "auto": config("AUTO"),
        "must": config("ANY"),
        "none": config("NONE"),
        "named": config("ANY", "wait"),
    },
    "converse": {
        "auto": {"toolConfig": {"tools": SPECS, "toolChoice": {"auto": {}}}},
        "must": {"toolConfig": {"tools": SPECS, "toolChoice": {"any": {}}}},
        "named": {"toolConfig": {"tools": SPECS, "toolChoice": {"tool": {"name": "wait"}}}},
    },
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("choice", "offer"),
    [
        (None, Offer(BOTH)),
        ("auto", Offer(BOTH)),
        ("must", Offer(BOTH, must=True)),
        ("none", Offer(())),
        ("named", Offer(BOTH, named="wait")),
    ],
)
def test_the_same_is_offered_in_all_words(name, choice, offer):
    """Google names those that are allowed, and of one of them that is the same."""
    read, body = READERS[name]
    if (name, choice) == ("converse", "none"):
        return  # it has no word for that

    found = read(body | (CHOICES[name][choice] if choice else {}))

    assert found == (Offer((WAIT,), must=True) if (name, choice) == ("gemini", "named") else offer)


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_offered_by_nothing(name):
    """Then a question is one without tools."""
    assert None is READERS[name][0]({})


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("openai", {"parallel_tool_calls": False}),
        ("openai-responses", {"parallel_tool_calls": False}),
        ("anthropic", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
)
def test_one_at_a_time_is_read(name, more):
    """In the words of those who have some for it."""
    read, body = READERS[name]

    assert not read(body | more).at_once


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("openai-responses", {"type": "web_search"}),
        ("anthropic", {"type": "web_search_20250305", "name": "web_search"}),
        ("gemini", {"googleSearch": {}}),
        ("converse", {"systemTool": {"name": "nova_grounding"}}),
    ],
)
def test_tools_of_the_vendors_own_find_nothing_here(name, tool):
    """They are taken, and never used."""
    assert None is READERS[name][0]({"toolConfig": {"tools": [tool]}} if name == "converse" else {"tools": [tool]})


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("openai", {"tools": []}, "minimum length 1"),
        ("openai", {"tools": {"a": 1}}, "expected an array"),
        ("openai", {"tools": [7]}, "tools[0].function"),
        ("openai", {"tools": [{"type": "web_search"}]}, "tools[0].function"),
        ("openai", {"tool_choice": "auto"}, "only allowed when"),
        ("openai", CHAT | {"tool_choice": "always"}, "not found in 'tools'"),
        ("openai-responses", {"tools": [{"type": "function", "name": "look", "parameters": SCHEMA}]}, "required"),
        ("anthropic", {"tools": "look"}, "valid list"),
        ("anthropic", {"tool_choice": {"type": "auto"}}, "while providing tools"),
        ("anthropic", ANTHROPIC | {"tool_choice": "any"}, "Input tag"),
        ("anthropic", ANTHROPIC | {"tool_choice": {"type": "tool"}}, "not found in provided tools"),
        ("gemini", {"tools": {"a": 1}}, "tools"),
        ("gemini", {"tools": [{"functionDeclarations": ["look"]}]}, "Must start with a letter"),
        ("gemini", GEMINI | config("MUST"), "MUST"),
        ("gemini", GEMINI | config("ANY", "nobody"), "nobody is not declared"),
        ("converse", {"toolConfig": {"tools": []}}, "length of at least 1"),
        ("converse", {"toolConfig": {"tools": SPECS, "tool_choice": {}}}, "unknown field"),
        ("converse", {"toolConfig": {"tools": SPECS, "toolChoice": {"none": {}}}}, "one of auto, any, tool"),
        ("converse", {"toolConfig": {"tools": SPECS, "toolChoice": "any"}}, "one of auto, any, tool"),
        ("converse", {"toolConfig": {"tools": SPECS, "toolChoice": {"tool": {"name": "x"}}}}, "is not defined"),
        ("converse", {"toolConfig": {"tools": [{"toolSpec": {"name": "a b"}}]}}, "regular expression"),
        ("converse", {"toolConfig": {"tools": [{"toolSpec": {"name": "a", "description": ""}}]}}, "length greater"),
        ("converse", {"toolConfig": {"tools": [{"toolSpec": {"name": "a"}}]}}, "inputSchema.json.type"),
    ],
)
def test_what_is_no_tool_is_refused(name, body, says):
    """With a 400 that says what is wrong."""
    with pytest.raises(openai.Rejected) as raised:
        READERS[name][0](body)

    assert 400 == raised.value.reply.status
    assert says in json.loads(raised.value.reply.body)["error"]["message"]
