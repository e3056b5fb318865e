"""What goes back over the wire, as a value: status, headers, bytes, how they are delivered, and what they cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Delivery = Literal[
    "whole",  # as it should be
    "late",  # whole, after a stall
    "drip",  # a byte now and then
    "reset",  # no byte at all, the connection is reset
    "cut",  # half of the body, then end of file
    "cut_reset",  # half of the body, then a reset
    "cut_chunked",  # half of a chunked body, then end of file
    "stale",  # whole; then the connection, promised to stay open, is closed
    "twice",  # whole, and the same bytes again behind it
]

# Made once: json.dumps with options makes an encoder for every call.
_as_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_as_ascii = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, complete.

    Attributes:
        status: the HTTP status.
        body: the bytes as sent; a ``content-encoding`` header says if they are packed.
        headers: those that are particular to this reply.
        content_type: what the body claims to be.
        delivery: how the bytes get to the client, or do not.
        billed: whether the provider charges for it.
        prompt_tokens: tokens charged for reading the question.
        completion_tokens: tokens charged for the answer.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    delivery: Delivery = "whole"
    billed: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


def packed(value: Any) -> bytes:
    """Return JSON as providers send it; a lone surrogate goes out as an escape, as it does there."""
    try:
        return _as_text(value).encode()
    except UnicodeEncodeError:
        return _as_ascii(value).encode()
