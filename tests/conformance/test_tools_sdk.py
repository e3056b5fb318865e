"""The official clients read the simulator's tool calls, and take the tools we send for their own."""

import json

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message
from google import genai
from google.genai import types
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from tests.conformance.test_openai_sdk import unknown

from dfllm._core.tools import tools_of
from dfllm._wire.dialects import DIALECTS
from dfllm.simulator import Faults, Simulator

ONE = "What is the weather in Oslo?"
TWO = "First the weather in Oslo, then look_up Lima."
LIMITS = {"openai": "max_completion_tokens", "openai-responses": "max_output_tokens", "anthropic": "max_tokens"}


def weather(city: str, days: int) -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def look_up(query: str, most: int = 3) -> str:
    """Look something up."""
    raise AssertionError("nothing is ever called")


TOOLS = tools_of([weather, look_up])


def offered(dialect):
    """Return the tools as we send them."""
    return json.loads(DIALECTS[dialect].tools(TOOLS, strict=True))


@pytest.fixture(scope="module")
def simulator():
    """Return a simulator on which faults strike where their name is in the prompt."""
    faults = Faults(by_text={f"<{name}>": name for name in ("badargs", "length", "fncall", "blank")})
    with Simulator(key="sk-right", faults=faults) as running:
        yield running


@pytest.fixture(scope="module")
def openais(simulator):
    """Return OpenAI's client."""
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-right", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def anthropics(simulator):
    """Return Anthropic's client."""
    root = simulator.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, api_key="sk-right", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def googles(simulator):
    """Return Google's client."""
    options = types.HttpOptions(base_url=simulator.base_url.removesuffix("/v1"))
    with genai.Client(api_key="sk-right", vertexai=False, http_options=options) as opened:
        yield opened


def chat(client, text=ONE, **options):
    """Return the choice of a chat completion."""
    asked = {"model": "small", "messages": [{"role": "user", "content": text}], "tools": offered("openai")}
    return client.chat.completions.create(**asked | options).choices[0]


def respond(client, text=ONE, **options):
    """Return the items of a response."""
    asked = {"model": "small", "input": text, "tools": offered("openai-responses")}
    return client.responses.create(**asked | options).output


def message(client, text=ONE, **options):
    """Return a message."""
    asked = {"model": "small", "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
    return client.messages.create(**asked | {"tools": offered("anthropic")} | options)


def content(client, text=ONE, model="small", **options):
    """Return generated content; the client is told to call nothing by itself."""
    config = types.GenerateContentConfig(
        tools=[types.Tool.model_validate(tool) for tool in offered("gemini")],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        **options,
    )
    return client.models.generate_content(model=model, contents=text, config=config)


def mode(word, *names):
    """Return Google's way to choose."""
    chosen = types.FunctionCallingConfig(mode=word, allowed_function_names=list(names) or None)
    return types.ToolConfig(function_calling_config=chosen)


def names_from(vendor, clients, text, choice=None, **options):
    """Return the names of the tools that are called, by a vendor's own client."""
    if vendor == "openai":
        chosen = {"auto": "auto", "required": "required", "none": "none"}.get(choice)
        chosen = chosen or {"type": "function", "function": {"name": choice}}
        said = chat(clients[0], text, **({"tool_choice": chosen} if choice else {}), **options).message
        return [call.function.name for call in said.tool_calls or ()]
    if vendor == "openai-responses":
        chosen = choice if choice in ("auto", "required", "none") else {"type": "function", "name": choice}
        items = respond(clients[0], text, **({"tool_choice": chosen} if choice else {}), **options)
        return [item.name for item in items if item.type == "function_call"]
    if vendor == "anthropic":
        kinds = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}
        chosen = kinds.get(choice, {"type": "tool", "name": choice})
        said = message(clients[1], text, **({"tool_choice": chosen} if choice else {}), **options)
        return [block.name for block in said.content if block.type == "tool_use"]
    modes = {"auto": mode("AUTO"), "required": mode("ANY"), "none": mode("NONE")}
    chosen = {} if choice is None else {"tool_config": modes.get(choice) or mode("ANY", choice)}
    said = content(clients[2], text, **chosen, **options)
    return [call.name for call in said.function_calls or ()]


@pytest.fixture
def clients(openais, anthropics, googles):
    """Return all of them."""
    return openais, anthropics, googles


@pytest.mark.parametrize("vendor", sorted(DIALECTS.keys() & {"openai", "openai-responses", "anthropic", "gemini"}))
@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        (ONE, None, ["weather"]),
        (ONE, "auto", ["weather"]),
        (TWO, None, ["weather", "look_up"]),
        (TWO, "none", []),
        ("Where is Oslo?", None, []),
        ("Where is Oslo?", "look_up", ["look_up"]),
        (ONE, "required", ["weather"]),
    ],
)
def test_calls_are_read_by_the_vendors_client(vendor, clients, text, choice, expected):
    """Those that the words name, or that the choice asks for."""
    assert expected == names_from(vendor, clients, text, choice)


def test_openais_arguments_are_text(openais):
    """JSON that fits the schema; the end and the ids are the vendor's."""
    choice = chat(openais, TWO)

    first, second = choice.message.tool_calls
    assert ("tool_calls", None) == (choice.finish_reason, choice.message.content)
    assert {"city", "days"} == set(json.loads(first.function.arguments))
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_openai_may_be_held_to_one_at_a_time(openais):
    """As `parallel_tool_calls` says."""
    assert 1 == len(chat(openais, TWO, parallel_tool_calls=False).message.tool_calls)


def test_anthropic_may_be_held_to_one_at_a_time(anthropics):
    """As `disable_parallel_tool_use` says."""
    said = message(anthropics, TWO, tool_choice={"type": "auto", "disable_parallel_tool_use": True})

    assert ["tool_use"] == [block.type for block in said.content]


def test_anthropics_arguments_are_an_object(anthropics):
    """And what is said first stands first."""
    said = message(anthropics, model="large")

    text, call = said.content
    assert ("tool_use", "text", "tool_use") == (said.stop_reason, text.type, call.type)
    assert {"city", "days"} == set(call.input)
    assert call.id.startswith("toolu_")
    # What the vendor tells its models of tools is charged.
    assert 346 < said.usage.input_tokens


def test_googles_arguments_are_an_object(googles):
    """Behind what is said."""
    said = content(googles, model="large")

    text, call = said.candidates[0].content.parts
    assert text.text
    assert {"city", "days"} == set(call.function_call.args)
    assert "STOP" == said.candidates[0].finish_reason.value


def test_responses_have_an_item_a_call(openais):
    """Behind the message, each with an id of its own."""
    text, *calls = respond(openais, TWO, model="large")

    assert ["message", "function_call", "function_call"] == [item.type for item in (text, *calls)]
    assert 2 == len({call.call_id for call in calls}) == len({call.id for call in calls})
    assert {"city", "days"} == set(json.loads(calls[0].arguments))


def test_broken_arguments_are_told(openais, googles):
    """As half of their JSON, or as malformed."""
    half = chat(openais, f"{ONE} <badargs>").message.tool_calls[0].function.arguments
    malformed = content(googles, f"{ONE} <badargs>").candidates[0]

    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(half)
    assert ("MALFORMED_FUNCTION_CALL", None) == (malformed.finish_reason.value, malformed.content.parts)


def test_calls_that_are_cut_are_told(openais, anthropics, googles):
    """In each vendor's word."""
    (item,) = respond(openais, f"{ONE} <length>")

    assert "length" == chat(openais, f"{ONE} <length>").finish_reason
    assert "incomplete" == item.status
    assert "max_tokens" == message(anthropics, f"{ONE} <length>").stop_reason
    assert "MAX_TOKENS" == content(googles, f"{ONE} <length>").candidates[0].finish_reason.value


@pytest.mark.parametrize(
    "options",
    [
        {"tools": []},
        {"tools": [], "tool_choice": "auto"},
        {"tools": openai.omit, "tool_choice": "auto"},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]},
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "a",
                        "parameters": {"type": "object", "properties": {"b": {}}},
                        "strict": True,
                    },
                }
            ]
        },
        {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
    ],
)
def test_openai_refuses_what_is_no_tool(openais, options):
    """As the vendor would."""
    with pytest.raises(openai.BadRequestError):
        chat(openais, **options)


def test_responses_take_no_schema_for_strict_that_is_not(openais):
    """There strict goes without saying."""
    loose = {"type": "function", "name": "a", "parameters": {"type": "object", "properties": {"b": {}}}}

    with pytest.raises(openai.BadRequestError, match="additionalProperties"):
        respond(openais, tools=[loose])
    assert respond(openais, tools=[loose | {"strict": False}])


@pytest.mark.parametrize(
    "options",
    [
        {"tools": [{"name": "a"}]},
        {"tools": [{"name": "a", "input_schema": {"type": "string"}}]},
        {"tools": [{"name": "a b", "input_schema": {"type": "object"}}]},
        {"tool_choice": {"type": "tool", "name": "nobody"}},
        {"tool_choice": {"type": "all"}},
        {"tools": anthropic.omit, "tool_choice": {"type": "auto"}},
        {
            "tool_choice": {"type": "any"},
            "max_tokens": 2000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
    ],
)
def test_anthropic_refuses_what_is_no_tool(anthropics, options):
    """As the vendor would."""
    with pytest.raises(anthropic.BadRequestError):
        message(anthropics, **options)


@pytest.mark.parametrize(
    ("tools", "config"),
    [
        ([{"functionDeclarations": [{"name": "1a"}]}], {}),
        ([{"functionDeclarations": [{"name": "a", "parametersJsonSchema": {"type": "string"}}]}], {}),
        (
            [{"functionDeclarations": [{"name": "a", "parametersJsonSchema": {"type": "object", "not": {}}}]}],
            {},
        ),
        (None, {"mode": "ANY", "allowedFunctionNames": ["nobody"]}),
        (None, {"mode": "AUTO", "allowedFunctionNames": ["weather"]}),
        (None, {"mode": "SOME"}),
    ],
)
def test_google_refuses_what_is_no_tool(simulator, tools, config):
    """As the vendor would."""
    body = {"contents": [{"parts": [{"text": ONE}]}], "tools": tools or offered("gemini")}
    body |= {"toolConfig": {"functionCallingConfig": config}} if config else {}

    assert 400 == posted(simulator, "gemini", body).status_code


def test_the_older_form_of_google_is_read(simulator):
    """Its types are in capitals."""
    parameters = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    tools = [{"functionDeclarations": [{"name": "weather", "parameters": parameters}]}]
    body = {"contents": [{"parts": [{"text": ONE}]}], "tools": tools}

    said = types.GenerateContentResponse.model_validate_json(posted(simulator, "gemini", body).content)

    assert {"city": "Oslo"} == said.function_calls[0].args


def test_googles_own_functions_are_read(googles):
    """Its client makes a schema of a Python function."""
    config = types.GenerateContentConfig(
        tools=[weather], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )

    said = googles.models.generate_content(model="small", contents=ONE, config=config)

    assert {"city", "days"} == set(said.function_calls[0].args)


def posted(simulator, dialect, body):
    """Post a body as it stands."""
    headers = {"Authorization": "Bearer sk-right", "anthropic-version": "2026-10-21", "x-goog-api-key": "sk-right"}
    headers = {name: value for name, value in headers.items() if dialect == "gemini" or name != "x-goog-api-key"}
    root = simulator.base_url.removesuffix("/v1")
    path = {"openai": "/v1", "openai-responses": "/v1"}.get(dialect, "") + DIALECTS[dialect].path
    return httpx.post(root + path.replace("{model}", "small"), json=body, headers=headers)


@pytest.mark.parametrize("text", [ONE, TWO, f"{ONE} <badargs>", f"{ONE} <length>", f"{ONE} <blank>"])
@pytest.mark.parametrize("model", ["small", "large"])
@pytest.mark.parametrize(
    ("dialect", "answer"),
    [
        ("openai", ChatCompletion),
        ("openai-responses", Response),
        ("anthropic", Message),
        ("gemini", types.GenerateContentResponse),
    ],
)
def test_answers_with_calls_are_valid(simulator, dialect, answer, model, text):
    """The bytes fit the client's own type, with no field that it does not know."""
    turn = {"role": "user", "content": text}
    asked = {"model": model, "tools": offered(dialect)}
    if dialect == "gemini":
        asked = {"tools": offered(dialect), "contents": [{"role": "user", "parts": [{"text": text}]}]}
    elif dialect == "openai-responses":
        asked["input"] = text
    else:
        asked["messages"] = [turn]
    asked |= {LIMITS[dialect]: 400} if dialect in LIMITS else {}

    sent = posted(simulator, dialect, asked)

    assert 200 == sent.status_code
    said = answer.model_validate_json(sent.content)
    assert dialect == "gemini" or set() == unknown(said)
