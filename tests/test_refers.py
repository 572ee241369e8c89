"""Which ids a body refers to, whoever wrote it and however it is spelled."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.wire.owned import BATCHES, Resource
from ferryman.wire.refers import STEP_BYTES, batch_references, references_in, refers

SESSION = Resource("sessions", None, "create")
BATCH = Resource(BATCHES, None, "create")


def source(file_id: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "file", "file_id": file_id}}


def message(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": list(blocks)}], **more}


def found(body: object, resource: Resource | None = None) -> set[str]:
    return references_in(json.dumps(body).encode(), resource)


MESSAGES = [
    pytest.param(message({"type": "text", "text": "hi"}), set(), id="text"),
    pytest.param(message(source("file_1")), {"file_1"}, id="document"),
    pytest.param(
        message({"type": "image", "source": {"type": "file", "file_id": "file_2"}}), {"file_2"}, id="image"
    ),
    pytest.param(message({"type": "container_upload", "file_id": "file_3"}), {"file_3"}, id="upload"),
    pytest.param(
        message({"type": "tool_result", "tool_use_id": "toolu_1", "content": [source("file_4")]}),
        {"file_4"},
        id="in a tool result",
    ),
    pytest.param(message(container="container_1"), {"container_1"}, id="container"),
    pytest.param(
        message(
            container={
                "id": "container_2",
                "skills": [
                    {"type": "anthropic", "skill_id": "pptx", "version": "latest"},
                    {"type": "custom", "skill_id": "skill_1"},
                    {"type": "anthropic", "skill_id": "skill_2"},
                ],
            }
        ),
        {"container_2", "skill_1", "skill_2"},
        id="skills",
    ),
    pytest.param(message(container=None), set(), id="no container"),
    pytest.param(message(user_profile_id="uprof_1"), {"uprof_1"}, id="user profile"),
    pytest.param(
        message(
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "f",
                "input": {"file_id": "mine", "container": "c"},
            },
            tools=[
                {"name": "f", "input_schema": {"properties": {"file_id": {"const": "x", "file_id": "y"}}}}
            ],
            metadata={"user_id": "u", "file_id": "no"},
            litellm_metadata={"container": "no"},
        ),
        set(),
        id="the caller's own JSON",
    ),
    pytest.param(
        message(
            {
                "type": "bash_code_execution_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": {
                    "type": "bash_code_execution_result",
                    "content": [{"type": "bash_code_execution_output", "file_id": "file_out"}],
                },
            }
        ),
        set(),
        id="what a tool has written before",
    ),
    pytest.param(
        message({"type": "text", "text": '{"file_id": "file_1"} "container":'}), set(), id="in text"
    ),
    pytest.param(message({"type": "text", "text": '\\u005f \u001b "\\u0066ile_id":'}), set(), id="escapes"),
    pytest.param({"file_id": None, "container": 7, "skill_id": ["skill_9", 1]}, {"skill_9"}, id="odd types"),
    pytest.param({"agent": "a", "vault_ids": ["v"]}, set(), id="names of other endpoints"),
]


@pytest.mark.parametrize(("body", "expected"), MESSAGES)
def test_messages_body_refers_to(body: object, expected: set[str]) -> None:
    assert found(body) == expected
    assert found({"requests": [{"custom_id": "a", "params": body}]}, BATCH) == expected


OTHERS = [
    pytest.param(
        {
            "agent": "agent_1",
            "environment_id": "env_1",
            "vault_ids": ["vlt_1", "vlt_2"],
            "resources": [
                {"type": "file", "file_id": "file_1"},
                {"type": "memory_store", "memory_store_id": "memstore_1"},
                {"type": "github_repository", "url": "x", "authorization_token": "t"},
            ],
            "initial_events": [{"type": "user.message", "content": [source("file_2")]}],
            "metadata": {"session_id": "no"},
        },
        {"agent_1", "env_1", "vlt_1", "vlt_2", "file_1", "memstore_1", "file_2"},
        id="session",
    ),
    pytest.param(
        {"agent": {"type": "agent", "id": "agent_1", "version": 3, "skills": [{"skill_id": "skill_1"}]}},
        {"agent_1", "skill_1"},
        id="agent with overrides",
    ),
    pytest.param(
        {
            "model": {"id": "claude-opus-5-5"},
            "multiagent": {"type": "coordinator", "agents": ["agent_1", {"type": "agent", "id": "agent_2"},
                                                             {"type": "self"}]},
        },
        {"agent_1", "agent_2"},
        id="agents",
    ),
    pytest.param(
        {"inputs": [{"type": "memory_store", "memory_store_id": "m"}, {"session_ids": ["s_1", "s_2"]}]},
        {"m", "s_1", "s_2"},
        id="dream",
    ),
    pytest.param({}, set(), id="nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), OTHERS)
def test_body_of_managed_agents_refers_to(body: object, expected: set[str]) -> None:
    assert found(body, SESSION) == expected


DECEPTIVE = [
    pytest.param(b'{"source":{"file_id":"theirs","file_id":"mine"}}', id="id twice"),
    pytest.param(b'{"a":{"file_id":"theirs"},"a":{"b":1},"file_id":"mine"}', id="parent twice"),
    pytest.param(b'{"container":{"id":"theirs","id":"mine"}}', id="container's id twice"),
    pytest.param(
        b'{"type":"image","type":"code_execution_output","file_id":"theirs"}', id="type twice"
    ),
    pytest.param(b'{"file\\u005fid":"theirs"}', id="escaped"),
    pytest.param(b'{"\\u0066ile_id" :"theirs"}', id="escaped first letter"),
    pytest.param(b'{"\\u0063\\u006f\\u006e\\u0074\\u0061\\u0069\\u006e\\u0065\\u0072":"theirs"}', id="all"),
    pytest.param(b'{"file_id":"mine","x":{"fil\\u0065_id":"theirs"}}', id="escaped beside a plain one"),
    pytest.param(b'{"file_id":"mine"', id="cut off"),
    pytest.param(b'{"file_id":"mine"}}', id="more behind it"),
    pytest.param(b'{"file_id":"mine","x":NaN}', id="what some readers take"),
    pytest.param(b'{"file_id":"mine","x":"\xff"}', id="no UTF-8"),
    pytest.param(b'\xef\xbb\xbf{"file_id":"theirs"}', id="byte order mark"),
    pytest.param('{"file_id":"theirs"}'.encode("utf-16"), id="UTF-16"),
    pytest.param('{"file_id":"theirs"}'.encode("utf-16-le"), id="UTF-16 without a mark"),
    pytest.param('{"file_id":"theirs"}'.encode("utf-32-be"), id="UTF-32"),
    pytest.param(b'{"file_id":"mine","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", id="nested"),
]  # fmt: skip


@pytest.mark.parametrize("resource", [None, SESSION], ids=["messages", "sessions"])
@pytest.mark.parametrize("body", DECEPTIVE)
def test_body_with_two_readings_is_refused(body: bytes, resource: Resource | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        references_in(body, resource)
    assert "theirs" not in caught.value.message


@pytest.mark.parametrize("body", [one for one in DECEPTIVE if one.values[0].startswith(b'{"')])  # type: ignore[union-attr]
@pytest.mark.parametrize("filling", [b"x" * 50_000, b"\\u005f \\n" * 9_000], ids=["text", "escapes"])
def test_large_body_is_read_like_a_small_one(body: bytes, filling: bytes) -> None:
    with pytest.raises(InvalidRequest):
        references_in(b'{"text":"%b",%b' % (filling, body[1:]), None)


@pytest.mark.parametrize("name", ["file_id", "skill_id", "user_profile_id", "container"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_each_name_is_found_in_a_large_body(name: str, kind: type) -> None:
    body = kind(b'{"text":"%b","%b" : "id_1"}' % (b"_" * 50_000, name.encode()))
    assert references_in(body, None) == {"id_1"}
    assert references_in(body.replace(b'"id_1"', b"null"), None) == set()
    with pytest.raises(InvalidRequest):  # a reader of C's texts would stop at the NUL
        references_in(kind(b'{"a":"\0%b","%b":"id_1"}' % (b" " * 50_000, name.encode())), None)


def test_list_of_requests_that_stands_twice_is_refused() -> None:
    one = json.dumps([{"params": message(source("theirs"))}]).encode()
    for body in (b'{"requests":%b,"requests":[]}' % one, b'{"requests":%b,"\\u0072equests":[]}' % one):
        with pytest.raises(InvalidRequest):
            references_in(body, BATCH)
    assert references_in(b"{}", BATCH) == set()


def test_too_many_references_are_refused() -> None:
    body = {"requests": [{"params": message(source(f"file_{number}"))} for number in range(10_001)]}
    with pytest.raises(InvalidRequest):
        found(body, BATCH)


def test_batch_is_read_in_steps() -> None:
    text = "x" * (STEP_BYTES // 4)
    requests = [{"params": message(source(f"file_{n}"), {"type": "text", "text": text})} for n in range(12)]
    steps = list(batch_references(json.dumps({"requests": requests}).encode()))
    assert len(steps) >= 3
    assert steps[-1] == {f"file_{number}" for number in range(12)}


def test_upload_refers_to_nothing() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file_id"\r\n\r\ntheirs\r\n--b--\r\n'
    assert not refers(Resource("files", None, "create"))
    assert not refers(Resource("skills", "skill_1", "change", "versions"))
    assert not refers(Resource("sessions", "s", "read"))
    assert refers(None)
    assert refers(Resource("new_things", None, "create"))
    assert references_in(body, Resource("new_things", None, "create")) == set()
    assert references_in(b"", SESSION) == set()
    assert references_in(b"  \n", SESSION) == set()


KEYS = st.sampled_from(["file_id", "skill_id", "container", "user_profile_id", "x", "text", "content", 'a"b'])
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=8), st.sampled_from(["file_1", "skill_2", "c_3"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


def expected_in(node: object) -> set[str]:
    """What the same document refers to, by a reader that takes all of it apart."""
    ids: set[str] = set()
    if isinstance(node, list):
        return ids.union(*(expected_in(one) for one in node))
    if isinstance(node, dict):
        for name, value in node.items():
            ids |= expected_in(value)
            if name in {"file_id", "skill_id", "container", "user_profile_id"}:
                ids |= {
                    one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)
                }
    return ids


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_any_document_is_read_whole(document: object, indent: int | None, ascii_only: bool) -> None:
    body = json.dumps({"root": document}, indent=indent, ensure_ascii=ascii_only).encode()
    ids = references_in(body, None)
    wanted = expected_in(document)
    assert ids <= wanted
    assert {one for one in wanted - ids if "_" in one} == set(), "all but names of Anthropic's own skills"


# ── hostile spellings: every reader of JSON that takes the body sees only what was found ──

NAMES = ["file_id", "container", "id", "type", "source", "content", "input", "x"]
WORDS = ["file_1", "file_2", "c_3", "file", "code_execution_output", "text"]


@st.composite
def spelled(draw: st.DrawFn, word: str) -> str:
    """A JSON string of `word`, in which some letters are escaped."""
    escaped = (
        draw(st.sets(st.integers(0, len(word) - 1), max_size=2)) if draw(st.integers(0, 9)) == 0 else set()
    )
    letters = (f"\\u{ord(one):04x}" if at in escaped else one for at, one in enumerate(word))
    return '"' + "".join(letters) + '"'


@st.composite
def hostile(draw: st.DrawFn, depth: int = 4) -> str:
    """A JSON text in which keys may stand twice."""
    kind = draw(st.integers(0, 9))
    if depth == 0 or kind < 4:
        return (
            draw(spelled(draw(st.sampled_from(WORDS))))
            if kind % 2 == 0
            else draw(st.sampled_from(["1", "null"]))
        )
    if kind == 4:
        return "[" + ",".join(draw(st.lists(hostile(depth - 1), max_size=3))) + "]"
    keys = draw(st.lists(st.sampled_from(NAMES), max_size=4))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    members = (draw(spelled(key)) + space + ":" + space + draw(hostile(depth - 1)) for key in keys)
    return "{" + ",".join(members) + "}"


def dereferenced(node: object) -> set[str]:
    """What a server looks up in a document, as its reader of JSON has understood it."""
    if isinstance(node, list):
        return set().union(*map(dereferenced, node))
    if not isinstance(node, dict):
        return set()
    ids: set[str] = set()
    file_id, container = node.get("file_id"), node.get("container")
    if isinstance(file_id, str) and not str(node.get("type")).endswith("code_execution_output"):
        ids.add(file_id)
    if isinstance(container, dict):
        container = container.get("id")
    if isinstance(container, str):
        ids.add(container)
    return ids.union(*(dereferenced(value) for name, value in node.items() if name != "input"))


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


@settings(max_examples=400)
@given(hostile())
def test_no_reader_of_json_sees_what_was_not_found(text: str) -> None:
    body = text.encode()
    try:
        ids = references_in(body, None)
    except InvalidRequest:
        return
    assert dereferenced(json.loads(text)) <= ids
    assert dereferenced(json.loads(text, object_pairs_hook=first_wins)) <= ids


def test_ordinary_body_costs_little() -> None:
    """An order of magnitude, on a machine that is busy: 2 µs and less are measured for such a body."""
    body = json.dumps(message({"type": "text", "text": "Tell me a story of a ferry. " * 25})).encode()
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        for _ in range(100):
            references_in(body, None)
        best = min(best, (time.perf_counter() - start) / 100)
    assert best < 20e-6
