"""The dialect of Bedrock's Converse: one wire for the models of many makers; the model stands in the path.

Source: botocore's ``data/bedrock-runtime`` and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from dfllm._core.calls import Said, with_calls
from dfllm._core.errors import OptionError
from dfllm._core.files import PDF
from dfllm._core.parts import parts_of
from dfllm._core.tools import Tool
from dfllm._core.types import Failure, Message, Messages, Outcome, Part, Request, Response, Terms
from dfllm._wire.bodies import added, failed, loosely, named, refuse
from dfllm._wire.schemas import for_bedrock
from dfllm._wire.status import Complaint, failure_of
from dfllm._wire.tools import line, loaded

PATH = "/model/{model}/converse"
#: The models are listed at another host.
MODELS_PATH = ""

#: What `extra` must not set: the library decides these, and answers would be lost or mixed up.
RESERVED = frozenset({"model", "modelId", "messages", "system", "inferenceConfig", "outputConfig", "serviceTier"})
_CHOICES = {"auto": "auto", "required": "any"}

_text = msgspec.json.Encoder().encode


def encode(request: Request) -> bytes:
    """Return the body of one request; the model stands in the path."""
    return encoder(request.terms)(request.messages)


def encoder(terms: Terms) -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; all but the messages is written once."""
    rest = msgspec.json.encode(_parameters(terms))[1:-1]
    tail = b"]," + rest + b"}" if rest else b"]}"

    def body(messages: Messages) -> bytes:
        turns: list[tuple[str, list[bytes]]] = []
        rules: list[bytes] = []
        numbers = count(1)
        for message in messages:
            parts = (
                [b'{"text":%b}' % _text(message.content)]
                if message.__class__ is Message
                else [_text(_block(part, numbers)) for part in parts_of(message)]
            )
            if message.role in ("system", "developer"):
                rules += parts
            elif turns and turns[-1][0] == message.role:
                turns[-1][1].extend(parts)  # roles must alternate, and a turn may have several texts
            else:
                turns.append((message.role, parts))
        head = b'{"system":[%b],"messages":[' % b",".join(rules) if rules else b'{"messages":['
        said = (b'{"role":"%b","content":[%b]}' % (role.encode(), b",".join(parts)) for role, parts in turns)
        return head + b",".join(said) + tail

    return body


def _block(part: Part, numbers: Iterator[int]) -> dict[str, Any]:
    if part.kind == "text":
        return {"text": part.value}
    # Addresses never come here: the API fetches none, see `media.CONVERSE`.
    media_type, _, content = part.value.removeprefix("data:").partition(";base64,")
    source = {"bytes": content}
    if part.kind == "image":
        return {"image": {"format": media_type.removeprefix("image/"), "source": source}}
    # The API wants a name, another for each; models may read it, so it is one that says nothing.
    name = f"document {next(numbers)}"
    return {"document": {"format": "pdf" if media_type == PDF else "txt", "name": name, "source": source}}


def order_of(roles: Sequence[str]) -> str | None:
    """Return what the API has against turns of these roles, None where it takes them.

    Whether the beginning of an answer may stand at the end is for the model to say.
    """
    turns = [role for role in roles if role in ("user", "assistant")]
    return "Bedrock takes no conversation that the assistant begins" if turns[:1] == ["assistant"] else None


def _parameters(terms: Terms) -> dict[str, Any]:
    extra = added(terms, RESERVED)
    refuse("Bedrock's Converse", seed=terms.seed)
    inference = {
        "maxTokens": terms.max_tokens,
        "temperature": terms.temperature,
        "topP": terms.top_p,
        "stopSequences": terms.stop,
    }
    output = {"textFormat": json.loads(terms.schema) if terms.schema else None, "effort": terms.reasoning}
    options = {
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None} or None,
        "outputConfig": {name: value for name, value in output.items() if value is not None} or None,
        "toolConfig": _offered(terms),
        "serviceTier": {"type": terms.service_tier} if terms.service_tier is not None else None,
    }
    return {name: value for name, value in options.items() if value is not None} | extra


def _offered(terms: Terms) -> dict[str, Any] | None:
    if terms.tools is None:
        return None
    choice = terms.tool_choice
    if choice == "none":
        raise OptionError("Bedrock's Converse takes no tool_choice='none'; leave tools= out instead.")
    made = {"tools": loaded(terms.tools)}
    if choice is None:
        return made
    return made | {"toolChoice": {_CHOICES[choice]: {}} if choice in _CHOICES else {"tool": {"name": choice}}}


def tools(offered: Sequence[Tool], *, strict: bool) -> str:
    """Return the part of the body that offers these tools."""
    return line([{"toolSpec": _tool(tool)} for tool in offered])


def _tool(tool: Tool) -> dict[str, Any]:
    about = {"description": tool.description} if tool.description else {}  # an empty one is refused
    return {"name": tool.name, **about, "inputSchema": {"json": tool.parameters}}


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema, within what the API takes.

    Raises:
        OptionError: nothing within that means the same.
    """
    # The schema goes as text of its own inside the JSON.
    asked = {"name": "answer", "schema": for_bedrock(schema)}
    return json.dumps({"type": "json_schema", "structure": {"jsonSchema": asked}}, ensure_ascii=False)


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Part] | None = None


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _Body(msgspec.Struct, gc=False, rename="camel"):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    message: Any = None
    kind: Any = msgspec.field(name="__type", default=None)


_decode = msgspec.json.Decoder(_Body).decode
_NO_USAGE = _Usage()


def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what an HTTP answer means for its row; headers are looked up by lower-case name."""
    return named(decode(body), headers) if status == 200 else _refused(status, headers, body)


def _refused(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an error means: its kind stands in a header, or in the body where a proxy took the header."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return failure_of(status, headers, None)
    # As in "ThrottlingException:http://internal.amazon.com/coral/" or "com.amazon.coral.service#ThrottlingException".
    said = str(headers.get("x-amzn-errortype") or parsed.get("__type") or "")
    kind = said.partition(":")[0].rpartition("#")[2] or None
    words = frozenset([kind] if kind else ())
    message = parsed.get("message", parsed.get("Message"))
    return failure_of(status, headers, Complaint(str(message or ""), kind, words))


def decode(body: bytes) -> Outcome:
    """Return what the body of a 200 says. The same bytes always give the same Outcome."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = loosely(body, _Body, "a Converse answer")
        if isinstance(found, Failure):
            return found
        said = found
    message = said.output.message if said.output else None
    if message is None:
        error = {"message": said.message, "code": said.kind} if said.message else None
        return failed(error, paid=said.usage is not None, nothing="no output")
    parts = message.content or []
    response = _response(said, "".join(part.text for part in parts if part.text))
    return _judged(response, [part.tool_use for part in parts if part.tool_use is not None])


def _response(said: _Body, text: str) -> Response:
    usage = said.usage or _NO_USAGE
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    tokens_in = usage.input_tokens
    if tokens_in is not None:
        # Whether cached tokens are among those of the input is not documented; the total tells.
        least = tokens_in + read + written if usage.total_tokens is None else tokens_in
        tokens_in = max(least, (usage.total_tokens or 0) - (usage.output_tokens or 0))
    return Response(text, said.stop_reason or "end_turn", tokens_in, usage.output_tokens, read, tokens_written=written)


def _judged(response: Response, calls: Sequence[Any]) -> Outcome:
    """Return the outcome of an answer by why it ended; each was paid for."""
    finish, text = response.finish, response.text
    if finish in ("content_filtered", "guardrail_intervened"):
        why = f"answer withheld by the provider's filter, {finish}"
        return Failure("ContentFiltered", why, "paid", response=response)
    if finish == "max_tokens":
        tokens = response.tokens_out
        reason = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", reason, "paid", response=response)
    if finish == "model_context_window_exceeded":
        return Failure("Truncated", "the model's context was full", "paid", response=response)
    if finish == "malformed_tool_use":
        return Failure("InvalidOutput", "function call, malformed", "paid", response=response)
    found = [call if isinstance(call, dict) else {} for call in calls]
    # What a tool of the provider's own was asked is no call: it answered within this turn.
    if own := [call for call in found if call.get("type") != "server_tool_use"]:
        return with_calls(response, [Said(call.get("name"), call.get("input"), call.get("toolUseId")) for call in own])
    if finish == "tool_use":
        return Failure("InvalidOutput", "function call", "paid", response=response)
    if finish == "malformed_model_output":
        return Failure("InvalidOutput", "malformed response", "paid", response=response)
    if not text.strip():
        return Failure("EmptyResponse", "blank", "paid", response=response)
    return response
