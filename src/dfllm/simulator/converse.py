"""Bedrock's Converse, the way out: what was made up as a chat completion, in this vendor's shapes."""

import json
import re
from collections.abc import Mapping
from typing import Any

from .tools import broken

_KINDS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}
#: What has another status here than elsewhere.
_STATUSES = {401: 403, 402: 400, 529: 503}
_SAID = {
    "context_length_exceeded": "Input is too long for requested model.",
    "invalid_api_key": "The security token included in the request is invalid.",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}


def headers(request_id: str, seconds: float) -> dict[str, str]:
    """Return the headers of every response."""
    number = request_id.removeprefix("req_")
    parts = (number[:8], number[8:12], number[12:16], number[16:20], number[20:])
    return {"x-amzn-requestid": "-".join(parts)}


def _kind(status: int, said: Mapping[str, Any]) -> str:
    if said.get("code") == "insufficient_quota":
        return "ServiceQuotaExceededException"
    return _KINDS.get(status, "InternalServerException")


def error_body(status: int, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error: what is wrong in words, and its kind where no header can say it."""
    message = _SAID.get(str(said.get("code")), said.get("message") or "")
    return {"message": message} | ({"__type": _kind(status, said)} if status == 200 else {})


def error_head(status: int, said: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """Return an error's status and the header that says its kind."""
    kind = _kind(status, said)
    if kind == "ServiceQuotaExceededException":
        return 400, {"x-amzn-errortype": kind}
    return _STATUSES.get(status, status), {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"}


def answer(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion as an answer of Converse; a refusal is what a filter withholds."""
    made: dict[str, Any] = {}
    choice = next(iter(completion.get("choices") or ()), None)
    if choice is not None:
        said = choice["message"]
        stop = "content_filtered" if said.get("refusal") else _STOPS[choice["finish_reason"]]
        content: list[dict[str, Any]] = [{"text": said["content"]}] if said.get("content") else []
        for call in said.get("tool_calls") or ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if broken(arguments) and stop == "tool_use":  # a call that cannot be read is not shown
                stop = "malformed_tool_use"
                continue
            asked = {} if broken(arguments) else json.loads(arguments)  # one that was cut is empty
            known_by = re.sub("^call_", "tooluse_", call["id"])
            content.append({"toolUse": {"toolUseId": known_by, "name": name, "input": asked}})
        made = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop}
    if completion.get("usage"):
        made |= {"usage": usage(completion["usage"])}
    return made | {"metrics": {"latencyMs": 1}}


def usage(used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the account of tokens; those read from a cache stand apart."""
    cached = used["prompt_tokens_details"]["cached_tokens"]
    return {
        "inputTokens": used["prompt_tokens"] - cached,
        "outputTokens": used["completion_tokens"],
        "totalTokens": used["total_tokens"],
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": 0,
    }
