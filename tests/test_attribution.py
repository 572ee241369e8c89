"""Whom an exchange is charged to, and that what says so does not go upstream."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from ferryman.relay.attribute import MAX_NOTES_BYTES, MAX_TAGS, MAX_TEXT
from tests.conftest import Bench
from tests.support.edge import answering
from tests.support.raw import RawClient, get, post

VERSION = b"anthropic-version: 2023-06-01\r\n"
BODY = b'{ "model":"m",\n "temperature": 1.0, "litellm_metadata" : %b , "tags":["theirs"] }'
REST = b'{ "model":"m",\n "temperature": 1.0 , "tags":["theirs"] }'
OURS = b'{"tags":["b","c"],"user":"body-user","spend_logs_metadata":{"n": 1.0},"trace_id":5}'
CLAUDE_CODE = json.dumps({"device_id": "dev", "account_uuid": "acc", "session_id": "ses"})


def ask(line: Bench, body: bytes, headers: bytes = b"", **options: Any) -> tuple[Any, Any, Any]:
    """Answer, entry, and what came upstream of one request."""
    gateway, upstream = line.pair(answering(), **options)
    with RawClient(gateway.port) as client:
        answer = client.ask(post(body, headers=VERSION + headers))
    return answer, gateway.entry(), upstream.requests[0] if upstream.requests else None


def user_id(text: str) -> bytes:
    return json.dumps({"model": "m", "metadata": {"user_id": text}}).encode()


@pytest.mark.parametrize("path", [b"/v1/messages", b"/anthropic/v1/messages/count_tokens"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_litellm_metadata_is_charged_to_and_cut(line: Bench, path: bytes, loop: str) -> None:
    gateway, upstream = line.pair(loop=loop)
    with RawClient(gateway.port) as client:
        for _ in range(2):
            answer = client.ask(post(BODY % OURS, path=path))
            assert answer.values(b"x-ferryman-mutations") == [b"litellm_metadata"]
        plain = client.ask(post(REST, path=path))
    assert plain.values(b"x-ferryman-mutations") == [b"none"]
    assert [request.body for request in upstream.requests] == [REST] * 3
    assert all(r.values(b"content-length") == [b"%d" % len(REST)] for r in upstream.requests)
    entry = gateway.entry()
    assert (entry.end_user, entry.tags, entry.model) == ("body-user", ["b", "c"], "m")
    assert {name: bytes(raw) for name, raw in (entry.spend_logs_metadata or {}).items()} == {"n": b"1.0"}
    assert entry.request_bytes == len(BODY % OURS)
    assert (entry.mutations, gateway.entry(3).mutations) == ("litellm_metadata", None)
    assert gateway.entry(3).tags is None
    assert gateway.run(lambda: gateway.worker.line.held_bytes) == 0


def test_added_version_and_cut_field_are_both_named(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        answer = client.ask(post(BODY % b"null", headers=b""))
    assert answer.values(b"x-ferryman-mutations") == [b"anthropic-version, litellm_metadata"]
    assert gateway.entry().mutations == "anthropic-version, litellm_metadata"


@pytest.mark.parametrize(("coding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_compressed_body_with_our_field_goes_decoded(line: Bench, coding: bytes, pack: Any) -> None:
    header = b"Content-Encoding: %b\r\n" % coding
    answer, entry, sent = ask(line, pack(BODY % OURS), header)
    assert answer.values(b"x-ferryman-mutations") == [b"litellm_metadata"]
    assert (sent.body, sent.values(b"content-encoding")) == (REST, [])
    assert entry.end_user == "body-user"


def test_headers_come_before_the_body_and_stay_behind(line: Bench) -> None:
    headers = (
        b"x-litellm-end-user-id: fourth\r\nX-LiteLLM-Customer-Id: third\r\nx-ferryman-end-user-id: second\r\n"
        b"x-litellm-tags: b, a\r\nx-litellm-tags: d\r\nx-ferryman-tags: a,, x \r\n"
        b'x-litellm-spend-logs-metadata: {"from": "header"}\r\nx-other: kept\r\n'
    )
    _, entry, sent = ask(line, BODY % OURS, headers)
    assert entry.end_user == "second"
    assert entry.tags == ["a", "x", "b", "d", "c"]
    assert {name: bytes(raw) for name, raw in entry.spend_logs_metadata.items()} == {"from": b'"header"'}
    assert not [name for name, _ in sent.headers if name.lower().startswith((b"x-litellm", b"x-ferryman"))]
    assert sent.values(b"x-other") == [b"kept"]


def test_headers_count_where_the_body_is_not_looked_at(line: Bench) -> None:
    gateway, upstream = line.pair()
    with RawClient(gateway.port) as client:
        client.ask(get(headers="x-litellm-customer-id: zoë\r\n".encode()))
    assert gateway.entry().end_user == "zoë"
    assert upstream.requests[0].values(b"x-litellm-customer-id") == []


@pytest.mark.parametrize(
    ("text", "end_user", "session"),
    [
        ("someone", "someone", None),
        (CLAUDE_CODE, "acc", "ses"),
        (CLAUDE_CODE.replace("acc", ""), "dev", "ses"),
        ('{"device_id":5}', '{"device_id":5}', None),
        ("{not json", "{not json", None),
        ("{}", "{}", None),
        ("", None, None),
        ("x" * 300, "x" * MAX_TEXT, None),
        ("a\0b", "ab", None),
    ],
)
def test_user_id_is_read_and_forwarded_as_it_was(
    line: Bench, text: str, end_user: str | None, session: str | None
) -> None:
    body = user_id(text)
    answer, entry, sent = ask(line, body)
    assert (entry.end_user, entry.session_id) == (end_user, session)
    assert sent.body == body
    assert answer.values(b"x-ferryman-mutations") == [b"none"]


def test_claude_codes_headers_are_noted_cut_and_passed(line: Bench) -> None:
    names = {
        "session_id": b"x-claude-code-session-id",
        "agent_id": b"x-claude-code-agent-id",
        "parent_agent_id": b"x-claude-code-parent-agent-id",
        "request_class": b"x-claude-code-request-class",
        "agent_type": b"x-claude-code-agent-type",
    }
    headers = b"".join(b"%b: %b\r\n" % (name, name + b"x" * 300) for name in names.values())
    _, entry, sent = ask(line, user_id(CLAUDE_CODE), headers)
    for field, name in names.items():
        assert getattr(entry, field) == (name.decode() + "x" * 300)[:MAX_TEXT]
        assert sent.values(name) == [name + b"x" * 300]
    assert entry.end_user == "acc"


def test_refused_request_is_noted_with_claude_codes_session(line: Bench) -> None:
    gateway, _ = line.pair()
    with RawClient(gateway.port) as client:
        assert client.ask(get(b"/nowhere", headers=b"x-claude-code-session-id: s\r\n")).status == 404
    assert gateway.entry().session_id == "s"


NOTES = b'{"n":"%b"}' % (b"x" * MAX_NOTES_BYTES)


@pytest.mark.parametrize(
    ("ours", "headers", "told"),
    [
        (b"[]", b"", "`litellm_metadata` has to be a JSON object"),
        (b'{"tags":"a"}', b"", "`litellm_metadata.tags` has to be a list"),
        (b'{"tags":["a",1]}', b"", "`litellm_metadata.tags` has to be a list"),
        (b'{"user":1}', b"", "`litellm_metadata.user` has to be a text"),
        (b'{"user":"a\\u0000"}', b"", "`litellm_metadata.user` has the character U+0000"),
        (
            b'{"spend_logs_metadata":[]}',
            b"",
            "`litellm_metadata.spend_logs_metadata` has to be a JSON object",
        ),
        (b'{"spend_logs_metadata":{"a":"\xff"}}', b"", "has to be a JSON object"),
        (b'{"spend_logs_metadata":%b}' % NOTES, b"", f"longer than {MAX_NOTES_BYTES} bytes"),
        (b'{"user":"%b"}' % (b"x" * 201), b"", "longer than 200 characters"),
        (b'{"tags":["%b"]}' % (b"x" * 201), b"", "longer than 200 characters"),
        (json.dumps({"tags": [str(n) for n in range(51)]}).encode(), b"", f"more than {MAX_TAGS} tags"),
        (b"{}", b"x-litellm-spend-logs-metadata: {broken\r\n", "`x-litellm-spend-logs-metadata` has to be"),
        (b"{}", b"x-ferryman-tags: %b\r\n" % (b"x" * 201), "header `x-ferryman-tags` is longer"),
        (b"{}", b"x-litellm-end-user-id: %b\r\n" % (b"x" * 201), "`x-litellm-end-user-id` is longer"),
        (b"{}", b"x-litellm-end-user-id: a\r\n" * 2, "`x-litellm-end-user-id` may stand only once"),
        (b'{},"litellm_metadata":{}', b"", "`litellm_metadata` stands more than once"),
        (b'{},"mod\\u0065l":"n"', b"", "`model` stands more than once"),
    ],
)
def test_what_is_meant_for_us_and_malformed_is_400(
    line: Bench, ours: bytes, headers: bytes, told: str
) -> None:
    answer, entry, sent = ask(line, BODY % ours, headers)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"], sent) == (400, "invalid_request_error", None)
    assert told in error["message"]
    assert entry.ended == "refused"


def test_body_with_our_field_that_grows_by_decoding_has_to_fit(line: Bench) -> None:
    body = b'{"litellm_metadata":{},"x":"%b"}' % (b"y" * 1_500_000)
    header = b"Content-Encoding: gzip\r\n"
    answer, _, sent = ask(line, gzip.compress(body), header, max_held_bytes=1_048_576)
    assert (answer.status, sent) == (529, None)


def test_malformed_header_of_an_upload_is_400_before_it_goes_on(line: Bench) -> None:
    gateway, upstream = line.pair()
    head = b"POST /v1/files HTTP/1.1\r\nHost: g\r\nx-litellm-spend-logs-metadata: 5\r\n"
    with RawClient(gateway.port) as client:
        assert client.ask(head + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000).status == 400
    assert upstream.requests == []
