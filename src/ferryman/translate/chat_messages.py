"""The messages of a chat as a system prompt and turns.

Source: openai 2.54.0, types/chat/chat_completion_*_message_param.py.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ferryman.translate.chat_parts import blocks_of
from ferryman.translate.terms import Block, refused
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import shown

_DROPPED = {
    "system": frozenset({"name"}),
    "user": frozenset({"name"}),
    "assistant": frozenset({"name", "annotations", "reasoning", "reasoning_content"}),
    "tool": frozenset({"name"}),
}
"""What has no counterpart and no weight: names of speakers, and what we have said ourselves. Thinking cannot
be handed back in this format: Anthropic takes it only with its signature."""

TAKEN = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "refusal", "tool_calls"}),
    "tool": frozenset({"role", "content", "tool_call_id", "cache_control"}),
}
"""Roles, `developer` apart, and what is read of a message with each."""

MAX_MESSAGES = 100_000
"""As many as Anthropic takes in a request."""

_TEXT = frozenset({"text"})
_SAID = frozenset({"text", "refusal"})
_SHOWN = frozenset({"text", "image_url", "file"})
_NO_INPUT = msgspec.Raw(b"{}")


class Conversation(NamedTuple):
    """A chat as Anthropic has it.

    Attributes:
        system: text blocks.
        turns: `user` and `assistant` in turn, each with a list of blocks.
    """

    system: list[Block]
    turns: list[Block]


def conversation_of(messages: object) -> Conversation:
    """The conversation in the `messages` of a chat.

    System and developer messages all go to the front, where every model of Claude takes them: Anthropic's
    own layer for OpenAI's clients does the same. Messages of one role behind one another become one turn,
    and so do the results of parallel tools and what the user says with them.

    Raises:
        Refused: something in them cannot be translated.
    """
    if not isinstance(messages, list):
        raise refused("messages", "has to be a list.")
    if len(messages) > MAX_MESSAGES:
        raise refused("messages", f"has more than {MAX_MESSAGES} messages.")
    found = Conversation([], [])
    for index, message in enumerate(messages):
        _take(found, message, f"messages[{index}]")
    if not found.turns:
        raise refused("messages", "has to have a message of the user's.")
    for turn in found.turns:  # Anthropic wants results before what the user says beside them
        turn["content"].sort(key=_is_no_result)
    return found


def _is_no_result(block: Block) -> bool:
    return str(block["type"]) != "tool_result"


def _take(found: Conversation, message: object, place: str) -> None:
    if not isinstance(message, dict):
        raise refused(place, "has to be an object with a `role`.")
    role = message.get("role")
    kind = "system" if role == "developer" else role
    if not isinstance(kind, str) or kind not in TAKEN:
        hint = "; use `tool`" if role == "function" else ""
        raise refused(f"{place}.role", f"is {shown(role)}, which Claude does not take{hint}.")
    for name in message.keys() - TAKEN[kind] - _DROPPED[kind]:
        if message[name] is not None:
            raise refused(f"{place}.{name}", "has no counterpart in Anthropic's API; leave it out.")
    content = f"{place}.content"
    if kind == "system":
        found.system.extend(blocks_of(message.get("content"), content, _TEXT))
    elif kind == "assistant":
        _add(found.turns, "assistant", _said(message, place))
    elif kind == "tool":
        _add(found.turns, "user", [_result(message, place)])
    else:
        blocks = blocks_of(message.get("content"), content, _SHOWN)
        if not blocks:
            raise refused(content, "is empty; Anthropic takes no empty messages.")
        _add(found.turns, "user", blocks)


def _add(turns: list[Block], role: str, blocks: list[Block]) -> None:
    if not blocks:  # an assistant that has said nothing
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _said(message: Block, place: str) -> list[Block]:
    blocks = blocks_of(message.get("content"), f"{place}.content", _SAID)
    if message.get("refusal"):
        blocks += blocks_of(message["refusal"], f"{place}.refusal", _TEXT)
    calls = message.get("tool_calls")
    if calls is None:
        return blocks
    if not isinstance(calls, list):
        raise refused(f"{place}.tool_calls", "has to be a list.")
    return blocks + [_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls)]


def _call(call: object, place: str) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        raise refused(place, "has no `function`; Claude has no other calls.")
    name, call_id, arguments = function.get("name"), call.get("id"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(call_id, str):
        raise refused(place, "has to have an `id` and a `function.name`.")
    given = _input(arguments, f"{place}.function.arguments")
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def _input(arguments: object, place: str) -> msgspec.Raw:
    """The input of a tool as it was spelled, so that the prompt stays the one that is in the cache."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return _NO_INPUT
    if not isinstance(arguments, str):
        raise refused(place, "has to be a text with JSON in it.")
    try:
        if isinstance(msgspec.json.decode(arguments), dict):
            return msgspec.Raw(arguments)
    except UNREADABLE:
        pass
    raise refused(place, "is no JSON object.")


def _result(message: Block, place: str) -> Block:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str):
        raise refused(f"{place}.tool_call_id", "is missing: which call is this the result of?")
    result: Block = {"type": "tool_result", "tool_use_id": call_id}
    content = message.get("content")
    if isinstance(content, str):
        result["content"] = content
    elif blocks := blocks_of(content, f"{place}.content", _SHOWN):
        result["content"] = blocks
    if message.get("cache_control") is not None:
        result["cache_control"] = message["cache_control"]
    return result
