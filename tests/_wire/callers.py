"""Callers: what each dialect's provider sends where a model calls tools, beside `vendors`, for one suite over all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests._wire.vendors import VENDORS

#: What every `one` calls, and every `two` calls first.
OSLO = {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}
LIMA = {"name": "weather", "arguments": {"city": "Líma", "days": 1}}


@dataclass(frozen=True)
class Caller:
    """One vendor's answers with calls, each a whole body of a 200.

    Attributes:
        one: a call of `OSLO` and nothing else.
        two: calls of `OSLO` and `LIMA`.
        both: a text, then a call of `OSLO`.
        cut: the limit of tokens was reached in the middle of a call.
        broken: arguments that are no JSON; None where arguments are no text.
        ids: what the calls of `two` are known by.
        finish: why `one` ended.
        choices: what may be said of which is called.
    """

    one: Mapping[str, Any]
    two: Mapping[str, Any]
    both: Mapping[str, Any]
    cut: Mapping[str, Any]
    broken: Mapping[str, Any] | None
    ids: tuple[str | None, str | None]
    finish: str
    choices: tuple[str | None, ...] = (None, "auto", "required", "none", "weather", "look_up")


def _openai(calls: list[tuple[str, str]], content: str | None = None, finish: str = "tool_calls") -> dict[str, Any]:
    plain = VENDORS["openai"].plain
    said = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    message = plain["choices"][0]["message"] | {"content": content, "tool_calls": said}
    return plain | {"choices": [plain["choices"][0] | {"message": message, "finish_reason": finish}]}


_OSLO_TEXT, _LIMA_TEXT = '{"city":"Oslo","days":2}', '{"city": "L\\u00edma", "days": 1}'

OPENAI = Caller(
    one=_openai([("weather", _OSLO_TEXT)]),
    two=_openai([("weather", _OSLO_TEXT), ("weather", _LIMA_TEXT)]),
    both=_openai([("weather", _OSLO_TEXT)], "Let me see."),
    cut=_openai([("weather", '{"city":"Os')], "Let me see.", "length"),
    broken=_openai([("weather", '{"city":"Os')]),
    ids=("call_0", "call_1"),
    finish="tool_calls",
)


def _anthropic(blocks: list[dict[str, Any]], stop: str = "tool_use") -> dict[str, Any]:
    return VENDORS["anthropic"].plain | {"content": blocks, "stop_reason": stop}


def _use(call: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": call["name"], "input": call["arguments"]}


_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
_TEXT = {"type": "text", "text": "Let me see."}

ANTHROPIC = Caller(
    one=_anthropic([_THOUGHT, _use(OSLO, 0)]),
    two=_anthropic([_THOUGHT, _use(OSLO, 0), _use(LIMA, 1)]),
    both=_anthropic([_TEXT, _use(OSLO, 0)]),
    cut=_anthropic([_TEXT, _use({"name": "weather", "arguments": {}}, 0)], "max_tokens"),
    broken=None,
    ids=("toolu_0", "toolu_1"),
    finish="tool_use",
)


def _gemini(parts: list[dict[str, Any]], finish: str = "STOP") -> dict[str, Any]:
    content = {"role": "model", "parts": parts}
    return VENDORS["gemini"].plain | {"candidates": [{"content": content, "finishReason": finish, "index": 0}]}


def _function(call: Mapping[str, Any], **more: str) -> dict[str, Any]:
    return {"functionCall": {"name": call["name"], "args": call["arguments"]} | more}


GEMINI = Caller(
    one=_gemini([{"text": "hm", "thought": True}, _function(OSLO)]),
    two=_gemini([_function(OSLO), _function(LIMA, id="7")]),
    both=_gemini([{"text": "Let me see."}, _function(OSLO)]),
    cut=_gemini([{"text": "Let me see."}], "MAX_TOKENS"),
    broken=_gemini([], "MALFORMED_FUNCTION_CALL"),
    ids=(None, "7"),
    finish="STOP",
)


def _responses(calls: list[tuple[str, str]], text: str | None = None, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": content}
    said = [
        {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name, "arguments": asked}
        for number, (name, asked) in enumerate(calls)
    ]
    return VENDORS["openai-responses"].plain | {"output": ([message] if text else []) + said} | more


RESPONSES = Caller(
    one=_responses([("weather", _OSLO_TEXT)]),
    two=_responses([("weather", _OSLO_TEXT), ("weather", _LIMA_TEXT)]),
    both=_responses([("weather", _OSLO_TEXT)], "Let me see."),
    cut=_responses(
        [("weather", '{"city":"Os')],
        "Let me see.",
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    ),
    broken=_responses([("weather", '{"city":"Os')]),
    ids=("call_0", "call_1"),
    finish="completed",
)


def _converse(blocks: list[dict[str, Any]], stop: str = "tool_use") -> dict[str, Any]:
    message = {"role": "assistant", "content": blocks}
    return VENDORS["converse"].plain | {"output": {"message": message}, "stopReason": stop}


def _block(call: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": f"tooluse_{number}", "name": call["name"], "input": call["arguments"]}}


_REASONING = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}

CONVERSE = Caller(
    one=_converse([_REASONING, _block(OSLO, 0)]),
    two=_converse([_REASONING, _block(OSLO, 0), _block(LIMA, 1)]),
    both=_converse([{"text": "Let me see."}, _block(OSLO, 0)]),
    cut=_converse([{"text": "Let me see."}, _block({"name": "weather", "arguments": {}}, 0)], "max_tokens"),
    broken=_converse([], "malformed_tool_use"),
    ids=("tooluse_0", "tooluse_1"),
    finish="tool_use",
    choices=(None, "auto", "required", "weather", "look_up"),
)

CALLERS: Mapping[str, Caller] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "openai-responses": RESPONSES,
    "converse": CONVERSE,
    "vertex-gemini": GEMINI,
    "vertex-claude": ANTHROPIC,
}
