"""Bodies, as far as all dialects share them: what users add, errors with their status, pages, values of odd types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dfllm._core.errors import OptionError
from dfllm._core.files import PDF
from dfllm._core.types import Failure, Outcome, Terms
from dfllm._wire.status import cleaned, complaint_of, failure_of
from dfllm._wire.tools import FIELDS

T = TypeVar("T", bound=msgspec.Struct)


def added(terms: Terms, reserved: frozenset[str]) -> dict[str, Any]:
    """Return what the user adds to the body.

    Raises:
        OptionError: it sets what the library decides.
    """
    extra = json.loads(terms.extra) if terms.extra else {}
    if taken := (reserved if terms.tools is None else reserved | FIELDS) & set(extra):
        raise OptionError(f"extra must not set {', '.join(sorted(taken))}; dfllm has options for what it can change.")
    return dict(extra)


def refuse(whose: str, **options: object) -> None:
    """Refuse options that this API has no place for.

    Raises:
        OptionError: one of them is set.
    """
    if taken := [name for name, value in options.items() if value is not None]:
        raise OptionError(f"{whose} takes no {' and no '.join(taken)}; leave it out.")


def file_name(media_type: str) -> str:
    """Return what a file is called on the wire: the same for all of a type, as its own name is no part of its key."""
    return "document.pdf" if media_type == PDF else "document.txt"


def refused(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an answer with an error's status means; headers are looked up by lower-case name."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]  # so says Google's endpoint
    return failure_of(status, headers, complaint_of(_error_in(parsed)))


def _error_in(body: Any) -> Any:
    """Return what says in a body what went wrong: an ``error``, a list of details, or the body itself."""
    if not isinstance(body, Mapping):
        return None
    if "error" in body:
        return body["error"]
    if "detail" in body:
        return body["detail"]
    message = body.get("message")
    # Mistral and older vLLMs have their type and code beside the message, which may hold details of its own.
    return _error_in(message) if isinstance(message, Mapping) else body if message is not None else None


def named(outcome: Outcome, headers: Mapping[str, str]) -> Outcome:
    """Return the outcome of a 200; where its body is a page, it says so."""
    if (
        isinstance(outcome, Failure)
        and outcome.type == "BadResponse"
        and "text/html" in headers.get("content-type", "")
    ):
        return Failure("BadResponse", "text/html, not JSON", "maybe")
    return outcome


def loosely(body: bytes, kind: type[T], what: str, *, usage: str = "usage") -> T | Failure:
    """Return the body read by the standard decoder, which takes lone surrogates, and leniently where a type is off.

    Args:
        body: what a fast decoder would not take.
        kind: the struct it should be.
        what: what to call that.
        usage: the field that holds the tokens; an odd count must not cost the answer.
    """
    try:
        parsed = json.loads(body)
    except RecursionError:
        return Failure("BadResponse", "nested too deep", "maybe")
    except ValueError as error:
        return Failure("BadResponse", f"not JSON at {getattr(error, 'pos', 0)}", "maybe")
    if not isinstance(parsed, dict):
        return Failure("BadResponse", f"a JSON {type(parsed).__name__}, not an object", "maybe")
    try:
        return msgspec.convert(parsed, kind)
    except msgspec.ValidationError:
        parsed.pop(usage, None)
    try:
        return msgspec.convert(parsed, kind)
    except msgspec.ValidationError as error:
        return Failure("BadResponse", f"not {what}: {cleaned(error)}", "maybe")


def failed(error: object, *, paid: bool, nothing: str) -> Failure:
    """Return what a 200 means that holds no answer.

    Args:
        error: what stands where an error would.
        paid: whether it says what it cost.
        nothing: what to say where there is no error either.
    """
    complaint = complaint_of(error)
    if complaint is None:
        return Failure("EmptyResponse", nothing, "paid" if paid else "maybe")
    inner = next((int(word) for word in complaint.words if word.isdigit() and 300 <= int(word) < 600), 0)
    failure = failure_of(inner or 200, {}, complaint)
    return Failure(failure.type, failure.reason, failure.billing, inner or None, failure.code)
