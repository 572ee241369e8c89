"""URL sources are found where they stand, and nothing outside of them changes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.relay.fetch.values import Failed, Inlined, edits, failures
from ferryman.wire.images import (
    MAX_ELEMENTS,
    MAX_SOURCES,
    UrlSource,
    Wanted,
    base64_source,
    media_type_of,
    url_sources,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
URL = "https://img.example/a.png"
IMAGE = {"type": "image", "source": {"type": "url", "url": URL}}
PDF = {"type": "document", "source": {"type": "url", "url": "https://img.example/b.pdf"}}


def body_of(*blocks: object, **more: object) -> bytes:
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": list(blocks)}], **more}
    ).encode()


def with_edits(body: bytes, made: list[tuple[int, int, bytes]]) -> bytes:
    parts, at = [], 0
    for start, end, text in made:
        parts += [body[at:start], text]
        at = end
    return b"".join([*parts, body[at:]])


def found_in(body: bytes) -> list[tuple[str, str]]:
    return [(source.kind, source.url) for source in url_sources(body)]


def test_images_and_pdfs_are_found_with_the_place_of_their_whole_source() -> None:
    whole = b'{"url":"http:\\/\\/a\\u002fb" ,"type":"url"}'
    body = b'{"messages" :[ {"content":[{ "type":"image", "source" : %b } ]}]}' % whole
    (source,) = url_sources(body)
    assert source == UrlSource("image", "http://a/b", source.start, source.end)
    assert body[source.start : source.end] == whole
    assert url_sources(bytearray(body)) == [source]
    assert found_in(body_of(IMAGE, {"type": "text", "text": "x"}, PDF, IMAGE)) == [
        ("image", URL),
        ("document", "https://img.example/b.pdf"),
        ("image", URL),
    ]


def test_sources_within_tool_results_and_documents_are_found() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE, PDF]}
    inner = {"type": "document", "source": {"type": "content", "content": [IMAGE]}}
    nested = {"type": "tool_result", "content": [inner]}
    assert found_in(body_of(result)) == [("image", URL), ("document", "https://img.example/b.pdf")]
    assert found_in(body_of(inner)) == [("image", URL)]
    assert found_in(body_of(nested)) == [("image", URL)]
    assert found_in(body_of({"type": "tool_result", "content": [nested]})) == []  # no reader goes so deep


@pytest.mark.parametrize(
    "spelled",
    [
        b'{"type":"\\u0075rl","url":"x"}',
        b'{"type":"u\\u0072l","\\u0075rl":"x"}',
        b'{"\\u0074ype":"ur\\u006C","ur\\u006c":"x"}',
        b'{"type"\n:\t"\\u0075\\u0072\\u006c" , "u\\u0072l" : "x"}',
    ],
)
def test_escapes_hide_no_source(spelled: bytes) -> None:
    body = b'{"messages":[{"content":[{"type":"im\\u0061ge","source":%b}]}]}' % spelled
    (source,) = url_sources(body)
    assert (body[source.start : source.end], source.url) == (spelled, "x")


@pytest.mark.parametrize(
    "body",
    [
        body_of({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}),
        body_of({"type": "tool_use", "id": "t", "name": "n", "input": IMAGE}),
        body_of({"type": "tool_use", "id": "t", "name": "n", "input": {"content": [IMAGE], "type": "url"}}),
        body_of({"type": "text", "text": json.dumps(IMAGE)}),
        body_of({"type": "text", "text": '"type":"url"'}, tools=[{"type": "url", "url": 1}]),
        body_of({"type": "later", "source": IMAGE["source"]}),
        body_of({"type": "image", "source": {"type": "url", "url": 7}}),
        body_of({"type": "image", "source": "url"}, {"type": "url"}, 7, None, [IMAGE]),
        body_of({"type": "image", "source": {"type": "file", "file_id": "f"}}, x={"type": "url"}),
        b'{"system":' + json.dumps([IMAGE]).encode() + b',"messages":"none"}',
        b'{"messages":[{"content":{"type":"url"}}]}',
        json.dumps([IMAGE]).encode(),
        body_of(IMAGE)[:-1],
        body_of(IMAGE) + b"x",
        b'{"messages":' + b"[" * 100_000 + b',"type":"url"',
        b"\xff" + body_of(IMAGE),
        b"",
    ],
    ids=range(17),
)
def test_what_only_looks_like_one_is_left_alone(body: bytes) -> None:
    assert url_sources(body) == []


@pytest.mark.parametrize("name", ["messages", "content", "type", "source", "url"])
def test_field_on_the_way_that_stands_twice_is_refused(name: str) -> None:
    body = body_of(IMAGE)
    at = body.rindex(f'"{name}"'.encode()) if name == "url" else body.index(f'"{name}"'.encode())
    twice = b'%b"\\u%04x%b":null,%b' % (body[:at], ord(name[0]), name[1:].encode(), body[at:])
    with pytest.raises(InvalidRequest, match=f"`{name}` stands more than once"):
        url_sources(twice)


def test_more_than_can_be_looked_through_is_refused() -> None:
    assert len(url_sources(body_of(*[IMAGE] * MAX_SOURCES))) == MAX_SOURCES
    with pytest.raises(InvalidRequest, match="more than 1000 fields with the value `url`"):
        url_sources(body_of(*[IMAGE] * (MAX_SOURCES + 1)))
    head, tail = body_of(IMAGE)[:-2], b"]}"
    most = b",{}" * (MAX_ELEMENTS - 1)
    assert len(url_sources(head + most + tail)) == 1
    with pytest.raises(InvalidRequest, match="more than 100000 elements"):
        url_sources(head + most + b",{}" + tail)
    with pytest.raises(InvalidRequest, match="more than 500000 objects"):
        url_sources(head + b',{"a":[%b]}' % (b"{}," * 500_000 + b"{}") + tail)
    assert url_sources(head + b",1" * 2_000_000 + tail) == []  # no Messages body: nothing is built of it


@pytest.mark.parametrize(
    ("data", "kind", "media_type"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0", "image", "image/jpeg"),
        (b"GIF87a", "image", "image/gif"),
        (b"GIF89a", "image", "image/gif"),
        (b"RIFF\n\0\0\nWEBPVP8 ", "image", "image/webp"),
        (b"%PDF-1.7", "document", "application/pdf"),
        (b"%PDF-1.7", "image", None),
        (PNG, "document", None),
        (b"RIFF\0\0\0\0WAVE", "image", None),
        (b"<svg>", "image", None),
        (b" " + PNG, "image", None),
        (b"", "image", None),
    ],
)
def test_type_is_told_by_the_first_bytes(data: bytes, kind: Any, media_type: str | None) -> None:
    assert media_type_of(data, kind) == media_type
    assert media_type_of(bytearray(data), kind) == media_type


def test_source_that_takes_the_place_holds_the_file() -> None:
    assert json.loads(base64_source("image/png", PNG)) == {
        "type": "base64",
        "media_type": "image/png",
        "data": "iVBORw0KGgoAAAAAAAAAAA==",
    }


def test_only_what_is_here_becomes_an_edit() -> None:
    body = body_of(IMAGE, PDF, IMAGE)
    sources = url_sources(body)
    image, pdf = Wanted("image", URL), Wanted("document", "https://img.example/b.pdf")
    failed = Failed(pdf, "it is late")
    outcomes: dict[Wanted, Inlined | Failed] = {image: Inlined(b"{1}", 1), pdf: failed}
    assert [text for *_, text in edits(sources, outcomes)] == [b"{1}", b"{1}"]
    assert failures(outcomes) == [failed]
    assert failed.message == "The document `https://img.example/b.pdf` could not be fetched: it is late."


# ── any body ──

KEYS = st.sampled_from(["type", "url", "source", "content", "messages", "x", "é\n", '"'])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.sampled_from(["url", "image", "", '\\"url":"', "é\n", "/"])
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
SOURCES = st.fixed_dictionaries({"type": st.just("url"), "url": st.text(max_size=8)})
IMAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["image", "document"]), "source": SOURCES}, optional={"x": ANYTHING}
)
RESULTS = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "content": st.lists(IMAGES, max_size=3)}, optional={"x": ANYTHING}
)
TOOLS = st.fixed_dictionaries({"type": st.just("tool_use"), "input": ANYTHING})
CONTENT = st.text(max_size=5) | st.lists(IMAGES | RESULTS | TOOLS, max_size=4)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": CONTENT}), max_size=4)
BODIES = st.fixed_dictionaries({"messages": MESSAGES}, optional={"system": ANYTHING, "tools": ANYTHING})


def written(value: object, chance: Random) -> str:
    """`value` in JSON, with white space, escapes and an order of members that only a hostile client has."""
    space = chance.choice(["", " ", "\r\n\t"])
    if isinstance(value, dict):
        members = [
            f"{written(name, chance)}{space}:{space}{written(one, chance)}" for name, one in value.items()
        ]
        chance.shuffle(members)
        return "{" + space + f"{space},{space}".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + space + f"{space},{space}".join(written(one, chance) for one in value) + space + "]"
    if isinstance(value, str) and value.isascii() and chance.random() < 0.3:
        return '"' + "".join(f"\\u{ord(char):04x}" for char in value) + '"'
    return json.dumps(value)


def filled(value: Any) -> Any:
    """What `value`, a body or a part of one, becomes when each source holds its own URL."""
    return {
        **value,
        "messages": [{**one, "content": filled_content(one["content"])} for one in value["messages"]],
    }


def filled_content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [filled_block(block) for block in content]


def filled_block(block: Any) -> Any:
    if block["type"] == "tool_result":
        return {**block, "content": filled_content(block["content"])}
    if block["type"] == "tool_use":
        return block
    data = block["source"]["url"].encode("utf-8", "surrogatepass")
    return {**block, "source": json.loads(base64_source("image/png", data))}


@given(BODIES, st.integers())
def test_every_byte_outside_of_the_sources_stays(value: Any, seed: int) -> None:
    body = written(value, Random(seed)).encode()
    sources = url_sources(body)
    for source in sources:
        assert json.loads(body[source.start : source.end]) == {"type": "url", "url": source.url}
    outcomes = {
        source.wanted: Inlined(base64_source("image/png", source.url.encode()), len(source.url))
        for source in sources
    }
    made = edits(sources, outcomes)
    edited = with_edits(body, made)
    assert json.loads(edited) == filled(value)
    gaps = zip([0, *(end for _, end, _ in made)], [*(start for start, _, _ in made), len(body)], strict=True)
    rest = edited
    for (start, end), text in zip(gaps, [*(text for *_, text in made), b""], strict=True):
        assert rest.startswith(body[start:end] + text)
        rest = rest[end - start + len(text) :]
    assert rest == b""
