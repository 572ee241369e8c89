"""A test's way from its client through the gateway to the simulator, and what each of them saw."""

import json
from dataclasses import dataclass
from typing import Any

from ferryman.simulator.recorder import Recorded
from ferryman.simulator.server import Server

from .gateway import Entry, Gateway
from .tee import Message, Tee

SERVER_KEY = "sk-ant-real"
"""The only credential that the simulator takes: whoever lets another one through gets a 401."""

OURS = b'"litellm_metadata"'
TOKEN_CLASSES = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
)
_CREDENTIALS = frozenset({"authorization", "x-api-key"})
_OURS = ("x-ferryman-", "x-litellm-response-cost")
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
_METERED = "/v1/messages"
_READ = frozenset({_METERED, "/v1/messages/count_tokens"})


@dataclass(frozen=True, slots=True)
class Crossing:
    """One request: as the client sent it, as the upstream got it, and the same for the answer."""

    sent: Message
    recorded: Recorded
    received: Message
    entry: Entry

    @property
    def usage(self) -> dict[str, Any]:
        """The usage that the upstream reported."""
        return reported_usage(self.recorded.response_body)

    @property
    def tokens(self) -> dict[str, Any]:
        """The part of the usage that every client shows."""
        return tokens_of(self.usage)


class Passage:
    """What a client is to call, and what became of it."""

    def __init__(self, tee: Tee, gateway: Gateway, simulator: Server) -> None:
        self.address = tee.address
        self.url = f"http://{tee.address}"
        self._tee = tee
        self._gateway = gateway
        self._simulator = simulator
        self._since = gateway.mark()
        simulator.recorder.clear()

    @property
    def sent_count(self) -> int:
        """How many requests the client has sent."""
        return len(self._tee.exchanges())

    def entries(self, count: int) -> list[Entry]:
        """The log lines of this test, of which there have to be `count`."""
        entries = self._gateway.entries(self._since, count)
        assert len(entries) == count
        return entries

    def recorded(self, count: int) -> list[Recorded]:
        """What the upstream got in this test: `count` requests."""
        recorded = self._simulator.recorder.wait_ended(count)
        assert len(recorded) == count
        return recorded

    def crossings(self, count: int) -> list[Crossing]:
        """The `count` requests of this test in the upstream's order; each passed as it should have.

        What holds for every request through every gateway is asserted here.
        """
        exchanges = self._tee.exchanges()
        recorded = self.recorded(count)
        assert len(exchanges) == count
        entries = {entry["id"]: entry for entry in self.entries(count)}
        found = []
        for request in recorded:
            alike = [one for one in exchanges if _is_same(one[0], request)]
            assert alike, f"nobody sent {request.method} {request.target!r} with this body"
            sent, received = alike[0]
            exchanges.remove(alike[0])
            (entry_id,) = received.values("x-ferryman-request-id")
            found.append(Crossing(sent, request, received, entries.pop(entry_id)))
        for crossing in found:
            check(crossing)
        check_secrets([crossing.sent for crossing in found], recorded, "".join(self._gateway.log))
        assert not any(SERVER_KEY in str(crossing.received) for crossing in found)
        return found

    def crossing(self) -> Crossing:
        """The only request of this test."""
        return self.crossings(1)[0]


def check(crossing: Crossing) -> None:
    """Assert what holds for every request that was relayed, and its answer and its log line."""
    sent, recorded, received, entry = crossing.sent, crossing.recorded, crossing.received, crossing.entry
    assert is_body_of(sent, recorded)
    is_open = entry["principal"] == "open"
    expected = headers_of(sent, without=_HOP | _CREDENTIALS if is_open else _HOP)
    mutations = []
    if not sent.values("anthropic-version"):
        expected.append(("anthropic-version", "2023-06-01"))
        mutations.append("anthropic-version")
    if OURS in sent.body:
        mutations.append("litellm_metadata")
    if is_open:
        expected.append(("x-api-key", SERVER_KEY))
    got = [(name.decode().lower(), value.decode()) for name, value in recorded.headers]
    assert [pair for pair in got if pair[0] not in _HOP] == expected
    check_codings(sent.values("accept-encoding"), recorded)

    assert received.body == recorded.response_body
    assert received.status == recorded.status
    upstream = [(name.decode().lower(), value.decode()) for name, value in recorded.response_headers]
    passed = [pair for pair in headers_of(received, without=_HOP) if not pair[0].startswith(_OURS)]
    assert passed == [pair for pair in upstream if pair[0] not in _HOP]
    assert received.values("x-ferryman-mutations") == [", ".join(mutations) or "none"]
    check_entry(crossing)


def is_body_of(sent: Message, recorded: Recorded) -> bool:
    """Whether the upstream got what the client sent, but for the one field that is the gateway's."""
    if OURS not in sent.body:
        return sent.body == recorded.body
    body = json.loads(sent.body)
    del body["litellm_metadata"]
    return bool(json.loads(recorded.body) == body)


def check_codings(accepted: list[str], recorded: Recorded) -> None:
    """Assert that a metered answer was asked for in a coding that can be read, and nothing else changed."""
    got = recorded.header_values("accept-encoding")
    if recorded.target.decode().partition("?")[0] == _METERED:
        assert {coding.strip() for value in got for coding in value.split(",")} <= {"gzip", "identity"}
    else:
        assert got == accepted


def check_entry(crossing: Crossing) -> None:
    """Assert that the log line tells what happened."""
    sent, recorded, received, entry = crossing.sent, crossing.recorded, crossing.received, crossing.entry
    path = recorded.target.decode().partition("?")[0]
    body = json.loads(sent.body) if sent.body else {}
    assert entry["path"] == sent.target.partition("?")[0]
    assert entry["method"] == recorded.method
    assert entry["status"] == recorded.status
    assert entry["ended"] == "done"
    assert entry["attempts"] == 1
    assert entry["request_bytes"] == len(sent.body)
    assert entry["response_bytes"] == len(recorded.response_body)
    assert [entry["upstream_request_id"]] == received.values("request-id")
    assert entry["credential"] == credential_kind(sent)
    assert entry.get("model") == (body["model"] if path in _READ else None)
    assert entry.get("stream", False) == body.get("stream", False)
    assert entry["usage_complete"] is True
    is_billed = path == _METERED and recorded.status == 200
    assert entry.get("usage") == (crossing.usage if is_billed else None)


def check_secrets(sent: list[Message], recorded: list[Recorded], log: str) -> None:
    """Assert that no client's credential went upstream, unless it was the upstream's, or into the log."""
    assert SERVER_KEY not in log
    for secret in {value.split()[-1] for one in sent for name in _CREDENTIALS for value in one.values(name)}:
        assert secret not in log
        if secret != SERVER_KEY:
            assert not any(secret in str(request) for request in recorded)


def credential_kind(sent: Message) -> str:
    """Where the client's credential stood."""
    bearer, key = bool(sent.values("authorization")), bool(sent.values("x-api-key"))
    return "both" if bearer and key else "bearer" if bearer else "x-api-key" if key else "none"


def headers_of(message: Message, *, without: frozenset[str]) -> list[tuple[str, str]]:
    """The headers in their order, by their names in lower case."""
    lower = [(name.lower(), value) for name, value in message.headers]
    return [pair for pair in lower if pair[0] not in without]


def reported_usage(body: bytes) -> dict[str, Any]:
    """The usage in an answer of the Messages API, be it JSON or a stream."""
    if body.startswith(b"{"):
        whole: dict[str, Any] = json.loads(body)["usage"]
        return whole
    usage: dict[str, Any] = {}
    for line in body.splitlines():
        if line.startswith(b"data: "):
            event = json.loads(line.removeprefix(b"data: "))
            usage |= event.get("usage") or event.get("message", {}).get("usage", {})
    return usage


def tokens_of(usage: dict[str, Any]) -> dict[str, Any]:
    """The token classes that every client shows, of a usage that a client or the upstream reports."""
    return {name: usage[name] for name in TOKEN_CLASSES}


def _is_same(sent: Message, recorded: Recorded) -> bool:
    target = sent.target.removeprefix("/anthropic").encode()
    return target == recorded.target and is_body_of(sent, recorded)
