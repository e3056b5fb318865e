"""Mending: an answer that does not hold what was asked for, and the question that asks for a better one."""

from __future__ import annotations

from dfllm._core.types import Failure, Message, Messages


def mending(messages: Messages, failure: Failure) -> Messages | None:
    """Return the messages that tell the model what was wrong; None where asking again would not help.

    A function call is what the model wanted, and a text cut short would be cut again.

    Args:
        messages: what was asked.
        failure: what the answer came to.
    """
    if failure.type not in ("InvalidOutput", "EmptyResponse") or failure.reason.startswith("function call"):
        return None
    if failure.response is not None and failure.response.calls is not None:
        return None
    said = _sendable(failure.response.text) if failure.response is not None else ""
    wrong = f"This answer cannot be used: {_sendable(failure.reason)}."
    told = Message("user", f"{wrong} Answer the question again, with nothing but the JSON asked for.")
    return (*messages, Message("assistant", said), told) if said.strip() else (*messages, told)


def _sendable(text: str) -> str:
    """Return a text without lone surrogates, which an answer may hold and no request can."""
    return text.encode("utf-8", "replace").decode("utf-8")
