"""OpenAI's chat completions, the way in: a body is read into a question, or refused in the vendor's words."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from . import strict, tools_read
from .answers import MODELS
from .asks import Ask, hash_of, tokens_of
from .media import Seen
from .openai import Rejected, error, no_model
from .openai_media import seen_in
from .prefixes import marks_of

#: What a message counts for, whatever is said in it.
MESSAGE_TOKENS = 4
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_SCHEMA_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def read(raw: bytes, *, more_files: bool = False) -> Ask:
    """Read a request for a chat completion.

    Args:
        raw: its body.
        more_files: whether text files and addresses of files are taken.

    Raises:
        Rejected: the provider would answer 400 or 404.
    """
    body = _body(raw)
    name = body.get("model")
    if not isinstance(name, str) or not name:
        _reject("you must provide a model parameter", "model")
    if body.get("stream"):
        _reject("Streaming is not supported by the simulator; leave 'stream' out.", "stream", "unsupported_value")
    messages = _messages(body)
    said = [(message["role"], _text_of(message.get("content"))) for message in messages]
    seen = seen_in(messages, more_files=more_files)
    charged = [*_offered(body), *_charged(said, seen)]
    ask = Ask(
        hash=hash_of(body),
        model=name,
        text=next((text for role, text in reversed(said) if role == "user"), ""),
        prompt_tokens=sum(tokens for _, tokens in charged),
        choices=_whole(body, "n", most=128) or 1,
        allowance=_allowance(body),
        stops=_stops(body),
        schema=_schema(body, said),
        marks=marks_of(body, charged),
        seen=tuple(one.said for shown in seen for one in shown),
        offer=tools_read.from_openai(body),
    )
    _check_range(body, "temperature", 0, 2)
    _check_range(body, "top_p", 0, 1)
    if name not in MODELS:
        raise Rejected(no_model(name))
    return ask


def _reject(message: str, param: str | None, code: str | None = None) -> NoReturn:
    raise Rejected(error(400, message, param=param, code=code))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        _reject(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            None,
        )
    if not isinstance(body, dict):
        _reject("Invalid body: expected a JSON object.", None, "invalid_type")
    return body


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if messages is None:
        _reject("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        _reject("Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type")
    if not messages:
        _reject("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages", "empty_array")
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            _reject(f"Invalid type for '{where}': expected an object.", where, "invalid_type")
        if message.get("role") not in _ROLES:
            names = ", ".join(map(repr, _ROLES))
            _reject(
                f"Invalid value for '{where}.role'. Supported values are: {names}.", f"{where}.role", "invalid_value"
            )
        content = message.get("content")
        silent = content is None and message["role"] == "assistant"
        parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
        if not (silent or isinstance(content, str) or (parts and content)):
            wanted = "expected a string or an array of parts"
            _reject(f"Invalid type for '{where}.content': {wanted}.", f"{where}.content", "invalid_type")
    return messages


def _offered(body: Mapping[str, Any]) -> Iterator[tuple[bytes, int]]:
    """Yield what is read of the tools, before any message."""
    if body.get("tools"):
        text = json.dumps(body["tools"])
        yield text.encode(), tokens_of(text)


def _charged(said: Sequence[tuple[str, str]], seen: Sequence[Sequence[Seen]]) -> Iterator[tuple[bytes, int]]:
    """Yield what is read of the messages, and the tokens it is charged as: role, what is shown, and text of each."""
    for (role, text), shown in zip(said, seen, strict=True):
        yield role.encode(), MESSAGE_TOKENS
        for one in shown:
            yield one.mark, one.tokens
        yield text.encode("utf-8", "surrogatepass"), tokens_of(text)


def _text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if part["type"] == "text" and "text" in part)
    return content or ""


def _whole(body: Mapping[str, Any], name: str, *, most: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        _reject(f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
    if value < 1:
        _reject(
            f"Invalid '{name}': integer below minimum value. Expected a value >= 1.", name, "integer_below_min_value"
        )
    if most is not None and value > most:
        text = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}."
        _reject(text, name, "integer_above_max_value")
    return value


def _allowance(body: Mapping[str, Any]) -> int | None:
    old, new = _whole(body, "max_tokens"), _whole(body, "max_completion_tokens")
    if old is not None and new is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        _reject(text, "max_tokens", "invalid_parameter_combination")
    return new if new is not None else old


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(one, str) and one for one in stops):
        _reject("Invalid type for 'stop': expected a string or an array of up to 4 strings.", "stop", "invalid_type")
    return tuple(stops)


def _check_range(body: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        _reject(f"Invalid type for '{name}': expected a decimal.", name, "invalid_type")
    if not low <= value <= high:
        text = f"Invalid '{name}': expected a decimal between {low} and {high}."
        _reject(text, name, "decimal_above_max_value" if value > high else "decimal_below_min_value")


def _schema(body: Mapping[str, Any], said: Sequence[tuple[str, str]]) -> Mapping[str, Any] | None:
    form = body.get("response_format")
    if form is None:
        return None
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        if not any("json" in text.lower() for _, text in said):
            text = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            _reject(text, "messages")
        return _schema_in(said) or _ANY_OBJECT
    if kind != "json_schema":
        text = (
            "Invalid value for 'response_format.type'. Supported values are: 'json_object', 'json_schema', and 'text'."
        )
        _reject(text, "response_format.type", "invalid_value")
    return _json_schema(form.get("json_schema"))


def _schema_in(said: Sequence[tuple[str, str]]) -> Mapping[str, Any] | None:
    """Return the JSON schema that the instructions ask for, None where they hold none."""
    for role, text in said:
        if role not in ("system", "developer"):
            continue
        try:
            found = json.JSONDecoder().raw_decode(text, text.find('{"'))[0]
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and {"type", "properties"} & found.keys():
            return found
    return None


def _json_schema(asked: Any) -> Mapping[str, Any]:
    where = "response_format.json_schema"
    if not isinstance(asked, dict) or not isinstance(asked.get("schema"), dict):
        text = f"Missing required parameter: '{where}.schema'."
        _reject(text, f"{where}.schema", "missing_required_parameter")
    name = asked.get("name")
    if not isinstance(name, str) or not _SCHEMA_NAME.fullmatch(name):
        text = (
            f"Invalid '{where}.name': string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'."
        )
        _reject(text, f"{where}.name", "invalid_value")
    schema: Mapping[str, Any] = asked["schema"]
    against = strict.complaint(schema) if asked.get("strict") else None
    if against:
        _reject(f"Invalid schema for response_format '{name}': {against}", "response_format", "invalid_json_schema")
    return schema
