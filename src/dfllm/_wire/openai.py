"""The OpenAI dialect: chat completions, spoken by OpenAI and everyone who is compatible with it.

Source: the official SDK's ``types/chat`` and https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dfllm._core.calls import Said, with_calls
from dfllm._core.files import PDF
from dfllm._core.parts import parts_of, split_url
from dfllm._core.tools import WORDS, Tool, in_strict_form
from dfllm._core.types import Failure, Message, Messages, Outcome, Part, Request, Response, Terms
from dfllm._wire.bodies import added, failed, file_name, loosely, named, refused
from dfllm._wire.status import cleaned
from dfllm._wire.tools import line, loaded

PATH = "/chat/completions"
MODELS_PATH = "/models"

#: What `extra` must not set: the library decides these, and answers would be lost or mixed up.
RESERVED = frozenset({"model", "messages", "stream", "n", "response_format", "max_tokens", "max_completion_tokens"})

_text = msgspec.json.Encoder().encode


def encode(request: Request) -> bytes:
    """Return the body of one request."""
    return encoder(request.terms)(request.messages)


def encoder(terms: Terms) -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; all but the messages is written once."""
    head = b'{"model":' + _text(terms.model) + b',"messages":[' + _instructions(terms)
    rest = msgspec.json.encode(_parameters(terms))[1:-1]
    tail = b"]," + rest + b"}" if rest else b"]}"

    def body(messages: Messages) -> bytes:
        turns = [
            b'{"role":"%b","content":%b}'
            % (
                message.role.encode(),
                _text(message.content) if message.__class__ is Message else _parts(message),
            )
            for message in messages
        ]
        return head + b",".join(turns) + tail

    return body


def _parts(message: Message) -> bytes:
    """Return a turn that shows something as a list of parts."""
    return _text([_part(part) for part in parts_of(message)])


def _part(part: Part) -> dict[str, Any]:
    kind, value = part.kind, part.value
    if kind == "text":
        return {"type": "text", "text": value}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": value}}
    found = split_url(value)
    return {"type": "file", "file": {"filename": file_name(found[0] if found else PDF), "file_data": value}}


def _parameters(terms: Terms) -> dict[str, Any]:
    extra = added(terms, RESERVED)
    options = {
        "temperature": terms.temperature,
        "top_p": terms.top_p,
        terms.max_tokens_field: terms.max_tokens,
        "stop": terms.stop,
        terms.seed_field: terms.seed,
        "reasoning_effort": terms.reasoning,
        "response_format": _format(terms),
        "prompt_cache_key": terms.prompt_cache_key,
        "tools": loaded(terms.tools),
        "tool_choice": _choice(terms.tool_choice),
        "service_tier": terms.service_tier,
    }
    return {name: value for name, value in options.items() if value is not None} | extra


def _choice(choice: str | None) -> Any:
    return choice if choice is None or choice in WORDS else {"type": "function", "function": {"name": choice}}


def tools(offered: Sequence[Tool], *, strict: bool) -> str:
    """Return the part of the body that offers these tools."""
    return line([{"type": "function", "function": _function(tool, strict=strict)} for tool in offered])


def _function(tool: Tool, *, strict: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name}
    if tool.description:
        made["description"] = tool.description
    if strict and tool.strict:
        return made | {"parameters": in_strict_form(tool), "strict": True}
    return made | {"parameters": tool.parameters}


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema."""
    return f'{{"type":"json_schema","json_schema":{{"name":"answer","strict":{json.dumps(strict)},"schema":{schema}}}}}'


def instructed(schema: str) -> str:
    """Return what asks for this JSON schema where a server only knows that an answer is to be JSON."""
    return f'{{"type":"json_object","schema":{schema}}}'


def _format(terms: Terms) -> dict[str, Any] | None:
    asked = json.loads(terms.schema) if terms.schema else {}
    return {"type": "json_object"} if asked.get("type") == "json_object" else asked or None


def _instructions(terms: Terms) -> bytes:
    """Return a first turn with the schema in it, where the server is not told of it otherwise."""
    asked = json.loads(terms.schema) if terms.schema else {}
    if asked.get("type") != "json_object":
        return b""
    schema = json.dumps(asked["schema"], ensure_ascii=False, separators=(",", ":"))
    said = f"Answer with nothing but one JSON object that fits this JSON schema:\n{schema}"
    return b'{"role":"system","content":%b},' % _text(said)


# gc=False: these live for one decode, and tracking them would be a tenth of a re-run's time.
class _Message(msgspec.Struct, gc=False):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None


class _CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    num_cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    completion_tokens_details: _ReasoningTokens | None = None


class _Body(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Body).decode
_NO_USAGE = _Usage()


def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what an HTTP answer means for its row; headers are looked up by lower-case name."""
    if status == 200:
        outcome = decode(body)
        return named(outcome, headers) if outcome.__class__ is Failure else outcome
    return refused(status, headers, body)


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says. The same bytes always give the same Outcome."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "a chat completion")
        if isinstance(found, Failure):
            return found
        said = found
    if not said.choices:
        return failed(said.error, paid=said.usage is not None, nothing="no choices")
    choice = said.choices[0]
    message = choice.message
    if message is None:
        return failed(said.error, paid=said.usage is not None, nothing="no choices")
    content = message.content
    text = content if isinstance(content, str) else _joined(content)
    response = _response(said, choice.finish_reason or "stop", text)
    if response.finish == "stop" and text and not message.refusal and not message.tool_calls and not text.isspace():
        return response
    return _judged(message, response)


def _response(said: _Body, finish: str, text: str) -> Response:
    usage = said.usage or _NO_USAGE
    cached, details = usage.prompt_tokens_details, usage.completion_tokens_details
    tokens_in, tokens_out = usage.prompt_tokens, usage.completion_tokens
    reasoning = (details.reasoning_tokens or 0) if details else 0
    if reasoning and usage.total_tokens == (tokens_in or 0) + (tokens_out or 0) + reasoning:
        tokens_out = (tokens_out or 0) + reasoning  # xAI's are not among those of the answer, says its total
    read = cached.cached_tokens if cached else None
    return Response(
        text,
        finish,
        tokens_in,
        tokens_out,
        # Mistral and DeepSeek have words of their own.
        read or usage.num_cached_tokens or usage.prompt_cache_hit_tokens or 0,
        reasoning,
        said.model,
        (cached.cache_write_tokens or 0) if cached else 0,
    )


def _judged(message: _Message, response: Response) -> Outcome:
    """Return the outcome of a choice that is no plain answer; each was paid for."""
    finish, text = response.finish, response.text
    if message.refusal:
        return Failure("Refused", cleaned(message.refusal), "paid", response=response)
    if finish == "content_filter":
        return Failure("ContentFiltered", "answer withheld by the provider's filter", "paid", response=response)
    if finish in ("length", "model_length"):
        tokens = response.tokens_out
        if not text.strip() and response.tokens_reasoning:
            return Failure("Truncated", f"all {tokens} tokens were reasoning", "paid", response=response)
        reason = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", reason, "paid", response=response)
    if said := _said(message):
        return with_calls(response, said)
    if finish in ("tool_calls", "function_call"):
        return Failure("InvalidOutput", "function call", "paid", response=response)
    if finish in ("error", "insufficient_system_resource"):
        return Failure("ServerError", f"the provider ended the answer with {finish}", "maybe")
    if not text.strip():
        return Failure("EmptyResponse", "blank", "paid", response=response)
    # Compatible servers have finish reasons of their own; text that ended for one of them is an answer.
    return response


def _said(message: _Message) -> list[Said]:
    """Return the calls of a message, also in the way of before there were several."""
    calls = message.tool_calls or ([{"function": message.function_call}] if message.function_call else [])
    return [_call(call if isinstance(call, dict) else {}) for call in calls]


def _call(call: Mapping[str, Any]) -> Said:
    function = call.get("function")
    inside = function if isinstance(function, dict) else {}
    return Said(inside.get("name"), inside.get("arguments"), call.get("id"))


def _joined(content: list[dict[str, Any]] | None) -> str:
    parts = [part.get("text") for part in content or () if part.get("type", "text") == "text"]
    return "".join(part for part in parts if isinstance(part, str))
