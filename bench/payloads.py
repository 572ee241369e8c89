"""The requests and answers of the bench: what Anthropic's Python SDK sends and what the API answers.

Writes files for `load.c` (a whole request; the decoded body that must come back) and for `upstream.c` (a
whole response with its framing). The request's headers are those measured on the SDK (`anthropic` 2.12.0).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "claude-sonnet-5"
CLIENT_KEY = "sk-bench-client-key"
"""The credential in each request: a virtual key of Ferryman's."""

PROSE = (
    "The ferry crosses the river forty times a day, and nobody counts the passengers twice.\n"
    'The ferryman says "mind the gap", unties the rope and looks upstream. '
)
USAGE = {
    "input_tokens": 412,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 1024,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 187,
    "service_tier": "standard",
    "inference_geo": "not_available",
}
RESPONSE_HEADERS = (
    ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
    ("cache-control", "no-cache"),
    ("server", "cloudflare"),
    ("cf-cache-status", "DYNAMIC"),
    ("cf-ray", "9a1f0c2b7d3e4f50-FRA"),
    ("request-id", "req_011CVMk6vQ3sTn2YbX8hD4Lw"),
    ("anthropic-organization-id", "5f2b1c8e-3d47-4a90-b6de-0c9f7e1a2b34"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:01Z"),
    ("anthropic-ratelimit-tokens-limit", "480000"),
    ("anthropic-ratelimit-tokens-remaining", "479000"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
)


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, on disk."""

    name: str
    request: Path
    """The bytes that `load` sends."""
    expected: Path
    """The decoded body that must come back."""
    answer: Path
    """The bytes that `upstream` sends, head and framing included."""
    interval_ms: int
    """Time between two events of the answer; 0 is as fast as the socket takes them."""
    request_body_bytes: int
    events: int

    @property
    def upstream_argument(self) -> str:
        """How `upstream` is told about the answer."""
        return f"{self.name}:{self.interval_ms}:{self.answer}"


def write_json_exchange(directory: Path, name: str, request_body_bytes: int) -> Exchange:
    """A Messages call without streaming: a body of exactly `request_body_bytes`, an answer of 1,024 bytes."""
    answer = _padded_json(_message("text", USAGE), 1024)
    head = _response_head(("content-type", "application/json"), ("content-length", str(len(answer))))
    request = _request(name, _request_body(request_body_bytes, stream=False))
    files = _write(directory, name, request, answer, head + answer)
    return Exchange(name, *files, 0, request_body_bytes=request_body_bytes, events=1)


def write_stream_exchange(directory: Path, name: str, deltas: int, interval_ms: int) -> Exchange:
    """A streamed Messages call with `deltas` text deltas of some 120 bytes, one event in each chunk."""
    events = _stream_events(deltas)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    head = _response_head(
        ("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")
    )
    body = _request_body(1024, stream=True)
    files = _write(directory, name, _request(name, body), b"".join(events), head + chunks + b"0\r\n\r\n")
    return Exchange(name, *files, interval_ms, 1024, len(events))


def _write(
    directory: Path, name: str, request: bytes, expected: bytes, answer: bytes
) -> tuple[Path, Path, Path]:
    paths = tuple(directory / f"{name}.{part}" for part in ("request", "expected", "answer"))
    for path, content in zip(paths, (request, expected, answer), strict=True):
        path.write_bytes(content)
    return paths[0], paths[1], paths[2]


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _prose(length: int) -> str:
    return (PROSE * (length // len(PROSE) + 1))[:length]


def _message(text: str, usage: dict[str, object]) -> dict[str, object]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


def _padded_json(message: dict[str, object], length: int) -> bytes:
    """The message with its text lengthened so that the JSON has exactly `length` bytes."""
    missing = length - len(_compact(message))
    padding = _compact(_prose(missing))[1:-1][:missing].rstrip(b"\\").ljust(missing, b".")
    return _compact(message).replace(b'"text":"text"', b'"text":"text' + padding + b'"', 1)


def _request_body(length: int, *, stream: bool) -> bytes:
    """A conversation in 1 KB turns; keys in the SDK's order, `model` and `stream` after the messages."""
    turns: list[dict[str, str]] = []

    def body() -> dict[str, object]:
        messages = [*turns, {"role": "user", "content": [{"type": "text", "text": "text"}]}]
        content: dict[str, object] = {"max_tokens": 1024, "messages": messages, "model": MODEL}
        content["system"] = "You are a ferryman. Answer in one sentence."
        return {**content, "stream": True} if stream else content

    while len(_compact(body())) < length - 2500:
        turns.append({"role": "user", "content": _prose(300)})
        turns.append({"role": "assistant", "content": _prose(700)})
    return _padded_json(body(), length)


def _request(name: str, body: bytes) -> bytes:
    headers = (
        ("Host", "127.0.0.1"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "keep-alive"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json"),
        ("User-Agent", "Anthropic/Python 2.12.0"),
        ("X-Stainless-Lang", "python"),
        ("X-Stainless-Package-Version", "2.12.0"),
        ("X-Stainless-OS", "Linux"),
        ("X-Stainless-Arch", "x64"),
        ("X-Stainless-Runtime", "CPython"),
        ("X-Stainless-Runtime-Version", "3.11.7"),
        ("X-Stainless-Async", "false"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-timeout", "600"),
        ("anthropic-version", "2026-10-21"),
        ("Authorization", f"Bearer {CLIENT_KEY}"),
        ("Content-Length", str(len(body))),
    )
    return _head(f"POST /v1/messages?answer={name} HTTP/1.1", headers) + body


def _response_head(*framing: tuple[str, str]) -> bytes:
    return _head("HTTP/1.1 200 OK", (*RESPONSE_HEADERS, *framing))


def _head(line: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode()


def _stream_events(deltas: int) -> list[bytes]:
    start = _message("", {**USAGE, "output_tokens": 1})
    start.update(content=[], stop_reason=None)
    delta = {"type": "text_delta", "text": ""}
    words = PROSE.split()
    values: list[dict[str, object]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    values += [
        {"type": "content_block_delta", "index": 0, "delta": {**delta, "text": " " + words[i % len(words)]}}
        for i in range(deltas)
    ]
    final = {"input_tokens": 412, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1024}
    values += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {**final, "output_tokens": deltas},
        },
        {"type": "message_stop"},
    ]
    return [b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), _compact(value)) for value in values]
