"""The OpenAI dialect: chat completions, spoken by OpenAI and everyone who is compatible with it.

Source: the official SDK's ``types/chat`` and https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dfllm._core.files import PDF
from dfllm._core.parts import parts_of, split_url
from dfllm._core.types import Failure, Message, Messages, Outcome, Part, Request, Response, Terms
from dfllm._wire.bodies import added, failed, file_name, loosely, named, refused
from dfllm._wire.status import cleaned

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
    head = b'{"model":' + _text(terms.model) + b',"messages":['
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
        "response_format": json.loads(terms.schema) if terms.schema else None,
        "prompt_cache_key": terms.prompt_cache_key,
    }
    return {name: value for name, value in options.items() if value is not None} | extra


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema."""
    return f'{{"type":"json_schema","json_schema":{{"name":"answer","strict":{json.dumps(strict)},"schema":{schema}}}}}'


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
    if response.finish == "stop" and text and not message.refusal and not text.isspace():
        return response
    return _judged(message, response)


def _response(said: _Body, finish: str, text: str) -> Response:
    usage = said.usage or _NO_USAGE
    cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
    return Response(
        text,
        finish,
        usage.prompt_tokens,
        usage.completion_tokens,
        (cached.cached_tokens or 0) if cached else 0,
        (reasoning.reasoning_tokens or 0) if reasoning else 0,
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
        said = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", said, "paid", response=response)
    if finish in ("tool_calls", "function_call") or message.tool_calls or message.function_call:
        return Failure("InvalidOutput", "function call", "paid", response=response)
    if finish in ("error", "insufficient_system_resource"):
        return Failure("ServerError", f"the provider ended the answer with {finish}", "maybe")
    if not text.strip():
        return Failure("EmptyResponse", "blank", "paid", response=response)
    # Compatible servers have finish reasons of their own; text that ended for one of them is an answer.
    return response


def _joined(content: list[dict[str, Any]] | None) -> str:
    parts = [part.get("text") for part in content or () if part.get("type", "text") == "text"]
    return "".join(part for part in parts if isinstance(part, str))
