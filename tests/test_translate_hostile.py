"""Whatever stands in a chat completion, it becomes a Messages request or is refused."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.translate.chat_request import IGNORED, KEPT, NO_OPS, SERVED, messages_call
from ferryman.translate.tools import tool_edits
from ferryman.wire.edit import Member, members, removals
from ferryman.wire.splice import spliced

SAID = [{"role": "user", "content": "a"}]


def test_the_results_of_very_many_tools_cost_no_more_than_other_messages() -> None:
    def cost_seconds(message: dict[str, str]) -> float:
        body = json.dumps({"model": "m", "messages": [message] * 8_000}).encode()
        began = time.process_time()
        messages_call(body)
        return time.process_time() - began

    plain = cost_seconds({"role": "user", "content": "a"})
    assert cost_seconds({"role": "tool", "tool_call_id": "", "content": "a"}) < 10 * plain


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": SAID * 100_001}, "100000 messages"),
        ({"messages": [[]] * 1_000_001}, "2000000 values"),
        ({"tools": [{"name": "a"}] * 1_001}, "1000 tools"),
        ({"tools": [0] * 1_001}, "list of objects"),
    ],
    ids=["messages", "values", "tools", "no-tools"],
)
def test_a_chat_with_more_than_any_model_takes_is_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        messages_call(json.dumps({"model": "m", "messages": SAID} | body).encode())


@pytest.mark.parametrize("family", ["anthropic", "openai"])
def test_more_tools_than_are_looked_at_are_refused(family: str) -> None:
    named = b",".join([b'{"name":"a"}'] * 1_001)
    for tools in (b",".join([b"0"] * 1_001), named, b"{" * 600_000 + b"," * 1_000):
        body = b'{"tools":[' + tools + b"]}"
        place = [Member("tools", 1, 9, len(body) - 1)]
        with pytest.raises(InvalidRequest):
            tool_edits(body, place, family)
    body = json.dumps({"tools": [{"name": "a", "input_schema": {"required": ["b"] * 50}}] * 1_000}).encode()
    assert len(tool_edits(body, members(body), family).splices) == (0 if family == "anthropic" else 1_000)


WORDS = st.sampled_from(
    [
        "auto",
        "none",
        "function",
        "text",
        "image_url",
        "user",
        "tool",
        "json_schema",
        "adaptive",
        "a",
        "\x00😀",
        "",
    ]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def shaped(**known: Any) -> Any:
    """An object that has some of these members, with what they should have, or with anything."""
    return st.fixed_dictionaries({}, optional={name: value | JSON for name, value in known.items()}) | JSON


PARTS = st.lists(
    shaped(
        type=st.sampled_from(["text", "image_url", "file", "refusal", "input_audio"]),
        text=WORDS,
        image_url=shaped(url=st.sampled_from(["https://x/y", "data:image/png;base64,AA", "data:"])),
        file=shaped(file_data=st.just("data:text/plain;base64,AA=="), file_id=WORDS, filename=WORDS),
        cache_control=st.just({"type": "ephemeral"}),
    ),
    max_size=3,
)
CALLS = st.lists(
    shaped(
        id=WORDS,
        type=st.just("function"),
        function=shaped(name=WORDS, arguments=st.sampled_from(["{}", "", "[1]", '{"x":1.0}'])),
    ),
    max_size=2,
)
MESSAGES = st.lists(
    shaped(
        role=st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
        content=WORDS | PARTS,
        tool_calls=CALLS,
        tool_call_id=WORDS,
    ),
    max_size=4,
)
TOOLS = st.lists(
    shaped(
        type=st.sampled_from(["function", "custom"]),
        function=shaped(name=WORDS, parameters=st.just({}), strict=st.booleans()),
        name=WORDS,
        input_schema=st.just({}),
    ),
    max_size=3,
)
CHOICE = (
    shaped(type=st.sampled_from(["function", "tool", "auto"]), function=shaped(name=WORDS), name=WORDS)
    | WORDS
)
FORMAT = shaped(type=st.sampled_from(["json_schema", "text"]), json_schema=shaped(schema=st.just({"a": 1})))
ANY = dict.fromkeys((SERVED | KEPT | IGNORED | NO_OPS.keys()) - {"model", "messages"}, JSON)
CHATS = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": MESSAGES},
    optional={**ANY, "tools": TOOLS | JSON, "tool_choice": CHOICE, "response_format": FORMAT},
)
LIKELY = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": MESSAGES}, optional={"tools": TOOLS, "tool_choice": CHOICE}
)


@given(CHATS | LIKELY)
def test_a_chat_becomes_a_request_or_is_refused(chat: dict[str, Any]) -> None:
    try:
        made = messages_call(json.dumps(chat).encode())
    except InvalidRequest:
        return
    told = json.loads(made.body)
    assert told.keys() >= {"model", "max_tokens", "messages"}
    roles = [turn["role"] for turn in told["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert all(turn["content"] for turn in told["messages"])


FIELDS = {"tools": TOOLS | JSON, "tool_choice": CHOICE, "parallel_tool_calls": JSON}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_tools_become_others_or_are_refused(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    found = members(body)
    for family in ("anthropic", "openai"):
        try:
            edits = tool_edits(body, found, family)
        except InvalidRequest:
            continue
        told = spliced(body, edits.splices + removals(body, found, edits.cuts))
        again = tool_edits(told, members(told), family)
        assert spliced(told, again.splices) == told, "what was converted is converted again"


@pytest.mark.parametrize("depth", [100, 1_200, 50_000])
@pytest.mark.parametrize("name", ["messages", "tools", "metadata", "response_format", "tool_choice", "n"])
def test_deep_nesting_is_refused(name: str, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    start = b'{"model":"m","messages":[{"role":"user","content":"x"}],'
    start = start.replace(b'"messages"', b'"odd"') if name == "messages" else start
    with pytest.raises(InvalidRequest):
        messages_call(b'%b"%b":%b}' % (start, name.encode(), deep))
