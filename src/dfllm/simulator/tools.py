"""Tools: which of those on offer are called, by the words of the question, and with what.

A tool whose name stands in the last message of the user is called, once for each time it stands there. Where one must
be called and none is named, luck picks one. Arguments are made up to fit the tool's schema.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import luck, schemas

_MOST = 8

#: Of a tool that says nothing of its arguments.
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool on offer.

    Attributes:
        name: its name.
        parameters: JSON schema of its arguments.
    """

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of one question.

    Attributes:
        tools: those that may be called.
        must: whether one has to be.
        named: the one that has to be.
        at_once: whether several may be called in one answer.
    """

    tools: tuple[Tool, ...]
    must: bool = False
    named: str | None = None
    at_once: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the tool, and its arguments as JSON."""

    id: str
    name: str
    arguments: str


def calls_of(offer: Offer, text: str, key: str) -> tuple[Call, ...]:
    """Return what is called; the same key, the same calls.

    Args:
        offer: what may be called.
        text: what was asked.
        key: what the luck depends on.

    Raises:
        BadSchema: no arguments fit what a tool asks for.
    """
    about = _naming(offer).sub(" ", text) if offer.tools else text  # a tool's name is seldom what it is asked for
    return tuple(
        Call(f"call_{luck.number(key, place):016x}{place:08x}", tool.name, _arguments(tool, about, f"{key}:{place}"))
        for place, tool in enumerate(_chosen(offer, text, key))
    )


def _naming(offer: Offer) -> re.Pattern[str]:
    names = "|".join(
        re.escape(tool.name) for tool in sorted(offer.tools, key=lambda tool: len(tool.name), reverse=True)
    )
    return re.compile(rf"(?<![\w-])({names})(?![\w-])")


def _chosen(offer: Offer, text: str, key: str) -> Sequence[Tool]:
    by_name = {tool.name: tool for tool in offer.tools}
    if offer.named is not None:
        return [by_name[offer.named]]
    if not by_name:
        return []
    said = [by_name[found[1]] for found in _naming(offer).finditer(text)]
    if not said and offer.must:
        said = [luck.pick(offer.tools, key, "tool")]
    return said[: _MOST if offer.at_once else 1]


def _arguments(tool: Tool, text: str, key: str) -> str:
    return json.dumps(schemas.fit(tool.parameters, text, key), ensure_ascii=False, separators=(",", ":"))


def broken(arguments: str) -> bool:
    """Return whether arguments are no JSON object, as those of a call that was cut."""
    try:
        return not isinstance(json.loads(arguments), dict)
    except ValueError:
        return True
