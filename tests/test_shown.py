"""What answers show of resources, and lists cut to what a caller sees."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.wire.owned import Resource
from ferryman.wire.shown import (
    REFUSED,
    Shown,
    made_in,
    made_in_events,
    made_in_message,
    shown_in,
    tells,
    with_only,
)

# ── what was made ──


def text(value: object) -> bytes:
    return json.dumps(value).encode()


FILE = {"id": "file_1", "type": "file", "filename": "a", "session_id": "no"}
RUN = {"id": "drun_1", "type": "deployment_run", "deployment_id": "depl_1", "session_id": "sesn_1"}
DREAM = {
    "id": "drm_1",
    "inputs": [{"type": "memory_store", "memory_store_id": "memstore_in"}],
    "outputs": [{"type": "memory_store", "memory_store_id": "memstore_1"}],
    "session_id": None,
}


@pytest.mark.parametrize(
    ("resource", "answer", "expected"),
    [
        (Resource("files", None, "create"), FILE, {"file_1": "files"}),
        (Resource("skills", None, "create"), {"id": "skill_1"}, {"skill_1": "skills"}),
        (Resource("new_things", None, "create"), {"id": "x"}, {"x": "new_things"}),
        (Resource("files", "file_1", "read"), FILE, {}),
        (Resource("skills", "skill_1", "change", "versions"), {"id": "skver_1"}, {}),
        (
            Resource("deployments", "depl_1", "change", "run"),
            RUN,
            {"drun_1": "deployment_runs", "sesn_1": "sessions"},
        ),
        (Resource("deployments", "depl_1", "change", "pause"), RUN, {}),
        (Resource("deployment_runs", "drun_1", "read"), RUN, {"sesn_1": "sessions"}),
        (Resource("dreams", None, "create"), DREAM, {"drm_1": "dreams", "memstore_1": "memory_stores"}),
        (Resource("dreams", "drm_1", "read"), DREAM, {"memstore_1": "memory_stores"}),
        (Resource("files", None, "create"), {"id": 7}, {}),
        (Resource("files", None, "create"), {"id": "x" * 201}, {}),
        (Resource("files", None, "create"), [], {}),
    ],
)
def test_answer_tells_what_was_made(resource: Resource, answer: object, expected: dict[str, str]) -> None:
    assert made_in(resource, text(answer)) == expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (Resource("files", None, "create"), True),
        (Resource("files", None, "list"), True),
        (Resource("files", "file_1", "read", "content"), False),
        (Resource("sessions", "sesn_1", "read", "events"), False),
        (Resource("sessions", "sesn_1", "change"), False),
        (Resource("deployments", "depl_1", "change", "run"), True),
        (Resource("deployments", "depl_1", "read", "run"), False),
        (Resource("dreams", "drm_1", "read"), True),
        (Resource("dreams", "drm_1", "delete"), False),
    ],
)
def test_answer_is_held_only_where_it_tells_something(resource: Resource, expected: bool) -> None:
    assert tells(resource) is expected


def test_answer_that_is_no_json_tells_nothing() -> None:
    for body in (b"", b"{", b'{"id":"file_1"', b"\xff", b"[" * 5_000):
        assert made_in(Resource("files", None, "create"), body) == {}
        assert made_in_message(body + b'"container"') == {}


def result(*files: object) -> dict[str, Any]:
    parts = [{"type": "bash_code_execution_output", "file_id": one} for one in files]
    return {
        "type": "bash_code_execution_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {"type": "bash_code_execution_result", "content": parts, "stdout": "", "return_code": 0},
    }


BLOCKS = [
    {"type": "text", "text": '{"file_id":"theirs"}'},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"file_id": "theirs", "container": "theirs"}},
    {"type": "server_tool_use", "id": "s", "name": "b", "input": {"content": [{"file_id": "theirs"}]}},
    {"type": "bash_code_execution_tool_result", "content": {"type": "error", "error_code": "x"}},
    result("file_1", "file_2", 7),
    {"type": "container_upload", "file_id": "file_3"},
    {"type": "code_execution_tool_result", "content": [{"file_id": "theirs"}]},
]
MADE = {"container_1": "containers", "file_1": "files", "file_2": "files", "file_3": "files"}


def test_message_tells_of_its_container_and_of_files_that_tools_wrote() -> None:
    message = {"id": "msg_1", "container": {"id": "container_1", "expires_at": "x"}, "content": BLOCKS}
    assert made_in_message(text(message)) == MADE
    assert made_in_message(text({"id": "msg_1", "container": None, "content": BLOCKS[:2]})) == {}


def test_stream_tells_the_same() -> None:
    start: dict[str, Any] = {
        "type": "message_start",
        "message": {"container": {"id": "container_1"}, "content": []},
    }
    delta = {"type": "message_delta", "delta": {"container": {"id": "container_1"}, "stop_reason": "x"}}
    blocks = [{"type": "content_block_start", "index": n, "content_block": b} for n, b in enumerate(BLOCKS)]
    deltas = [
        {
            "type": "content_block_delta",
            "delta": {"type": "input_json_delta", "partial_json": '"file_id":"x"'},
        }
    ]
    events = [b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), text(e)) for e in
              [start, *blocks, *deltas, delta]]  # fmt: skip
    assert made_in_events(b"".join(events)) == MADE
    made: dict[str, str] = {}
    for event in events:
        made |= made_in_events(event)
    assert made == MADE
    assert made_in_events(b'data: {"container": {}\n\n: "file_id"\n\n') == {}


# ── lists ──


def test_page_shows_what_each_was_made_by() -> None:
    page = {"data": [FILE, {"id": "file_2", "scope": {"type": "session", "id": "sesn_1"}}, {"no": "id"}, 7]}
    expected = [Shown("file_1"), Shown("file_2", "sesn_1"), Shown(""), Shown("")]
    assert shown_in("files", text(page)) == expected
    runs = shown_in("deployment_runs", text({"data": [RUN]}))
    assert runs == [Shown("drun_1", "depl_1", (("sesn_1", "sessions"),))]
    assert shown_in("sessions", text({"data": [{"id": "sesn_1", "deployment_id": None}]})) == [
        Shown("sesn_1")
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"data":{}}', b'{"data":null}', b'{"data":[],"data":[]}', b'{"data":[1,]}',
     b'{"data":['],
)  # fmt: skip
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(REFUSED):
        shown_in("files", body)
    with pytest.raises(REFUSED):
        with_only("files", body, lambda _: True)


def sees(ids: set[str], one: Shown) -> bool:
    return one.id in ids


def test_cut_page_keeps_every_other_byte() -> None:
    body = b'{ "data" : [ {"id":"a"} ,\n {"id" : "b", "n":1.0e+2}\t,{"id":"c"} ] ,'
    body += b' "has_more":true,"last_id":"c"}'
    cut = {
        "b": b'{ "data" : [\n {"id" : "b", "n":1.0e+2}\t] , "has_more":true,"last_id":"c"}',
        "ac": b'{ "data" : [ {"id":"a"} ,{"id":"c"} ] , "has_more":true,"last_id":"c"}',
        "": b'{ "data" : [] , "has_more":true,"last_id":"c"}',
    }
    for seen, expected in cut.items():
        assert with_only("files", body, partial(sees, set(seen))) == expected
    assert with_only("files", body, lambda _: True) is body
    assert with_only("files", b'{"data":[ ]}', lambda _: False) == b'{"data":[ ]}'


SPACE = st.text(" \t\r\n", max_size=2).map(str.encode)
ELEMENT = st.one_of(
    st.fixed_dictionaries({"id": st.sampled_from("abcdef"), "n": st.text(max_size=5)}).map(text),
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(), max_size=3), max_size=3).map(text),
    st.sampled_from([b"null", b"1.0e+2", b'"a,]"', b'["x", {"id": "a"}]', b'{"id":"\\u0061"}']),
)


@given(st.lists(st.tuples(SPACE, ELEMENT, SPACE), max_size=8), st.sets(st.sampled_from("abcdef")), SPACE)
def test_elements_that_are_seen_stay_byte_for_byte(
    elements: list[tuple[bytes, bytes, bytes]], seen: set[str], space: bytes
) -> None:
    head, tail = b'{"first_id":"a",%b"data"%b:' % (space, space), b'%b,"has_more":true}' % space
    body = head + b"[" + b",".join(map(b"".join, elements)) + b"]" + tail

    def kept(element: bytes) -> bool:
        value = json.loads(element)
        return isinstance(value, dict) and value.get("id") in seen

    expected = [b"".join(one) for one in elements if kept(one[1])]
    found = with_only("files", body, partial(sees, seen))
    if len(expected) == len(elements):
        assert found == body
    else:
        assert found == head + b"[" + b",".join(expected) + b"]" + tail
    assert json.loads(found)["data"] == [json.loads(one) for one in expected]
