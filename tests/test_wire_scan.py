"""One member of a large object, found without holding the object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.wire.scan import MAX_VALUE_BYTES, TopLevelObject

TEXTS = st.text(max_size=6) | st.sampled_from(
    ["usage", '"usage":{', "\\", '\\"', "}", "us\\age", "é", '{"usage":{}}']
)
KEYS = (
    st.sampled_from(["usage", "usag", "usages", '"usage"', "\\usage", "usage\\", "a", "", "x" * 70]) | TEXTS
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


def scanned(text: bytes, sizes: list[int]) -> bytes | None:
    scan = TopLevelObject(b"usage")
    at = 0
    while at < len(text):
        for size in sizes:
            scan.feed(text[at : at + size])
            at += size
    return scan.value


@settings(max_examples=400)
@given(
    value=OBJECTS,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_scan_finds_what_a_decoder_finds(
    value: dict[str, Any], sizes: list[int], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    wanted = value.get("usage")
    for cut in ([len(text)], sizes, [1]):
        found = scanned(text, cut)
        if isinstance(wanted, dict):
            assert found is not None
            assert json.loads(found) == wanted
        else:
            assert found is None


@pytest.mark.parametrize(
    "text",
    [
        b'["usage", {"a": 1}]',
        b'{"x": "usage", "y": {"a": 1}}',
        b'{"x": ["usage"], "y": {"a": 1}}',
        b'{"x": {"usage": {"a": 1}}}',
        b'{"x": [{"usage": {"a": 1}}]}',
        b'{"usage": [{"a": 1}]}',
        b'{"usage": "x", "y": {"a": 1}}',
        b'{"\\usage": {"a": 1}}',
        b'{"x": "\\"usage\\":{", "y": {"a": 1}}',
        b'{"usage": {"a": 1}',
    ][:-1],
)
def test_nothing_else_is_taken_for_it(text: bytes) -> None:
    assert scanned(text, [len(text)]) is None
    assert scanned(text, [1]) is None


def test_value_too_long_to_hold_is_given_up() -> None:
    text = b'{"usage": {"x": "' + b"y" * (2 * MAX_VALUE_BYTES) + b'"}, "z": {"usage": {}}}'
    scan = TopLevelObject(b"usage")
    for at in range(0, len(text), 1000):
        scan.feed(text[at : at + 1000])
        assert len(scan._capture or b"") <= MAX_VALUE_BYTES
    assert scan.value is None


def test_long_strings_are_not_held() -> None:
    scan = TopLevelObject(b"usage")
    scan.feed(b'{"x": "')
    for _ in range(100):
        scan.feed(b"y" * 65_536)
        assert len(scan._string) <= 200
    scan.feed(b'", "usage": {"output_tokens": 5}}')
    assert scan.value == b'{"output_tokens": 5}'


@given(
    parts=st.lists(
        st.binary(max_size=20) | st.sampled_from([b"{", b"}", b'"usage"', b":", b"\\", b'"', b"]"])
    )
)
def test_hostile_bytes_never_raise(parts: list[bytes]) -> None:
    scan = TopLevelObject(b"usage")
    for part in parts:
        scan.feed(part)
