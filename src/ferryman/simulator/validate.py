"""Reads a request body as strictly as the real API does, into a `MessageRequest`. Pure.

Not checked, because no client depends on it: the fields inside content blocks of other types than
text, the pairing of tool_use with tool_result, the limits of a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ferryman.simulator.control import split_model
from ferryman.simulator.errors import invalid

VERSION_2023 = "2023-06-01"
VERSION_2026 = "2026-10-21"
KNOWN_VERSIONS = (VERSION_2023, VERSION_2026)

# anthropic 2.12.0, types/message_create_params.py, without `user_profile_id` and `workspace_id`, which
# the SDK sends as headers; `stream` stands in its two subclasses there.
MESSAGE_FIELDS = frozenset(
    {
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)

# The same, types/message_count_tokens_params.py.
COUNT_FIELDS = frozenset(
    {
        "cache_control",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)

NO_FIELDS: frozenset[str] = frozenset()

# What Argo takes beside them: argo-proxy 2.8.9 adds it to each request for its native endpoint.
ARGO_FIELDS = frozenset({"user"})

# Part of the API until version 2026-10-21, which refuses them (platform documentation of that version).
SAMPLING_FIELDS = frozenset({"temperature", "top_k", "top_p"})

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "max_tokens": ((int,), "a valid integer"),
    "messages": ((list,), "a valid list"),
    "metadata": ((dict,), "a valid dictionary"),
    "model": ((str,), "a valid string"),
    "cache_control": ((dict,), "a valid dictionary"),
    "output_config": ((dict,), "a valid dictionary"),
    "stop_sequences": ((list,), "a valid list"),
    "stream": ((bool,), "a valid boolean"),
    "system": ((str, list), "a valid string or list"),
    "temperature": ((int, float), "a valid number"),
    "thinking": ((dict,), "a valid dictionary"),
    "tool_choice": ((dict,), "a valid dictionary"),
    "tools": ((list,), "a valid list"),
    "top_k": ((int,), "a valid integer"),
    "top_p": ((int, float), "a valid number"),
}

Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One entry of `messages`; a content that was a string is one text block."""

    role: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """What the simulator makes use of in a body of `/v1/messages` or its count_tokens.

    Attributes:
        model: The model without its control text.
        control: The control text that followed the model's name, or nothing.
        max_tokens: None for count_tokens.
        extra: Every other field, as it came.
    """

    model: str
    control: str
    max_tokens: int | None
    turns: tuple[Turn, ...]
    system: tuple[Block, ...] = ()
    tools: tuple[Block, ...] = ()
    tool_choice: Block = field(default_factory=dict)
    thinking: Block = field(default_factory=dict)
    stop_sequences: tuple[str, ...] = ()
    stream: bool = False
    extra: Block = field(default_factory=dict)


def read_json(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        ApiError: 400, when it is none.
    """
    try:
        payload = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise invalid("The request body is not valid JSON") from error
    if not isinstance(payload, dict):
        raise invalid("The request body must be a JSON object")
    return payload


def read_message_request(
    payload: Mapping[str, Any], version: str, *, has_beta: bool, more: frozenset[str] = NO_FIELDS
) -> MessageRequest:
    """Check a body of `POST /v1/messages`.

    Args:
        payload: The JSON object.
        version: The `anthropic-version`, one of KNOWN_VERSIONS.
        has_beta: Whether an `anthropic-beta` is named, which allows fields that are not known here.
        more: Fields that are known beside those of the API.

    Raises:
        ApiError: 400.
    """
    _check_fields(payload, MESSAGE_FIELDS | more, version, has_beta=has_beta)
    return _read(payload, required=("model", "max_tokens", "messages"))


def read_count_request(payload: Mapping[str, Any], version: str, *, has_beta: bool) -> MessageRequest:
    """Check a body of `POST /v1/messages/count_tokens`, as `read_message_request` does."""
    _check_fields(payload, COUNT_FIELDS, version, has_beta=has_beta)
    return _read(payload, required=("model", "messages"))


def _check_fields(payload: Mapping[str, Any], known: frozenset[str], version: str, *, has_beta: bool) -> None:
    for name in payload:
        if name in SAMPLING_FIELDS and version == VERSION_2026:
            raise invalid(f"{name}: not supported under anthropic-version {version}")
        if name in known or has_beta or (name in SAMPLING_FIELDS and "max_tokens" in known):
            continue
        raise invalid(f"{name}: Extra inputs are not permitted")


def _read(payload: Mapping[str, Any], required: Sequence[str]) -> MessageRequest:
    for name in required:
        if name not in payload:
            raise invalid(f"{name}: Field required")
    given = {name: value for name, value in payload.items() if value is not None or name in required}
    for name, (types, wanted) in _TYPES.items():
        # bool is an int to Python, but not to JSON
        if name in given and (
            not isinstance(given[name], types) or (isinstance(given[name], bool) and bool not in types)
        ):
            raise invalid(f"{name}: Input should be {wanted}")
    model, control = split_model(given.pop("model"))
    if not model:
        raise invalid("model: String should have at least 1 character")
    return MessageRequest(
        model=model,
        control=control,
        max_tokens=_max_tokens(given.pop("max_tokens", None)),
        turns=_turns(given.pop("messages")),
        system=_blocks("system", given.pop("system", [])),
        tools=_tools(given.pop("tools", [])),
        tool_choice=_tool_choice(given.pop("tool_choice", {}), payload.get("tools") or []),
        thinking=_typed("thinking", given.pop("thinking", {})),
        stop_sequences=_strings("stop_sequences", given.pop("stop_sequences", [])),
        stream=given.pop("stream", False),
        extra=given,
    )


def _max_tokens(value: int | None) -> int | None:
    # zero is allowed: it fills the prompt cache and generates nothing
    if value is not None and value < 0:
        raise invalid("max_tokens: Input should be greater than or equal to 0")
    return value


def _turns(messages: list[Any]) -> tuple[Turn, ...]:
    if not messages:
        raise invalid("messages: at least one message is required")
    turns = []
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        if not isinstance(message, dict):
            raise invalid(f"{place}: Input should be a valid dictionary")
        role = message.get("role")
        if role not in {"user", "assistant", "system"}:
            raise invalid(f'{place}.role: Input should be "user", "assistant" or "system"')
        if "content" not in message:
            raise invalid(f"{place}.content: Field required")
        turns.append(Turn(role, _blocks(f"{place}.content", message["content"])))
    return tuple(turns)


def _blocks(place: str, content: object) -> tuple[Block, ...]:
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    if not isinstance(content, list):
        raise invalid(f"{place}: Input should be a valid string or list")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(f"{place}.{index}.type: Field required")
        if block["type"] == "text" and not isinstance(block.get("text"), str):
            raise invalid(f"{place}.{index}.text: Field required")
    return tuple(content)


def _tools(tools: list[Any]) -> tuple[Block, ...]:
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise invalid(f"tools.{index}: Input should be a valid dictionary")
        if not isinstance(tool.get("name"), str) and not isinstance(tool.get("type"), str):
            raise invalid(f"tools.{index}.name: Field required")  # toolsets have a type and no name
    return tuple(tools)


def _tool_choice(choice: Block, tools: list[Block]) -> Block:
    kind = _typed("tool_choice", choice).get("type")
    if kind in {"any", "tool"} and not tools:
        raise invalid("tool_choice: may only be specified while providing tools")
    if kind == "tool" and choice.get("name") not in {tool.get("name") for tool in tools}:
        raise invalid(f"tool_choice.name: Tool `{choice.get('name')}` not found in provided tools")
    return choice


def _typed(place: str, value: Block) -> Block:
    if value and not isinstance(value.get("type"), str):
        raise invalid(f"{place}.type: Field required")
    return value


def _strings(place: str, values: list[Any]) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise invalid(f"{place}.{index}: Input should be a string that is not only white space")
    return tuple(values)
