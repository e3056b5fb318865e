"""The dialect of OpenAI's Responses: another wire of the same vendor, and another provider's name in keys.

Source: the official SDK's ``types/responses`` and https://platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dfllm._core.calls import Said, with_calls
from dfllm._core.errors import OptionError
from dfllm._core.parts import parts_of, split_url
from dfllm._core.tools import WORDS, Tool, in_strict_form
from dfllm._core.types import Failure, Message, Messages, Outcome, Part, Request, Response, Terms
from dfllm._wire.bodies import added, failed, file_name, loosely, named, refuse, refused
from dfllm._wire.status import cleaned
from dfllm._wire.tools import line, loaded

PATH = "/responses"
MODELS_PATH = "/models"

#: What `extra` must not set: the library decides these, and answers would be lost or mixed up.
RESERVED = frozenset(
    {"model", "input", "instructions", "max_output_tokens", "stream", "background", "previous_response_id"}
)

_text = msgspec.json.Encoder().encode


def encode(request: Request) -> bytes:
    """Return the body of one request."""
    return encoder(request.terms)(request.messages)


def encoder(terms: Terms) -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; all but the messages is written once."""
    head = b'{"model":' + _text(terms.model) + b',"input":['
    tail = b"]," + msgspec.json.encode(_parameters(terms))[1:-1] + b"}"

    def body(messages: Messages) -> bytes:
        turns = [
            b'{"role":"%b","content":%b}'
            % (
                message.role.encode(),
                _text(message.content)
                if message.__class__ is Message
                else _text([_part(part) for part in parts_of(message)]),
            )
            for message in messages
        ]
        return head + b",".join(turns) + tail

    return body


def _part(part: Part) -> dict[str, Any]:
    kind, value = part.kind, part.value
    if kind == "text":
        return {"type": "input_text", "text": value}
    if kind == "image":
        return {"type": "input_image", "image_url": value, "detail": "auto"}  # which is the default, and a must
    found = split_url(value)
    if found is None:
        return {"type": "input_file", "file_url": value}
    return {"type": "input_file", "filename": file_name(found[0]), "file_data": value}


def _parameters(terms: Terms) -> dict[str, Any]:
    extra = added(terms, RESERVED)
    refuse("OpenAI's Responses", seed=terms.seed, stop=terms.stop)
    if "format" in (extra.get("text") or {}):
        raise OptionError("extra must not set text.format; dfllm has options for what it can change.")
    options = {
        # Else the vendor keeps every question and answer for a month.
        "store": False,
        "temperature": terms.temperature,
        "top_p": terms.top_p,
        "max_output_tokens": terms.max_tokens,
        "reasoning": {"effort": terms.reasoning} if terms.reasoning is not None else None,
        "text": {"format": json.loads(terms.schema)} if terms.schema else None,
        "tools": loaded(terms.tools),
        "tool_choice": _choice(terms.tool_choice),
        "service_tier": terms.service_tier,
    }
    made = {name: value for name, value in options.items() if value is not None}
    for name in ("reasoning", "text"):  # both have more in them than we know
        if name in made and isinstance(extra.get(name), dict):
            made[name] |= extra.pop(name)
    return made | extra


def _choice(choice: str | None) -> Any:
    return choice if choice is None or choice in WORDS else {"type": "function", "name": choice}


def tools(offered: Sequence[Tool], *, strict: bool) -> str:
    """Return the part of the body that offers these tools; here strict is what goes without saying."""
    return line([_function(tool, strict=strict and tool.strict) for tool in offered])


def _function(tool: Tool, *, strict: bool) -> dict[str, Any]:
    parameters = in_strict_form(tool) if strict else tool.parameters
    made = {"type": "function", "name": tool.name, "parameters": parameters, "strict": strict}
    return made | ({"description": tool.description} if tool.description else {})


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema."""
    return f'{{"type":"json_schema","name":"answer","strict":{json.dumps(strict)},"schema":{schema}}}'


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_Part] | None = None
    phase: str | None = None
    name: Any = None
    arguments: Any = None
    call_id: Any = None


class _CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _CachedTokens | None = None
    output_tokens_details: _ReasoningTokens | None = None


class _Cut(msgspec.Struct, gc=False):
    reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    status: str | None = None
    output: list[_Item] | None = None
    incomplete_details: _Cut | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Body).decode
_NO_USAGE = _Usage()


def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what an HTTP answer means for its row; headers are looked up by lower-case name."""
    return named(decode(body), headers) if status == 200 else refused(status, headers, body)


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says. The same bytes always give the same Outcome."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "a response")
        if isinstance(found, Failure):
            return found
        said = found
    if said.status == "failed" or said.error is not None or said.output is None:
        return failed(said.error, paid=said.usage is not None, nothing="no output")
    if said.status in ("in_progress", "queued", "cancelled"):
        return Failure("ProviderError", f"the response is {said.status}", "maybe")
    messages = [item for item in said.output if item.type == "message"]
    last = [item for item in messages if item.phase == "final_answer"] or messages
    parts = [part for item in last for part in item.content or ()]
    text = "".join(part.text for part in parts if part.type == "output_text" and part.text)
    finish = (said.incomplete_details and said.incomplete_details.reason) or said.status or "completed"
    response = _response(said, finish, text)
    if refusal := next((part.refusal for part in parts if part.refusal), None):
        return Failure("Refused", cleaned(refusal), "paid", response=response)
    return _judged(response, said.output)


def _response(said: _Body, finish: str, text: str) -> Response:
    usage = said.usage or _NO_USAGE
    cached, reasoning = usage.input_tokens_details, usage.output_tokens_details
    return Response(
        text,
        finish,
        usage.input_tokens,
        usage.output_tokens,
        (cached.cached_tokens or 0) if cached else 0,
        (reasoning.reasoning_tokens or 0) if reasoning else 0,
        said.model,
        (cached.cache_write_tokens or 0) if cached else 0,
    )


def _judged(response: Response, output: Sequence[_Item]) -> Outcome:
    """Return the outcome of what the model said, by why it ended; each was paid for."""
    finish, text = response.finish, response.text
    if finish == "content_filter":
        return Failure("ContentFiltered", "answer withheld by the provider's filter", "paid", response=response)
    if finish == "max_output_tokens":
        tokens = response.tokens_out
        if not text.strip() and response.tokens_reasoning:
            return Failure("Truncated", f"all {tokens} tokens were reasoning", "paid", response=response)
        reason = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", reason, "paid", response=response)
    if finish != "completed":
        return Failure("Truncated", f"the provider ended the answer, {cleaned(finish, 40)}", "paid", response=response)
    if called := [item for item in output if item.type == "function_call"]:
        return with_calls(response, [Said(item.name, item.arguments, item.call_id) for item in called])
    if not text.strip():
        others = any(item.type.endswith("_call") for item in output)  # of tools that the provider has itself
        kind, reason = ("InvalidOutput", "function call") if others else ("EmptyResponse", "blank")
        return Failure(kind, reason, "paid", response=response)  # type: ignore[arg-type]  # both are in the list
    return response
