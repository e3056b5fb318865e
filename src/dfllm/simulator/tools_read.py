"""Tools on their way in: read from each vendor's own words into an offer, or refused in them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from . import strict
from .openai import Rejected, error
from .tools import NO_PARAMETERS, Offer, Tool

_OPENAI_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ANTHROPIC_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CONVERSE_NAME = _OPENAI_NAME
_GEMINI_NAME = re.compile(r"[a-zA-Z_][\w.:-]{0,127}", re.ASCII)
_GEMINI_MODES = ("AUTO", "ANY", "NONE", "VALIDATED")


def from_openai(body: Mapping[str, Any]) -> Offer | None:
    """Read the tools of a chat completion.

    Raises:
        Rejected: the provider would answer 400.
    """
    given, choice = body.get("tools"), body.get("tool_choice")
    if not given:
        if given is not None:
            _refuse("Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools")
        if choice is not None:
            _refuse("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
        return None
    if not isinstance(given, list):
        _refuse("Invalid type for 'tools': expected an array of objects.", "tools")
    tools = tuple(_openai_tool(f"tools[{place}]", tool) for place, tool in enumerate(given))
    at_once = body.get("parallel_tool_calls") is not False
    if choice in (None, "auto", "required", "none"):
        return Offer(() if choice == "none" else tools, must=choice == "required", at_once=at_once)
    inside = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = inside.get("name") if isinstance(inside, dict) else None
    if name not in [tool.name for tool in tools]:
        _refuse(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
    return Offer(tools, named=name)


def _openai_tool(where: str, given: Any) -> Tool:
    inside = given.get("function") if isinstance(given, dict) and given.get("type") == "function" else None
    if not isinstance(inside, dict):
        _refuse(f"Missing required parameter: '{where}.function'.", f"{where}.function")
    name, parameters = inside.get("name"), inside.get("parameters", NO_PARAMETERS)
    if not isinstance(name, str) or not _OPENAI_NAME.fullmatch(name):
        text = f"Invalid '{where}.function.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'."
        _refuse(text, f"{where}.function.name")
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        text = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"'."
        _refuse(text, f"{where}.function.parameters")
    against = strict.complaint(parameters) if inside.get("strict") else None
    if against:
        _refuse(f"Invalid schema for function '{name}': {against}", f"{where}.function.parameters")
    return Tool(name, parameters)


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tools of a response as those of a chat completion: there they are nested."""
    made: dict[str, Any] = {name: body[name] for name in ("tool_choice", "parallel_tool_calls") if name in body}
    if isinstance(body.get("tools"), list):
        # Those that the vendor has itself, such as its search, find nothing here.
        own = [tool for tool in body["tools"] if not isinstance(tool, dict) or tool.get("type") == "function"]
        made["tools"] = [_nested(tool) for tool in own]
        if not own and body["tools"]:
            return {}
    choice = made.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        made["tool_choice"] = _nested(choice)
    return made


def _nested(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    inside = {name: value for name, value in given.items() if name != "type"}
    if "parameters" in inside:
        inside["strict"] = inside.get("strict") is not False  # there it goes without saying
    return {"type": "function", "function": inside}


def from_anthropic(body: Mapping[str, Any]) -> Offer | None:
    """Read the tools of a message.

    Raises:
        Rejected: the provider would answer 400.
    """
    given, choice = body.get("tools") or [], body.get("tool_choice")
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        _refuse("tools: Input should be a valid list")
    if choice is not None and not given:
        _refuse("tool_choice: tool_choice may only be specified while providing tools")
    own = [(place, tool) for place, tool in enumerate(given) if tool.get("type", "custom") == "custom"]
    tools = tuple(_anthropic_tool(f"tools.{place}.custom", tool) for place, tool in own)
    chosen = choice or {"type": "auto"}
    kind = chosen.get("type") if isinstance(chosen, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        _refuse("tool_choice: Input tag should be one of 'auto', 'any', 'tool', 'none'")
    if kind in ("any", "tool") and (body.get("thinking") or {}).get("type") == "enabled":
        _refuse("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and chosen.get("name") not in [tool.name for tool in tools]:
        _refuse(f"Tool '{chosen.get('name')}' not found in provided tools")
    if not tools:
        return None
    at_once = chosen.get("disable_parallel_tool_use") is not True
    named = chosen["name"] if kind == "tool" else None
    return Offer(() if kind == "none" else tools, must=kind == "any", named=named, at_once=at_once)


def _anthropic_tool(where: str, given: Mapping[str, Any]) -> Tool:
    name, parameters = given.get("name"), given.get("input_schema")
    if not isinstance(name, str) or not _ANTHROPIC_NAME.fullmatch(name):
        _refuse(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not isinstance(parameters, dict):
        _refuse(f"{where}.input_schema: Field required")
    if parameters.get("type") != "object":
        _refuse(f"{where}.input_schema.type: Input should be 'object'")
    return Tool(name, parameters)


def from_converse(body: Mapping[str, Any]) -> Offer | None:
    """Read the tools of a request for Bedrock's Converse.

    Raises:
        Rejected: the provider would answer 400.
    """
    config = body.get("toolConfig")
    if config is None:
        return None
    given = config.get("tools") if isinstance(config, dict) else None
    if not isinstance(given, list) or not given or not all(isinstance(tool, dict) and tool for tool in given):
        _refuse("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length of at least 1")
    for name in config.keys() - {"tools", "toolChoice"}:
        _refuse(f"The request contains an unknown field: toolConfig.{name}")
    own = [(at, tool["toolSpec"]) for at, tool in enumerate(given) if "toolSpec" in tool]
    tools = tuple(_converse_tool(f"toolConfig.tools.{at}.toolSpec", spec) for at, spec in own)
    chosen = config.get("toolChoice", {"auto": {}})
    kind = next(iter(chosen), None) if isinstance(chosen, dict) and len(chosen) == 1 else None
    if kind not in ("auto", "any", "tool") or not isinstance(chosen[kind], dict):
        _refuse("Value at 'toolConfig.toolChoice' must be one of auto, any, tool")
    named = chosen["tool"].get("name") if kind == "tool" else None
    if kind == "tool" and named not in [tool.name for tool in tools]:
        _refuse(f"The tool '{named}' of toolConfig.toolChoice is not defined in toolConfig.tools.")
    return Offer(tools, must=kind == "any", named=named) if tools else None


def _converse_tool(where: str, given: Any) -> Tool:
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or not _CONVERSE_NAME.fullmatch(name):
        _refuse(f"Value at '{where}.name' must satisfy regular expression pattern: [a-zA-Z0-9_-]+")
    if given.get("description") == "":
        _refuse(f"Value at '{where}.description' must have length greater than or equal to 1")
    inside = given.get("inputSchema")
    parameters = inside.get("json") if isinstance(inside, dict) else None
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        _refuse(f"The value at {where}.inputSchema.json.type must be one of the following: object.")
    return Tool(name, parameters)


def from_gemini(body: Mapping[str, Any], complaint: Callable[[Any], str | None]) -> Offer | None:
    """Read the tools of a request for generated content.

    Args:
        body: the request.
        complaint: says what the vendor has against a schema.

    Raises:
        Rejected: the provider would answer 400.
    """
    given = body.get("tools") or []
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        _refuse("Invalid value at 'tools'")
    declared = [one for tool in given for one in tool.get("functionDeclarations") or ()]
    tools = tuple(
        _gemini_tool(f"tools[0].function_declarations[{at}]", one, complaint) for at, one in enumerate(declared)
    )
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, allowed = config.get("mode", "AUTO"), config.get("allowedFunctionNames") or []
    if mode not in _GEMINI_MODES:
        _refuse(f"Invalid value at 'tool_config.function_calling_config.mode': \"{mode}\"")
    if allowed and mode not in ("ANY", "VALIDATED"):
        _refuse("Please set allowed_function_names only when function calling mode is ANY.")
    if lost := set(allowed) - {tool.name for tool in tools}:
        _refuse(f"allowed_function_names: {min(lost)} is not declared.")
    if not tools:
        return None
    tools = tuple(tool for tool in tools if not allowed or tool.name in allowed)
    return Offer(() if mode == "NONE" else tools, must=mode == "ANY")


def _gemini_tool(where: str, given: Any, complaint: Callable[[Any], str | None]) -> Tool:
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or not _GEMINI_NAME.fullmatch(name):
        _refuse(f"Invalid {where}.name: Must start with a letter or an underscore.")
    parameters = given.get("parametersJsonSchema", given.get("parameters_json_schema"))  # its own client's spelling
    if parameters is None:
        parameters = _lowered(given["parameters"]) if "parameters" in given else NO_PARAMETERS
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        _refuse(f"{where}.parameters: schema should be of type OBJECT.")
    if against := complaint(parameters):
        _refuse(f"{where}.parameters_json_schema: {against}")
    return Tool(name, parameters)


def _lowered(schema: Any) -> Any:
    """Return a schema in the vendor's older form, whose types are in capitals, as JSON schema."""
    if isinstance(schema, list):
        return [_lowered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: value.lower() if word == "type" and isinstance(value, str) else _lowered(value)
        for word, value in schema.items()
    }


def _refuse(message: str, param: str | None = None) -> NoReturn:
    raise Rejected(error(400, message, param=param, code="invalid_value" if param else None))
