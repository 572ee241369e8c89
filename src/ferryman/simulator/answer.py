"""Composes the message that answers a request: its content, why it stopped, and its usage. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ferryman.simulator import usage as usages
from ferryman.simulator.control import Control
from ferryman.simulator.ids import signature, stable_id
from ferryman.simulator.tokens import BYTES_PER_TOKEN, block_tokens, prompt_tokens, text_tokens
from ferryman.simulator.tools import choose_server_tool, choose_tool, sample, tool_results
from ferryman.simulator.validate import Block, MessageRequest

FIRST_WORDS = 10
BYTES_PER_DELTA = 8  # of the text that is made up so that `events` has something to divide

_SEARCHED = "https://example.com/ferryman"


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer.

    Attributes:
        fields: What stands beside content, stop reason and usage.
        usage: What is reported, which the control may dictate.
        output_tokens: What was counted.
    """

    fields: Mapping[str, Any]
    content: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None
    usage: Mapping[str, Any]
    output_tokens: int
    stop_details: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The body of the answer that is not streamed."""
        return {
            **self.fields,
            "content": list(self.content),
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
            "usage": dict(self.usage),
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """A block and what it costs, which is more than it shows when thinking is omitted."""

    block: Block
    tokens: int
    is_thinking: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said, and why it ends."""

    parts: tuple[_Part, ...]
    stop_reason: str
    stop_sequence: str | None = None


_REFUSED = _Said((), "refusal")
# anthropic 2.12.0, types/refusal_stop_details.py
_REFUSAL = {"type": "refusal", "category": None, "explanation": "The simulator was asked to refuse."}


def compose(
    request: MessageRequest,
    control: Control,
    digest: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> Message:
    """Answer a request.

    Args:
        request: What was asked; `max_tokens` is set.
        control: What the answer shall be like.
        digest: Of the request body; the ids follow from it.
        headers: The request's, for `echo-headers`.
    """
    prompt = prompt_tokens(request)
    searched = None if control.refusal else choose_server_tool(request, last_text(request))
    said = _REFUSED if control.refusal else _say(request, control, prompt.total, digest, headers)
    output_tokens = sum(part.tokens for part in said.parts)
    thinking_tokens = sum(part.tokens for part in said.parts if part.is_thinking)
    counted = usages.report(request, prompt, output_tokens, thinking_tokens, _requests_made(searched))
    if control.iterations:
        counted["iterations"] = [usages.iteration(prompt, output_tokens)]
    fields: dict[str, Any] = {
        "model": control.served_by or request.model,
        "id": stable_id("msg", digest),
        "type": "message",
        "role": "assistant",
    }
    if "context_management" in request.extra:
        fields |= {"context_management": {"applied_edits": []}}
    return Message(
        fields=fields,
        content=tuple(part.block for part in said.parts),
        stop_reason=said.stop_reason,
        stop_sequence=said.stop_sequence,
        usage=counted if control.usage is None else control.usage,
        output_tokens=output_tokens,
        stop_details=_REFUSAL if control.refusal else None,
    )


def _say(
    request: MessageRequest,
    control: Control,
    prompt_total: int,
    digest: bytes,
    headers: Iterable[tuple[bytes, bytes]],
) -> _Said:
    asked = last_text(request)
    parts = list(_thinking(request, control, digest, asked))
    parts += _server_tool(choose_server_tool(request, asked), digest)
    tool = choose_tool(request, asked, control)
    prose = _prose(request, prompt_total, tool)
    text, stop_sequence = _stop(_text(request, control, prose, headers), request.stop_sequences)
    if text:
        parts.append(_Part({"type": "text", "text": text}, text_tokens(text)))
    stop_reason = "end_turn" if stop_sequence is None else "stop_sequence"
    if tool is not None and stop_sequence is None:
        parts.append(_tool_use(tool, digest))
        stop_reason = "tool_use"
    kept = _fit(parts, request.max_tokens or 0)
    if kept != parts:
        stop_reason, stop_sequence = "max_tokens", None
    return _Said(tuple(kept), stop_reason, stop_sequence)


def last_text(request: MessageRequest) -> str:
    """The last text of the last user message: what the user typed, behind what a client put before it."""
    users = [turn for turn in request.turns if turn.role == "user"]
    texts = [block["text"] for turn in users[-1:] for block in turn.blocks if block["type"] == "text"]
    return texts[-1] if texts else ""


def first_words(text: str) -> str:
    """The first words of a text, with an ellipsis when there are more."""
    words = text.split()
    shown = " ".join(words[:FIRST_WORDS])
    return shown if len(words) <= FIRST_WORDS else f"{shown} …"


def _text(
    request: MessageRequest, control: Control, prose: str, headers: Iterable[tuple[bytes, bytes]]
) -> str:
    if control.echo_headers:
        pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
        return msgspec.json.encode(pairs).decode()
    output_format = (request.extra.get("output_config") or {}).get("format")
    if isinstance(output_format, dict):
        return msgspec.json.encode(sample(output_format.get("schema"))).decode()
    if control.text_bytes is not None:
        return _exactly(prose, control.text_bytes)
    least_bytes = BYTES_PER_DELTA * (control.events or 0)
    return _exactly(prose, least_bytes) if least_bytes > len(prose.encode()) else prose


def _prose(request: MessageRequest, prompt_total: int, tool: Block | None) -> str:
    counted = f"By my count the prompt came to {prompt_total:,} tokens."
    results = tool_results(request)
    if tool is not None:
        return f"I shall use the tool {tool['name']}. {counted}"
    if results:
        shown = first_words(_plain(results[-1].get("content", "")))
        return (
            f"Thank you, the tool has answered: “{shown}”. That is all a simulator needs to know. {counted}"
        )
    began = first_words(last_text(request))
    heard = f"You began with “{began}”." if began else "You sent no words, but I heard you."
    return (
        "Hello from the Ferryman simulator. "
        f"{heard} No model has read it: I give the same answer to the same request, "
        f"so that tests and demos need neither a key nor money. {counted}"
    )


def _plain(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return str(content)


def _exactly(text: str, size_bytes: int) -> str:
    unit = f"{text} ".encode()
    whole = (unit * (size_bytes // len(unit) + 1))[:size_bytes]
    kept = whole.decode(errors="ignore")  # the last character may have been cut in two
    return kept + "." * (size_bytes - len(kept.encode()))


def _stop(text: str, sequences: Sequence[str]) -> tuple[str, str | None]:
    found = [(text.index(sequence), sequence) for sequence in sequences if sequence in text]
    if not found:
        return text, None
    position, sequence = min(found)
    return text[:position], sequence


def _thinking(request: MessageRequest, control: Control, digest: bytes, asked: str) -> list[_Part]:
    if not control.thinking and request.thinking.get("type") not in {"enabled", "adaptive"}:
        return []
    text = f"They say “{first_words(asked)}”. I have no model to ask, so I shall say what I always say."
    shown = "" if request.thinking.get("display") == "omitted" else text
    block = {"type": "thinking", "thinking": shown, "signature": signature(digest)}
    return [_Part(block, text_tokens(text), is_thinking=True)]


def _tool_use(tool: Block, digest: bytes) -> _Part:
    block = {
        "type": "tool_use",
        "id": stable_id("toolu", digest),
        "name": tool["name"],
        "input": sample(tool.get("input_schema", {"type": "object"})) or {},
    }
    return _Part(block, block_tokens(block))


def _server_tool(name: str | None, digest: bytes) -> list[_Part]:
    if name is None:
        return []
    use_id = stable_id("srvtoolu", digest)
    title = "Ferryman"
    asked: dict[str, str] = {"query": "ferryman"} if name == "web_search" else {"url": _SEARCHED}
    found: object
    if name == "web_search":
        found = [
            {
                "type": "web_search_result",
                "url": _SEARCHED,
                "title": title,
                "encrypted_content": signature(digest),
                "page_age": None,
            }
        ]
    else:
        source = {"type": "text", "media_type": "text/plain", "data": "A page that the simulator made up."}
        document = {"type": "document", "source": source, "title": title, "citations": None}
        found = {"type": "web_fetch_result", "url": _SEARCHED, "content": document, "retrieved_at": None}
    use = {"type": "server_tool_use", "id": use_id, "name": name, "input": asked}
    result = {"type": f"{name}_tool_result", "tool_use_id": use_id, "content": found}
    return [_Part(use, block_tokens(use)), _Part(result, 0)]  # what a tool finds is input, not output


def _requests_made(name: str | None) -> dict[str, int] | None:
    if name is None:
        return None
    return {"web_search_requests": int(name == "web_search"), "web_fetch_requests": int(name == "web_fetch")}


def _fit(parts: Sequence[_Part], max_tokens: int) -> list[_Part]:
    """What of `parts` can be said in `max_tokens`: a text is cut where it passes them, a tool is left out."""
    kept: list[_Part] = []
    for part in parts:
        left = max_tokens - sum(other.tokens for other in kept)
        if part.tokens <= left:
            kept.append(part)
            continue
        kind = part.block["type"]
        if left > 0 and kind in {"text", "thinking"}:  # the words of both stand under the name of their type
            words = part.block[kind].encode()[: left * BYTES_PER_TOKEN].decode(errors="ignore")
            kept.append(replace(part, block={**part.block, kind: words}, tokens=left))
        break
    return kept
