"""A Messages answer as a chat completion.

Sources: anthropic 2.12.0, types/message.py, stop_reason.py and usage.py; openai 2.54.0,
types/chat/chat_completion.py and types/completion_usage.py.
"""

from __future__ import annotations

import msgspec

from ferryman.model import Usage
from ferryman.translate.terms import Block, encode
from ferryman.wire.usage import UNREADABLE, answer_of, readable

REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""What OpenAI calls each of Anthropic's reasons for the end of an answer."""

REFUSED = "Claude declined to answer."
"""What a client is shown of a refusal that says nothing itself."""

_SPACE = b" \t\r\n"


class AnswerPart(msgspec.Struct, gc=False):
    """A content block; of those that a chat has no place for, only the type is of interest."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct, gc=False):
    id: str
    model: str
    content: list[AnswerPart]
    stop_reason: str | None = None
    stop_details: object = None


_decode = msgspec.json.Decoder(_Message).decode


def chat_completion(body: bytes | bytearray, created_at: int) -> bytes | None:
    """The chat completion for a Messages answer; `None` if `body` is none.

    Args:
        body: the JSON of the answer, without its content coding.
        created_at: seconds since 1970.
    """
    try:
        answer = readable(_decode, body)
    except UNREADABLE:
        return None
    message: Block = {
        "role": "assistant",
        "content": "".join(part.text or "" for part in answer.content if part.type == "text") or None,
        "refusal": refusal_of(answer.stop_reason, answer.stop_details),
    }
    if thought := "".join(part.thinking or "" for part in answer.content if part.type == "thinking"):
        message["reasoning_content"] = thought
    if calls := [_call(part) for part in answer.content if part.type == "tool_use"]:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(answer.stop_reason),
    }
    told = {
        "id": answer.id,
        "object": "chat.completion",
        "created": created_at,
        "model": answer.model,
        "choices": [choice],
        "usage": chat_usage(answer_of(body).usage or Usage()),
    }
    return encode(told)


def finish_reason(stop_reason: str | None) -> str:
    """OpenAI's word for Anthropic's; one that is not known is a plain end."""
    return REASONS.get(stop_reason or "", "stop")


def refusal_of(stop_reason: str | None, details: object) -> str | None:
    """The text of a refusal, Anthropic's own where its `stop_details` have one; `None` if it is none."""
    if stop_reason != "refusal":
        return None
    told = details.get("explanation") if isinstance(details, dict) else None
    return told if isinstance(told, str) and told else REFUSED


def chat_usage(usage: Usage) -> Block:
    """OpenAI's usage: there `prompt_tokens` are all of the prompt, whatever was in the cache."""
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    prompt, completion = (usage.input_tokens or 0) + written + read, usage.output_tokens or 0
    details = usage.output_tokens_details
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {
            "reasoning_tokens": (details.thinking_tokens if details is not None else None) or 0
        },
    }


def arguments_of(given: msgspec.Raw) -> str:
    """The input of a tool as OpenAI has it: JSON in a text, spelled as it came."""
    return bytes(given).strip(_SPACE).decode(errors="replace")


def _call(part: AnswerPart) -> Block:
    function = {"name": part.name or "", "arguments": arguments_of(part.input)}
    return {"id": part.id or "", "type": "function", "function": function}
