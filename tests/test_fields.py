"""Header lines and request heads, against slow and plain readings of the same bytes."""

from __future__ import annotations

import contextlib
import random
from typing import NamedTuple

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.errors import ExpectationFailed, HeadTooLarge, InvalidRequest, RelayError, VersionNotSupported
from ferryman.http1.fields import NOT_PASSED_ON, FieldReader, list_tokens
from ferryman.http1.message import Request
from ferryman.http1.request import DROPPED, MAX_HEADERS, RepeatedHead, read_head
from tests.conftest import Bench
from tests.support.edge import Connection
from tests.support.raw import RawClient, RawRequest

WATCHED = frozenset({b"accept-encoding", b"authorization", b"x-api-key", b"x-session"})
READER = FieldReader(DROPPED | {b"x-own"}, WATCHED)
ALL_DROPPED = DROPPED | {b"x-own"}

NAMES = st.sampled_from(
    [b"accept-encoding", b"authorization", b"x-api-key", b"x-session", b"x-own", b"te", b"trailer",
     b"expect", b"keep-alive", b"upgrade", b"x-api-keys", b"x-api", b"ten", b"t", b"hosts", b"accept",
     b"x-other", b"cookie"]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"", b"a", b"a b", b"x-own: 1", b"te:", b"\xff\xe9", b"=,;\"'", b"content-length: 5"]
)
SPACES = st.sampled_from([b"", b" ", b"\t", b" \t  "])
NOMINATED = st.sampled_from(
    [
        b"close",
        b"Keep-Alive",
        b"X-Other",
        b"x-session",
        b"COOKIE",
        b"content-length",
        b"host",
        b"te",
        b"",
        b" ",
    ]
)
CONNECTION = st.lists(NOMINATED, max_size=3).map(b" ,".join)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """One header line, its name in mixed case."""
    name, value = draw(st.tuples(NAMES, VALUES) | st.tuples(st.just(b"connection"), CONNECTION))
    flips = draw(st.integers(0, 2**8))
    mixed = b"".join(
        bytes([letter]).upper() if flips >> at % 8 & 1 else bytes([letter]) for at, letter in enumerate(name)
    )
    return mixed + b":" + draw(SPACES) + value + draw(SPACES)


BLOCKS = st.lists(lines(), max_size=12)


def names_and_values(given_lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    split = (line.partition(b":") for line in given_lines)
    return [(name.lower(), value.strip(b" \t")) for name, _, value in split]


@settings(max_examples=400)
@given(given_lines=BLOCKS)
def test_lines_are_kept_and_found_as_by_a_slow_reading(given_lines: list[bytes]) -> None:
    block = b"".join(b"\r\n" + line for line in given_lines)
    pairs = names_and_values(given_lines)
    nominated = {
        token.strip().lower() for name, value in pairs if name == b"connection" for token in value.split(b",")
    }
    gone = ALL_DROPPED | nominated - {b"close", b"keep-alive"}
    kept = [line for line, (name, _) in zip(given_lines, pairs, strict=True) if name not in gone]
    fields = READER.read(block)
    assert fields.kept == b"".join(b"\r\n" + line for line in kept)
    for name in (WATCHED | ALL_DROPPED) - (nominated - ALL_DROPPED):
        values = [value for key, value in pairs if key == name]
        assert fields.values(name) == values
        assert (name in fields.repeated) == (len(values) > 1)
        assert (fields.text(name) is None) == (not values)
    assert set(fields.found) <= WATCHED | ALL_DROPPED


def test_header_that_nobody_looks_at_has_no_values() -> None:
    fields = READER.read(b"\r\nX-Other: 1\r\nX-Other: 2")
    assert fields.values(b"x-other") == []
    assert fields.kept == b"\r\nX-Other: 1\r\nX-Other: 2"


def test_no_lines_are_no_fields() -> None:
    fields = READER.read(b"")
    assert (fields.kept, fields.found, fields.repeated) == (b"", {}, [])


def test_list_tokens_are_the_members_of_all_lines() -> None:
    assert list_tokens([b"a, B ,,", b"\tc", b""]) == {b"a", b"b", b"c"}


def test_nothing_that_speaks_of_one_connection_is_passed_on() -> None:
    block = b"".join(b"\r\n%b: x" % name for name in sorted(NOT_PASSED_ON))
    assert READER.read(block).kept == b""


# ── heads ──


def head_of(*given_lines: bytes, first: bytes = b"POST /v1/messages HTTP/1.1") -> bytes:
    return b"\r\n".join([first, *given_lines]) + b"\r\n\r\n"


def test_head_is_read_with_its_framing() -> None:
    plain = read_head(head_of(b"Host: a", b"content-length:\t12 "), READER)
    assert (plain.method, plain.target, plain.length, plain.chunked) == (b"POST", b"/v1/messages", 12, False)
    chunked = read_head(head_of(b"Host: a", b"Transfer-Encoding: Chunked", b"Expect: 100-Continue"), READER)
    assert (chunked.length, chunked.chunked, chunked.expects_continue) == (None, True, True)
    old = read_head(head_of(b"Expect: 100-continue", first=b"GET / HTTP/1.0"), READER)
    assert (old.http10, old.length, old.expects_continue) == (True, None, False)


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (head_of(), InvalidRequest),
        (head_of(b"Host: a", b"HOST: a"), InvalidRequest),
        (head_of(b"Host: a", b"Content-Length: 1", b"content-length: 1"), InvalidRequest),
        (head_of(b"Host: a", b"Transfer-Encoding: gzip"), InvalidRequest),
        (head_of(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), InvalidRequest),
        (head_of(b"Transfer-Encoding: chunked", first=b"GET / HTTP/1.0"), InvalidRequest),
        (head_of(b"Host: a", b"Expect: 100-continue, more"), ExpectationFailed),
        (head_of(b"Host: a", first=b"GET / HTTP/1.2"), VersionNotSupported),
        (head_of(b"Host: a", first=b"GET  / HTTP/1.1"), InvalidRequest),
        (head_of(b"Host: a", *[b"a: b"] * MAX_HEADERS), HeadTooLarge),
    ],
)
def test_head_that_could_be_read_in_two_ways_is_refused(head: bytes, error: type[RelayError]) -> None:
    with pytest.raises(error):
        read_head(head, READER)


def test_as_many_headers_as_allowed_are_read() -> None:
    assert read_head(head_of(b"Host: a", *[b"a: b"] * (MAX_HEADERS - 1)), READER).target == b"/v1/messages"


class Facts(NamedTuple):
    """All that a head says, for comparison."""

    line: tuple[bytes, bytes, bool]
    framing: tuple[int | None, bool, bool]
    kept: bytes
    found: list[tuple[bytes, bytes]]


def facts(request: Request) -> Facts:
    """What `request` says; the length by itself, since a repeated head's fields are those of the first."""
    found = {name: value for name, value in request.fields.found.items() if name != b"content-length"}
    return Facts(
        (request.method, request.target, request.http10),
        (request.length, request.chunked, request.expects_continue),
        request.fields.kept,
        sorted(found.items()),
    )


def llhttp_takes(head: bytes) -> bool:
    parser = httptools.HttpRequestParser(object())
    with contextlib.suppress(httptools.HttpParserUpgrade):
        try:
            parser.feed_data(head)
        except httptools.HttpParserError:
            return False
    return True


FIRST_LINES = st.sampled_from(
    [
        b"POST /v1/messages HTTP/1.1",
        b"GET /v1/models HTTP/1.1",
        b"POST /v1/messages HTTP/1.0",
        b"POST /v1/x HTTP/1.1",
    ]
)
NUMBERS = st.sampled_from([b"0", b"2", b"12", b"012", b"99999999"])
FRAMINGS = st.one_of(
    st.just(b""),
    st.builds(
        lambda before, number, after: b"\r\nContent-Length:" + before + number + after,
        SPACES,
        NUMBERS,
        SPACES,
    ),
    st.builds(lambda number: b"\r\ncontent-length: " + number, NUMBERS),
    st.just(b"\r\nTransfer-Encoding: chunked"),
)
OTHER_LINES = st.lists(
    st.sampled_from(
        [b"x-api-key: one", b"x-api-key: two", b"authorization: Bearer 1", b"a: 5", b"a: 55", b"a:",
         b"x-session: 7", b"Expect: 100-continue", b"b: \tcontent-length: 5", b"x-content-length: 5",
         b"Connection: x-session"]
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    before, after = draw(OTHER_LINES), draw(OTHER_LINES)
    parts = [draw(FIRST_LINES), b"\r\nHost: g", *(b"\r\n" + line for line in before), draw(FRAMINGS)]
    return b"".join([*parts, *(b"\r\n" + line for line in after), b"\r\n\r\n"])


@st.composite
def changed(draw: st.DrawFn, head: bytes) -> bytes:
    """`head` as it is, with other digits, or with a cut, a swap or an insertion somewhere."""
    kind = draw(st.sampled_from(["same", "digits", "insert", "delete", "replace", "other"]))
    at = draw(st.integers(0, len(head)))
    piece = draw(
        st.sampled_from(
            [b"5", b" ", b"\t", b"\r\n", b"a: b\r\n", b"x-api-key: three\r\n", b"content-length: 7\r\n"]
        )
    )
    if kind == "digits":
        lower = head.lower()
        start = lower.find(b"\r\ncontent-length:") + len(b"\r\ncontent-length:")
        if start < len(b"\r\ncontent-length:"):
            return head
        end = head.index(b"\r\n", start)
        return head[:start] + draw(SPACES) + draw(NUMBERS) + draw(SPACES) + head[end:]
    if kind == "insert":
        return head[:at] + piece + head[at:]
    if kind == "delete":
        return head[:at] + head[at + draw(st.integers(1, 30)) :]
    if kind == "replace":
        return head[:at] + piece + head[at + len(piece) :]
    return draw(heads()) if kind == "other" else head


@settings(max_examples=800)
@given(data=st.data())
def test_head_that_is_recognised_is_what_reading_it_anew_gives(data: st.DataObject) -> None:
    first = data.draw(heads())
    second = data.draw(changed(first))
    try:
        repeated = RepeatedHead(first, read_head(first, READER))
    except RelayError:
        return
    if not (llhttp_takes(first) and llhttp_takes(second) and second.find(b"\r\n\r\n") == len(second) - 4):
        return
    again = repeated.read(second)
    if again is not None:
        assert facts(again) == facts(read_head(second, READER))
        assert not again.complete


@given(number=NUMBERS, spaces=st.tuples(SPACES, SPACES), line=st.sampled_from([b"x-api-key: one", b"b: c"]))
def test_head_with_another_length_is_recognised(
    number: bytes, spaces: tuple[bytes, bytes], line: bytes
) -> None:
    first = head_of(b"Host: g", b"Content-Length: 5", line)
    repeated = RepeatedHead(first, read_head(first, READER))
    again = repeated.read(head_of(b"Host: g", b"Content-Length:" + spaces[0] + number + spaces[1], line))
    assert again is not None
    assert again.length == int(number)
    assert repeated.read(first) is not None


def test_head_without_a_length_is_recognised_only_as_it_was() -> None:
    first = head_of(b"Host: g", b"a: b", first=b"GET /v1/models HTTP/1.1")
    repeated = RepeatedHead(first, read_head(first, READER))
    assert repeated.read(first) is not None
    for other in (b"a: c", b"a: bb", b"content-length: 5", b"x-api-key: one"):
        assert repeated.read(head_of(b"Host: g", other, first=b"GET /v1/models HTTP/1.1")) is None


# ── on a connection ──


def random_request(chance: random.Random) -> tuple[bytes, RawRequest]:
    """A request as sent, and as it has to arrive."""
    method, path = chance.choice(
        [(b"POST", b"/v1/messages"), (b"POST", b"/v1/files"), (b"GET", b"/v1/models?a=b")]
    )
    headers = [
        (name, chance.choice([b"one", b"two", b"three"]))
        for name in chance.sample(
            [b"x-api-key", b"authorization", b"x-trace", b"cookie"], chance.randint(0, 4)
        )
    ]
    sent = b"".join(b"%b: %b\r\n" % header for header in headers)
    start = b"%b %b HTTP/1.1\r\nHost: g\r\nanthropic-version: 2023-06-01\r\n" % (method, path)
    body = b"" if method == b"GET" else chance.choice([b"", b"{}", b'{"model":"m"}', b"x" * 500])
    arrived = RawRequest(b"%b %b HTTP/1.1" % (method, path), [*headers], body)
    if method == b"GET":
        return start + sent + b"\r\n", arrived
    if chance.random() < 0.3:
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return start + sent + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n", arrived
    return start + b"Content-Length: %d\r\n" % len(body) + sent + b"\r\n" + body, arrived


@pytest.mark.parametrize("pipelined", [False, True])
def test_requests_on_one_connection_never_see_each_others_heads_or_bodies(
    line: Bench, pipelined: bool
) -> None:
    def script(connection: Connection) -> None:
        while True:
            connection.answer(connection.request().body)

    gateway, upstream = line.pair(script, anthropic_api_key=None)
    chance = random.Random(7)
    requests = [random_request(chance) for _ in range(300)]
    requests = [one for one in requests for _ in range(chance.randint(1, 3))]
    with RawClient(gateway.port) as client:
        if pipelined:
            client.send(b"".join(sent for sent, _ in requests))
        for sent, arrived in requests:
            answer = client.response() if pipelined else client.ask(sent)
            assert (answer.status, answer.body) == (200, arrived.body)
    assert len(upstream.requests) == len(requests)
    own = {b"host", b"anthropic-version", b"content-length"}
    for got, (_, arrived) in zip(upstream.requests, requests, strict=True):
        assert (got.line, got.body) == (arrived.line, arrived.body)
        assert [header for header in got.headers if header[0] not in own] == arrived.headers
        has_body = not arrived.line.startswith(b"GET")
        assert got.values(b"content-length") == ([b"%d" % len(arrived.body)] if has_body else [])
    assert {entry.request_bytes for entry in gateway.entries} == {
        len(arrived.body) for _, arrived in requests
    }


def test_version_that_a_client_keeps_to_its_connection_is_added_for_the_upstream(line: Bench) -> None:
    gateway, upstream = line.pair()
    nominated = head_of(
        b"Host: g",
        b"Connection: anthropic-version",
        b"anthropic-version: x",
        first=b"GET /v1/models HTTP/1.1",
    )
    with RawClient(gateway.port) as client:
        assert client.ask(nominated).status == 200
    assert upstream.requests[0].values(b"anthropic-version") == [b"2023-06-01"]
