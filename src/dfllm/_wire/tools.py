"""Tools on the wire, as far as dialects share it: which fields are theirs, and a schema that is asked for by a tool.

Servers that know tools but no structured output can be held to a schema all the same: by one tool that must be called,
whose arguments are the answer. See https://platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from dfllm._core.types import Failure, Outcome, Terms

#: What `extra` must not set beside `tools=`, in any dialect.
FIELDS = frozenset(
    {"tools", "tool_choice", "toolConfig", "tool_config", "functions", "function_call"},
)
#: The tool whose arguments are the answer.
HOLDER = "answer"


def line(value: Any) -> str:
    """Return JSON as it is sent: tight, and in the user's order, since models read what comes first first."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def loaded(tools: str | None) -> Any:
    """Return the tools as they are sent; None where there are none."""
    return json.loads(tools) if tools is not None else None


def holder_of(terms: Terms) -> Mapping[str, Any] | None:
    """Return the tool that holds the answer to a schema; None where none does."""
    form = json.loads(terms.schema) if terms.schema is not None else {}
    return form if form.get("name") == HOLDER and "input_schema" in form else None


def has_tools(terms: Terms) -> bool:
    """Return whether a request offers tools, which providers explain to the model in words of their own."""
    return terms.tools is not None or holder_of(terms) is not None


def held(outcome: Outcome) -> Outcome:
    """Return an answer that was given as the arguments of a tool as one that was said."""
    response = outcome.response if isinstance(outcome, Failure) else outcome
    if response is None or response.calls is None:
        return outcome
    first = json.loads(response.calls)[0]
    if first["name"] != HOLDER:
        return outcome
    given = first["arguments"]
    return msgspec.structs.replace(response, text=given if isinstance(given, str) else line(given), calls=None)
