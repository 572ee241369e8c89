"""Decides which tool the simulated model uses, and makes up an input that fits its schema. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ferryman.simulator.control import Control
from ferryman.simulator.validate import Block, MessageRequest

_MAX_DEPTH = 8  # a schema may refer to itself only by $ref, which is not followed; this bounds the rest

# Run by Anthropic itself; every other tool is the client's to run.
_SERVER_TOOLS = (
    "web_search_",
    "web_fetch_",
    "code_execution_",
    "tool_search_tool_",
    "advisor_",
    "mcp_toolset",
)


def choose_tool(request: MessageRequest, prompt: str, control: Control) -> Block | None:
    """The client's tool that this answer uses, or None.

    It is the one that `tool_choice` or the control names; the first one when they only ask for any; or
    one that the prompt asks for in so many words ("use the NAME tool", "call NAME"). A prompt cannot
    ask while `tool_choice` is `none`, or when it consists of tool results.
    """
    offered = [tool for tool in request.tools if not _is_server_tool(tool) and "name" in tool]
    kind = request.tool_choice.get("type", "auto")
    if not offered or kind == "none":
        return None
    if kind == "tool":
        return _named(offered, request.tool_choice["name"])
    if control.tool is not None or kind == "any":
        first = next((tool for tool in offered if not tool.get("defer_loading")), offered[0])
        return _named(offered, control.tool) if control.tool else first
    if tool_results(request):
        return None
    return next((tool for tool in offered if _asks_for(prompt, tool["name"])), None)


def choose_server_tool(request: MessageRequest, prompt: str) -> str | None:
    """`web_search` or `web_fetch`, when it is offered and the prompt asks for it as for any tool."""
    for tool in request.tools:
        for name in ("web_search", "web_fetch"):
            if str(tool.get("type", "")).startswith(f"{name}_") and _asks_for(prompt, name):
                return name
    return None


def tool_results(request: MessageRequest) -> Sequence[Block]:
    """The tool results in the last message, which a client may follow with system entries."""
    spoken = [turn for turn in request.turns if turn.role != "system"]
    return [block for turn in spoken[-1:] for block in turn.blocks if block["type"] == "tool_result"]


def sample(schema: object, name: str = "value", depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """A value that fits a JSON schema, as far as `const`, `enum`, `default`, types and `required` say."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(key):
            first = schema[key][0]
            return first if key == "enum" else sample(first, name, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _sample_object(schema, depth)
    if kind == "array":
        return [sample(schema.get("items", {}), name, depth + 1)]
    number = schema.get("minimum", 1)
    return {"string": f"simulated {name}", "integer": number, "number": number, "boolean": True}.get(kind)


def _sample_object(schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    wanted = schema.get("required", properties)
    return {name: sample(properties.get(name, {}), name, depth + 1) for name in wanted}


def _is_server_tool(tool: Block) -> bool:
    return str(tool.get("type", "")).startswith(_SERVER_TOOLS)


def _named(tools: Sequence[Block], name: str) -> Block | None:
    return next((tool for tool in tools if tool["name"] == name), None)


def _asks_for(prompt: str, name: str) -> bool:
    pattern = rf"\b(?:use|call|run)\s+(?:the\s+)?[`'\"]?{re.escape(name)}\b"
    return re.search(pattern, prompt, re.IGNORECASE) is not None
