"""The Anthropic dialect: messages.

Since 2026-10-21 the API refuses `temperature`, `top_p` and `top_k`, at any value; the version before takes them for the
models that still know them. So the version follows from what is asked: the newer one, unless one of them is.

Source: the official SDK's ``types`` and https://platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dfllm._core.calls import Said, with_calls
from dfllm._core.errors import OptionError
from dfllm._core.files import PDF
from dfllm._core.parts import parts_of, split_url
from dfllm._core.tools import Tool
from dfllm._core.types import Failure, Message, Messages, Outcome, Part, Request, Response, Terms
from dfllm._wire.bodies import added, failed, loosely, named, refuse, refused
from dfllm._wire.schemas import for_anthropic
from dfllm._wire.status import cleaned
from dfllm._wire.tools import FIELDS, HOLDER, holder_of, line, loaded

PATH = "/v1/messages"
MODELS_PATH = "/v1/models"
VERSION = "2026-10-21"
SAMPLING_VERSION = "2023-06-01"
#: The API wants a limit. Thinking counts towards it, so a tight one would leave nothing to say.
MAX_TOKENS = 8192

#: What `extra` must not set: the library decides these, and answers would be lost or mixed up.
RESERVED = frozenset({"model", "messages", "system", "max_tokens", "stream", "output_config"})
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
#: Ways to think that need no number; every other word of `reasoning` is an effort.
_THINKING = ("adaptive", "disabled", "between_tools")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_HELD = {"type": "tool", "name": HOLDER, "disable_parallel_tool_use": True}
_LEAST_THOUGHTS = 1024

_text = msgspec.json.Encoder().encode


def headers(terms: Terms) -> Mapping[str, str]:
    """Return the headers of a request under these terms; ``{key}`` stands for the API key."""
    extra = json.loads(terms.extra) if terms.extra else {}
    asks = terms.temperature is not None or terms.top_p is not None or not _SAMPLING.isdisjoint(extra)
    return {"x-api-key": "{key}", "anthropic-version": SAMPLING_VERSION if asks else VERSION}


def encode(request: Request) -> bytes:
    """Return the body of one request."""
    return encoder(request.terms)(request.messages)


def encoder(terms: Terms, first: bytes = b"") -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; all but the messages is written once.

    Args:
        terms: what all questions share.
        first: what stands in a body in place of the model, where that is in the path.
    """
    head = b"{" + (first or b'"model":' + _text(terms.model)) + b',"messages":['
    tail = b"]," + msgspec.json.encode(_parameters(terms))[1:-1] + b"}"

    def body(messages: Messages) -> bytes:
        turns = []
        rules = []
        for message in messages:
            content = (
                _text(message.content)
                if message.__class__ is Message
                else _text([_block(part) for part in parts_of(message)])
            )
            if message.role in ("system", "developer"):
                rules.append(content)
            else:
                turns.append(b'{"role":"%b","content":%b}' % (message.role.encode(), content))
        whole = head + b",".join(turns) + tail
        return whole[:-1] + b',"system":' + _system(rules) + b"}" if rules else whole

    return body


def _block(part: Part) -> dict[str, Any]:
    kind, value = part.kind, part.value
    if kind == "text":
        return {"type": "text", "text": value}
    name = "image" if kind == "image" else "document"
    found = split_url(value)
    if found is None:
        return {"type": name, "source": {"type": "url", "url": value}}
    media_type, content = found
    if kind == "file" and media_type != PDF:
        said = base64.b64decode(content).decode()
        return {"type": name, "source": {"type": "text", "media_type": media_type, "data": said}}
    return {"type": name, "source": {"type": "base64", "media_type": media_type, "data": content}}


def order_of(roles: Sequence[str]) -> str | None:
    """Return what the API has against turns of these roles, None where it takes them.

    Turns of one role that follow each other are read as one, and rules stand apart. But the user begins, and no model
    since 4.6 takes the beginning of an answer to go on with.
    """
    turns = [role for role in roles if role in ("user", "assistant")]
    if turns[:1] == ["assistant"]:
        return "Anthropic takes no conversation that the assistant begins"
    if turns[-1:] == ["assistant"]:
        return "Anthropic takes no conversation that ends with the assistant"
    return None


def _system(rules: list[bytes]) -> bytes:
    if len(rules) == 1:
        return rules[0]
    return b"[" + b",".join(b'{"type":"text","text":%b}' % text for text in rules) + b"]"


def _parameters(terms: Terms) -> dict[str, Any]:
    holder = holder_of(terms)
    extra = added(terms, RESERVED if holder is None else RESERVED | FIELDS)
    refuse("Anthropic", seed=terms.seed)
    if holder is not None and terms.tools is not None:
        raise OptionError(
            "This provider holds answers to a schema by a tool that must be called, so that no other can be. "
            "Leave tools= or schema= out."
        )
    if terms.max_tokens is None:
        raise OptionError("Anthropic wants max_tokens.")
    if terms.temperature is not None and terms.temperature > 1:
        raise OptionError(f"Anthropic takes a temperature from 0 to 1; found {terms.temperature:g}.")
    thinking = _thinking(terms)
    output = {
        "effort": terms.reasoning if thinking is None else None,
        "format": json.loads(terms.schema) if terms.schema and holder is None else None,
    }
    options = {
        "max_tokens": terms.max_tokens,
        "temperature": terms.temperature,
        "top_p": terms.top_p,
        "stop_sequences": terms.stop,
        "thinking": thinking,
        "output_config": {name: value for name, value in output.items() if value is not None} or None,
        "tools": loaded(terms.tools) if holder is None else [holder],
        "tool_choice": _choice(terms.tool_choice) if holder is None else _HELD,
        "service_tier": terms.service_tier,
    }
    return {name: value for name, value in options.items() if value is not None} | extra


def _choice(choice: str | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {"type": _CHOICES[choice]} if choice in _CHOICES else {"type": "tool", "name": choice}


def tools(offered: Sequence[Tool], *, strict: bool) -> str:
    """Return the part of the body that offers these tools."""
    return line([_tool(tool) for tool in offered])


def _tool(tool: Tool) -> dict[str, Any]:
    about = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **about, "input_schema": tool.parameters}


def response_tool(schema: str, *, strict: bool) -> str:
    """Return the tool that asks for this JSON schema, for models and gateways without structured output.

    It takes any schema: what the API would refuse in one of its own is checked on the answer alone.
    """
    return line({"name": HOLDER, "description": "Give the answer.", "input_schema": json.loads(schema)})


def _thinking(terms: Terms) -> dict[str, Any] | None:
    """Return a way to think, or a budget where a number is asked for: older models know only that; None for efforts."""
    reasoning = terms.reasoning
    if reasoning is not None and re.fullmatch(r"\d{1,9}", reasoning, re.ASCII):
        budget, most = int(reasoning), terms.max_tokens or 0
        if not _LEAST_THOUGHTS <= budget < most:
            raise OptionError(
                f"Anthropic takes a budget for thinking from {_LEAST_THOUGHTS} to below max_tokens, which is {most}; "
                f"found reasoning={reasoning!r}."
            )
        return {"type": "enabled", "budget_tokens": budget}
    return {"type": reasoning} if reasoning in _THINKING else None


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema, within what the API takes.

    Raises:
        OptionError: nothing within that means the same.
    """
    return f'{{"type":"json_schema","schema":{for_anthropic(schema)}}}'


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    id: Any = None
    name: Any = None
    input: Any = None


class _Thought(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _Thought | None = None


class _Stop(msgspec.Struct, gc=False):
    category: str | None = None
    explanation: str | None = None


class _Body(msgspec.Struct, gc=False):
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_details: _Stop | None = None
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
        found = loosely(body, _Body, "a message")
        if isinstance(found, Failure):
            return found
        said = found
    if said.content is None or (not said.content and said.stop_reason is None):
        return failed(said.error, paid=said.usage is not None, nothing="no content")
    text = "".join(block.text for block in said.content if block.type == "text" and block.text)
    return _judged(said, _response(said, text))


def _response(said: _Body, text: str) -> Response:
    usage = said.usage or _NO_USAGE
    thought = usage.output_tokens_details
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Response(
        text,
        said.stop_reason or "end_turn",
        # What was read from or written to the cache is not in input_tokens.
        usage.input_tokens + read + written if usage.input_tokens is not None else None,
        usage.output_tokens,
        read,
        (thought.thinking_tokens or 0) if thought else 0,
        said.model,
        written,
    )


def _judged(said: _Body, response: Response) -> Outcome:
    """Return the outcome of a message by why it ended; each was paid for."""
    finish, text = response.finish, response.text
    if finish == "refusal":
        stop = said.stop_details or _Stop()
        reason = cleaned(stop.explanation or stop.category or "the model declined")
        return Failure("Refused", reason, "paid", response=response)
    if finish == "max_tokens":
        tokens = response.tokens_out
        if not text.strip() and response.tokens_reasoning:
            return Failure("Truncated", f"all {tokens} tokens were reasoning", "paid", response=response)
        reason = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", reason, "paid", response=response)
    if finish == "model_context_window_exceeded":
        return Failure("Truncated", "the model's context was full", "paid", response=response)
    if finish == "pause_turn":
        return Failure("Truncated", "the provider paused its turn", "paid", response=response)
    if calls := [block for block in said.content or () if block.type == "tool_use"]:
        return with_calls(response, [Said(block.name, block.input, block.id) for block in calls])
    if finish == "tool_use":
        return Failure("InvalidOutput", "function call", "paid", response=response)
    if not text.strip():
        return Failure("EmptyResponse", "blank", "paid", response=response)
    return response
