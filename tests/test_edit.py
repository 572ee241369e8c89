"""Cutting a member out of a JSON object: one slice goes, every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.model import ABSENT, Call
from ferryman.wire.edit import MAX_MEMBERS, members, removals
from ferryman.wire.request import MAX_METADATA_BYTES, read_call
from ferryman.wire.splice import spliced

OURS = "litellm_metadata"
SPACES = st.text(" \t\r\n", max_size=3)
NUMBERS = st.sampled_from(["1.0", "3e5", "-0", "12345678901234567890", "1E-7", "0"])


def without_member(body: bytes | bytearray, name: str) -> bytes | bytearray:
    cuts = removals(body, members(body), {name: name})
    return spliced(body, cuts) if cuts else body


def spelled(text: str, escape_at: frozenset[int]) -> str:
    """`text` as JSON, with some of its characters as escapes."""
    return '"' + "".join(
        f"\\u{ord(c):04x}" if i in escape_at and ord(c) < 0x10000 else json.dumps(c, ensure_ascii=False)[1:-1]
        for i, c in enumerate(text)
    ) + '"'  # fmt: skip


NAMES = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != OURS)
ESCAPES = st.frozensets(st.integers(0, 15), max_size=4)
TEXTS = st.builds(spelled, NAMES | st.just(f'"{OURS}":1,'), ESCAPES)


@st.composite
def joined(draw: Any, opening: str, members: Any, closing: str) -> str:
    parts = [draw(SPACES) + member + draw(SPACES) for member in draw(members)]
    return opening + (",".join(parts) or draw(SPACES)) + closing


def member(names: Any, values: Any) -> Any:
    return st.builds(lambda n, a, b, v: f"{n}{a}:{b}{v}", names, SPACES, SPACES, values)


ANY_NAME = st.builds(spelled, NAMES | st.just(OURS), ESCAPES)
VALUES: Any = st.recursive(
    NUMBERS | TEXTS | st.sampled_from(["true", "false", "null", "[]", "{}"]),
    lambda inner: (
        joined("[", st.lists(inner, max_size=3), "]")
        | joined("{", st.lists(member(ANY_NAME, inner), max_size=3), "}")
    ),
    max_leaves=8,
)
OTHERS = st.lists(member(TEXTS, VALUES), max_size=4)


@given(OTHERS, OTHERS, st.builds(spelled, st.just(OURS), ESCAPES), VALUES, st.data())
def test_one_slice_goes_and_the_rest_is_the_same_object(
    before: list[str], behind: list[str], key: str, value: str, data: Any
) -> None:
    ours = data.draw(member(st.just(key), st.just(value)))
    text = data.draw(joined("{", st.just([*before, ours, *behind]), "}"))
    body = (data.draw(SPACES) + text + data.draw(SPACES)).encode()
    rest = bytes(without_member(body, OURS))
    pairs = json.loads(body, object_pairs_hook=list, parse_float=str, parse_int=str)
    assert json.loads(rest, object_pairs_hook=list, parse_float=str, parse_int=str) == [
        pair for pair in pairs if pair[0] != OURS
    ]
    cut = len(body) - len(rest)
    assert any(body[:at] + body[at + cut :] == rest for at in range(len(rest) + 1))
    assert without_member(rest, OURS) == rest


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (b'{"litellm_metadata":{}}', b"{}"),
        (b' { "litellm_metadata" : [1] } \n', b" {} \n"),
        (b'{ "litellm_metadata": 1, "a": 2 }', b'{ "a": 2 }'),
        (b'{"a": 1.0,\n  "litellm_metadata": {"b": [{}]},\n  "c": 3e5}', b'{"a": 1.0,\n  "c": 3e5}'),
        (b'{"a":1 , "litellm_metadata":"}" }', b'{"a":1  }'),
        (b'{"a":{"litellm_metadata":1},"litellm\\u005fmetadata":2}', b'{"a":{"litellm_metadata":1}}'),
        (b'{"a":1,"a":2,"litellm_metadata":3}', b'{"a":1,"a":2}'),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_comma_and_white_space_of_the_member_go_with_it(body: bytes, rest: bytes, kind: Any) -> None:
    assert without_member(kind(body), OURS) == rest


SOME = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)


@given(SOME, st.sets(st.sampled_from("abcdefg")), st.data())
def test_any_members_go_together_and_the_rest_stays(names: list[str], gone: set[str], data: Any) -> None:
    every = st.just([data.draw(member(st.just(f'"{name}"'), NUMBERS)) for name in names])
    body = data.draw(joined("{", every, "}")).encode()
    rest = spliced(body, removals(body, members(body), dict.fromkeys(gone, "x")))
    pairs = json.loads(body, object_pairs_hook=list, parse_float=str, parse_int=str)
    left = json.loads(rest, object_pairs_hook=list, parse_float=str, parse_int=str)
    assert left == [pair for pair in pairs if pair[0] not in gone]


@pytest.mark.parametrize("name", ["model", "metadata", OURS])
@pytest.mark.parametrize("other", [b"", b'"stream":"odd",'])
@pytest.mark.parametrize("values", [(b'"x"', b'"y"'), (b"null", b"{}"), (b"{}", b"{}")])
def test_field_that_stands_twice_is_refused_however_it_is_spelled(
    name: str, other: bytes, values: tuple[bytes, bytes]
) -> None:
    second = f"\\u{ord(name[0]):04x}{name[1:]}".encode()
    body = b'{"%b":%b,%b"%b":%b}' % (name.encode(), values[0], other, second, values[1])
    with pytest.raises(InvalidRequest, match=f"`{name}` stands more than once"):
        read_call(body)
    if name == OURS:
        with pytest.raises(InvalidRequest, match="more than once"):
            without_member(body, OURS)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"litellm_metadata":{"tags":["a"]', id="unterminated"),
        pytest.param(b'{"litellm_metadata":NaN}', id="nan"),
        pytest.param(b'\xef\xbb\xbf{"litellm_metadata":{}}', id="bom"),
        pytest.param(b'{"litellm_metadata":"\x00"}', id="nul"),
        pytest.param(b'{"litellm_metadata":{},"x":' + b"[" * 100_000 + b"}", id="deep"),
        pytest.param(b'{"litellm_metadata":{}} x', id="trailing"),
        pytest.param(b'["litellm_metadata"]', id="list"),
        pytest.param(b'{"litellm_metadata":{},"\\ud800":1}', id="lone-surrogate-in-key"),
    ],
)
def test_hostile_body_is_no_call_and_is_never_edited(body: bytes) -> None:
    assert read_call(body) == Call()
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        without_member(body, OURS)


def test_more_fields_than_can_be_looked_at_are_refused() -> None:
    fields = b",".join(b'"%d":0' % number for number in range(MAX_MEMBERS - 1))
    body = b'{%b,"litellm_metadata":0}' % fields
    assert without_member(body, OURS) == b"{%b}" % fields
    with pytest.raises(InvalidRequest, match=r"more than 1000"):
        without_member(b'{"x":1,' + body[1:], OURS)


def test_what_is_kept_of_a_body_does_not_hold_the_body() -> None:
    body = bytearray(b'{"litellm_metadata":{"tags":[]},"model":"m"}')
    call = read_call(body)
    body += b" "  # a buffer that something looks into could not grow
    assert bytes(call.litellm_metadata) == b'{"tags":[]}'
    long = b'{"litellm_metadata":"%b"}' % (b"x" * MAX_METADATA_BYTES)
    with pytest.raises(InvalidRequest, match="larger than 65536 bytes"):
        read_call(long)


def test_wrong_type_of_one_field_costs_none_of_the_others() -> None:
    call = read_call(b'{"metadata":7,"stream":1,"model":"m","litellm_metadata":{"user":"u"},"max_tokens":5}')
    assert (call.model, call.max_tokens, call.stream, call.metadata) == ("m", 5, None, None)
    assert bytes(call.litellm_metadata) == b'{"user":"u"}'
    assert read_call(b'{"model":"m","metadata":{"user_id":{}}}').litellm_metadata is ABSENT
