"""One answer in all its forms, and a gateway in front of an upstream that gives it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ferryman.model import Cost, Entry, Refusal
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.simulator import usage as usages
from tests.conftest import Bench
from tests.support.costs import CATALOG, NOW, usage_of
from tests.support.edge import Connection
from tests.support.raw import RawClient, post

ASKED = "claude-fable-5"
COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
WHOLE = post(json.dumps({"model": ASKED, "max_tokens": 900, "messages": []}).encode())
STREAMED = post(json.dumps({"model": ASKED, "max_tokens": 900, "stream": True, "messages": []}).encode())

Json = dict[str, Any]


class Answer(NamedTuple):
    """A message, and what it tells beside its usage."""

    usage: Json
    content: list[Json]
    stop_reason: str
    category: str | None
    model: str = "claude-opus-4-8"

    def whole(self) -> bytes:
        details = {"type": "refusal", "category": self.category} if self.stop_reason == "refusal" else None
        message = {
            "type": "message",
            "model": self.model,
            "content": self.content,
            "stop_reason": self.stop_reason,
            "stop_details": details,
            "usage": self.usage,
        }
        return json.dumps(message).encode()

    def events(self) -> Iterator[bytes]:
        message = json.loads(self.whole())
        ending = {name: message[name] for name in ("stop_reason", "stop_details")}
        start, (last,) = usages.split(self.usage)
        bare = message | {"content": [], "stop_reason": None, "stop_details": None, "usage": start}
        yield event("message_start", message=bare)
        for block in self.content:
            yield event(
                "content_block_start", content_block=block | ({"text": ""} if "text" in block else {})
            )
            if block.get("text"):
                yield event("content_block_delta", delta={"type": "text_delta", "text": block["text"]})
            yield event("content_block_stop")
        yield event("message_delta", delta=ending, usage=last)
        yield event("message_stop")

    def cost(self) -> Cost:
        refused = self.stop_reason == "refusal" and all(b["type"] == "fallback" for b in self.content)
        declined = {
            block["from"]["model"]: block.get("trigger", {}).get("category")
            for block in self.content
            if block["type"] == "fallback"
        }
        declined = declined if self.usage.get("iterations") else {}
        terms = Terms(NOW, refusal=Refusal(self.category) if refused else None, declined=declined)
        return cost_of(usage_of(**self.usage), self.model, terms, CATALOG)


LONG = Answer(
    {**dict.fromkeys(COUNTS, 1_000), "server_tool_use": {"web_search_requests": 2}},
    [{"type": "text", "text": "word " * 40}, {"type": "text", "text": "more " * 40}],
    "end_turn",
    None,
)


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind} | fields)
    return f"event: {kind}\ndata: {data}\n\n".encode()


class Stage:
    """A gateway and an upstream that answers with what a test put there."""

    def __init__(self, line: Bench) -> None:
        self.answer = LONG
        self.packed = False
        self.gateway, _ = line.pair(self._script)
        self._client = line.enter(RawClient(self.gateway.port))

    def ask(self, request: bytes) -> tuple[Entry, list[bytes]]:
        """The record, and what the answer's head tells of the cost."""
        number = len(self.gateway.entries) + 1
        response = self._client.ask(request)
        assert response.status == 200
        names = (b"x-ferryman-cost-usd", b"x-litellm-response-cost")
        return self.gateway.entry(number), [value for name in names for value in response.values(name)]

    def _script(self, connection: Connection) -> None:
        while True:
            request = connection.request()
            pack: Callable[[bytes], bytes] = gzip.compress if self.packed else bytes
            coding = b"Content-Encoding: gzip\r\n" if self.packed else b""
            if b'"stream": true' in request.body:
                connection.begin_stream(coding)
                connection.chunk(pack(b"".join(self.answer.events())))
                connection.chunk(b"")
            else:
                connection.answer(pack(self.answer.whole()), headers=coding)


def usd(cost: Cost | None) -> bytes:
    assert cost is not None
    return b"%d.%09d" % divmod(cost.nanousd, 10**9)
