"""The Gemini dialect: generateContent of the Gemini API.

Source: the official SDK's ``types`` and https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

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
from dfllm._wire.bodies import added, failed, loosely, named, refused
from dfllm._wire.schemas import for_gemini
from dfllm._wire.status import cleaned
from dfllm._wire.tools import line, loaded

PATH = "/v1/models/{model}:generateContent"
MODELS_PATH = "/v1/models"

#: What `extra` must not set: the library decides these, and answers would be lost or mixed up.
RESERVED = frozenset(
    {"model", "contents", "systemInstruction", "system_instruction", "generation_config", "continuationToken"}
)
#: And what its `generationConfig` must not.
_RESERVED_INSIDE = frozenset(
    {"candidateCount", "maxOutputTokens", "responseMimeType", "responseSchema", "responseJsonSchema"}
)
_ROLES = {"assistant": b"model"}
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
_TOOL_NAME = re.compile("[A-Za-z_]")

_FILTERS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "LANGUAGE", "ESCALATION"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER", "NO_IMAGE"}
)
_CALLS = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"}
)

_text = msgspec.json.Encoder().encode


def headers(terms: Terms) -> Mapping[str, str]:
    """Return the headers of a request under these terms; ``{key}`` stands for the API key."""
    return {"x-goog-api-key": "{key}"}


def encode(request: Request) -> bytes:
    """Return the body of one request; the model stands in the path."""
    return encoder(request.terms)(request.messages)


def encoder(terms: Terms) -> Callable[[Messages], bytes]:
    """Return the function from messages to bodies under these terms; all but the messages is written once."""
    rest = msgspec.json.encode(_parameters(terms))[1:-1]
    tail = b"]," + rest + b"}" if rest else b"]}"

    def body(messages: Messages) -> bytes:
        turns: list[tuple[bytes, list[bytes]]] = []
        rules = []
        for message in messages:
            part = (
                b'{"text":%b}' % _text(message.content)
                if message.__class__ is Message
                else b",".join([_text(_part(part)) for part in parts_of(message)])
            )
            if message.role in ("system", "developer"):
                rules.append(part)
                continue
            role = _ROLES.get(message.role, b"user")
            if turns and turns[-1][0] == role:  # roles have to alternate
                turns[-1][1].append(part)
            else:
                turns.append((role, [part]))
        head = b'{"systemInstruction":{"parts":[%b]},"contents":[' % b",".join(rules) if rules else b'{"contents":['
        said = [b'{"role":"%b","parts":[%b]}' % (role, b",".join(parts)) for role, parts in turns]
        return head + b",".join(said) + tail

    return body


def _part(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"text": part.value}
    found = split_url(part.value)
    if found is not None:
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    # Of an image nobody knows the type before it is fetched, and a name says nothing.
    known = {"mimeType": PDF} if part.kind == "file" else {}
    return {"fileData": {**known, "fileUri": part.value}}


def _parameters(terms: Terms) -> dict[str, Any]:
    extra = added(terms, RESERVED)
    inside = extra.pop("generationConfig", {})
    if not isinstance(inside, dict) or not _RESERVED_INSIDE.isdisjoint(inside):
        raise OptionError(
            "extra's generationConfig takes an object without "
            f"{', '.join(sorted(_RESERVED_INSIDE))}; dfllm has options for what it can change."
        )
    options = {
        "temperature": terms.temperature,
        "topP": terms.top_p,
        "maxOutputTokens": terms.max_tokens,
        "stopSequences": terms.stop,
        "seed": terms.seed,
        "thinkingConfig": _thinking(terms.reasoning),
        "responseMimeType": "application/json" if terms.schema else None,
        "responseJsonSchema": json.loads(terms.schema) if terms.schema else None,
    }
    config = {name: value for name, value in options.items() if value is not None} | inside
    offered = {"tools": loaded(terms.tools), "toolConfig": _choice(terms.tool_choice)}
    parts = {"generationConfig": config or None, "serviceTier": terms.service_tier, **offered}
    return {name: value for name, value in parts.items() if value is not None} | extra


def _choice(choice: str | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    mode = {"mode": _MODES.get(choice, "ANY")}
    return {"functionCallingConfig": mode if choice in _MODES else mode | {"allowedFunctionNames": [choice]}}


def tools(offered: Sequence[Tool], *, strict: bool) -> str:
    """Return the part of the body that offers these tools, within what the API takes.

    Raises:
        OptionError: nothing within that means the same.
    """
    return line([{"functionDeclarations": [_declaration(tool) for tool in offered]}])


def _declaration(tool: Tool) -> dict[str, Any]:
    if not _TOOL_NAME.match(tool.name):
        raise OptionError(f"A tool is called {tool.name!r}; Gemini wants a letter or _ first. Rename it.")
    made: dict[str, Any] = {"name": tool.name}
    if tool.description:
        made["description"] = tool.description
    if tool.parameters.get("properties"):  # an object without any is refused
        try:
            made["parametersJsonSchema"] = json.loads(for_gemini(line(tool.parameters)))
        except OptionError as error:
            raise OptionError(f"Tool {tool.name!r}: its {error}") from error
    return made


def _thinking(reasoning: str | None) -> dict[str, Any] | None:
    """Return a level, or a budget where a number is asked for: older models know only that."""
    if reasoning is None:
        return None
    if re.fullmatch(r"-?\d{1,9}", reasoning, re.ASCII):
        return {"thinkingBudget": int(reasoning)}
    return {"thinkingLevel": reasoning.upper()}


def response_format(schema: str, *, strict: bool) -> str:
    """Return the part of the body that asks for this JSON schema, within what the API takes.

    Raises:
        OptionError: nothing within that means the same.
    """
    return for_gemini(schema)


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: Any = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class _Body(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
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
        found = loosely(body, _Body, "generated content", usage="usageMetadata")
        if isinstance(found, Failure):
            return found
        said = found
    if not said.candidates:
        blocked = said.prompt_feedback.block_reason if said.prompt_feedback else None
        if blocked:
            why = f"prompt refused by policy, {cleaned(blocked, 40)}"
            return Failure("ContentFiltered", why, "paid", response=_response(said, blocked, ""))
        return failed(said.error, paid=said.usage_metadata is not None, nothing="no candidates")
    candidate = said.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    response = _response(said, candidate.finish_reason or "STOP", text)
    calls = [part.function_call for part in parts if part.function_call is not None]
    return _judged(candidate, response, calls)


def _response(said: _Body, finish: str, text: str) -> Response:
    usage = said.usage_metadata or _NO_USAGE
    tokens_in, thoughts = usage.prompt_token_count, usage.thoughts_token_count or 0
    tokens_out = usage.candidates_token_count
    if tokens_out is None and tokens_in is not None:
        tokens_out = 0  # it leaves out what is none
    return Response(
        text,
        finish,
        # Cached tokens are among those of the prompt, thoughts are not among those of the answer.
        tokens_in + (usage.tool_use_prompt_token_count or 0) if tokens_in is not None else None,
        tokens_out + thoughts if tokens_out is not None else None,
        usage.cached_content_token_count or 0,
        thoughts,
        said.model_version,
    )


def _judged(candidate: _Candidate, response: Response, calls: Sequence[Any]) -> Outcome:
    """Return the outcome of a candidate by why it ended; each was paid for."""
    finish, text = response.finish, response.text
    if finish in _FILTERS:
        why = f"answer withheld by the provider's filter, {finish}"
        return Failure("ContentFiltered", why, "paid", response=response)
    if finish == "MAX_TOKENS":
        tokens = response.tokens_out
        if not text.strip() and response.tokens_reasoning:
            return Failure("Truncated", f"all {tokens} tokens were reasoning", "paid", response=response)
        reason = f"{tokens} output tokens" if tokens is not None else "output tokens used up"
        return Failure("Truncated", reason, "paid", response=response)
    if finish == "CONTINUATION":
        return Failure("Truncated", "the provider wants to go on in another request", "paid", response=response)
    if finish in _CALLS:
        return Failure("InvalidOutput", f"function call, {finish}", "paid", response=response)
    if calls:
        found = [call if isinstance(call, dict) else {} for call in calls]
        return with_calls(response, [Said(call.get("name"), call.get("args"), call.get("id")) for call in found])
    if finish == "MALFORMED_RESPONSE":
        return Failure("InvalidOutput", "malformed response", "paid", response=response)
    if not text.strip():
        said = f"{finish}: {candidate.finish_message or 'no reason given'}" if finish != "STOP" else "blank"
        return Failure("EmptyResponse", cleaned(said), "paid", response=response)
    return response
