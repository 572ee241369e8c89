"""Tools change their shape where the upstream has another one, and no other byte changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferryman.errors import InvalidRequest
from ferryman.translate.tools import FIELDS, tool_edits
from ferryman.wire.edit import members, removals
from ferryman.wire.splice import spliced

SCHEMA = '{"type" :"object","properties":{"x":{"type":"number","minimum":1.0}}}'
ANTHROPIC = f'{{ "name":"f", "description":"d\\u00e9" ,"input_schema": {SCHEMA}}}'
OPENAI = f'{{"type":"function" ,"function":{{"name":"f","description":"d\\u00e9","parameters": {SCHEMA}}}}}'
CACHED = '{"name":"g","input_schema":{},"cache_control":{"type":"ephemeral"}}'
SERVER = '{"type":"web_search_20250305","name":"web_search","max_uses":1.0e0}'


def edited(body: str, family: str = "anthropic") -> str:
    """`body` as an upstream of this family gets it."""
    data = body.encode()
    found = members(data)
    edits = tool_edits(data, found, family)
    return spliced(data, edits.splices + removals(data, found, edits.cuts)).decode()


def fields(body: str, family: str = "anthropic") -> Any:
    return json.loads(edited(body, family))


def test_tools_in_anthropics_shape_pass_byte_for_byte() -> None:
    choice = '{ "type" : "any","disable_parallel_tool_use":true }'
    body = f'{{"tools" : [ {ANTHROPIC},{SERVER} , {CACHED}],\n "tool_choice":{choice},"top_k":1.0}}'
    data = body.encode()
    assert tool_edits(data, members(data), "anthropic") == ([], {})


def test_a_function_becomes_a_tool_with_its_schema_as_it_was_spelled() -> None:
    body = f'{{"a" : 1.0, "tools":[ {OPENAI} ,{SERVER}], "b":[ ]}}'
    tool = f'{{"name":"f","description":"dé","input_schema":{SCHEMA}}}'
    assert edited(body) == f'{{"a" : 1.0, "tools":[ {tool} ,{SERVER}], "b":[ ]}}'


def test_what_a_function_leaves_out_is_filled_or_left_out() -> None:
    told = fields('{"tools":[{"type":"function","function":{"name":"f","strict":false,"parameters":null}}]}')
    assert told == {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]}


def test_strict_and_cache_control_go_along() -> None:
    function = {"name": "f", "strict": True, "parameters": {}}
    for tool in (
        {"type": "function", "function": function, "cache_control": {"type": "ephemeral"}},
        {"type": "function", "function": {**function, "cache_control": {"type": "ephemeral"}}},
    ):
        (told,) = fields(json.dumps({"tools": [tool]}))["tools"]
        assert told == {
            "name": "f", "input_schema": {}, "strict": True, "cache_control": {"type": "ephemeral"}
        }  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ({"type": "tool", "name": "f"}, {"type": "tool", "name": "f"}),
    ],
)
def test_a_choice_becomes_anthropics_and_back(choice: object, told: dict[str, Any]) -> None:
    assert fields(json.dumps({"tool_choice": choice})) == {"tool_choice": told}
    if choice != told:
        assert fields(json.dumps({"tool_choice": told}), "openai") == {"tool_choice": choice}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": {"type": "tool", "name": "f"}},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": None}, None),
    ],
)
def test_parallel_tool_calls_are_part_of_the_choice(body: dict[str, Any], told: object) -> None:
    assert fields(json.dumps({"a": 1, **body})).get("tool_choice") == told
    assert "parallel_tool_calls" not in fields(json.dumps({"a": 1, **body}))


def test_for_an_openai_upstream_anthropics_tools_become_functions() -> None:
    body = f'{{"tools":[{ANTHROPIC} , {OPENAI},{CACHED}], "top_k":1.0}}'
    function = f'{{"name":"f","description":"dé","parameters":{SCHEMA}}}'
    first, last = (
        f'{{"type":"function","function":{each}}}' for each in (function, '{"name":"g","parameters":{}}')
    )
    assert edited(body, "openai") == f'{{"tools":[{first} , {OPENAI},{last}], "top_k":1.0}}'


def test_for_an_openai_upstream_a_choice_tells_of_parallel_calls() -> None:
    choice = {"type": "any", "disable_parallel_tool_use": True}
    told = {"tool_choice": "required", "parallel_tool_calls": False}
    assert fields(json.dumps({"tool_choice": choice}), "openai") == told
    kept = {"parallel_tool_calls": True, "tool_choice": "required"}
    assert fields(json.dumps({"parallel_tool_calls": True, "tool_choice": choice}), "openai") == kept


@pytest.mark.parametrize(
    ("family", "body", "says"),
    [
        (
            "anthropic",
            {"tools": [{}, {"type": "custom", "custom": {"name": "x"}}]},
            r"\[1\]` is a custom",
        ),
        (
            "anthropic",
            {"tools": [{"type": "function", "name": "f"}]},
            r"\[0\]` cannot.*`name`",
        ),
        ("anthropic", {"tools": [{"type": "function"}]}, r"tools\[0\]` cannot be"),
        (
            "anthropic",
            {"tools": [{"type": "function", "function": {"name": "f", "odd": 1}}]},
            r"tools\[0\]` cannot be converted.*`odd`",
        ),
        ("anthropic", {"tool_choice": "any"}, "tool_choice` is `any`"),
        ("anthropic", {"tool_choice": 3}, "tool_choice` has to be"),
        ("anthropic", {"tool_choice": {"type": "allowed_tools"}}, "tool_choice` is `allowed_tools`"),
        ("anthropic", {"tool_choice": {"type": "function"}}, "tool_choice` names no function"),
        ("anthropic", {"parallel_tool_calls": 0}, "parallel_tool_calls` has to be"),
        ("openai", {"tools": [json.loads(SERVER)]}, r"tools\[0\]` is `web_search_20250305`"),
        (
            "openai",
            {"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]},
            r"tools\[0\]` cannot be converted.*`defer_loading`",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(family: str, body: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        edited(json.dumps(body), family)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_field_that_stands_twice_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        edited(f'{{"{name}":null,"a":1,"\\u{ord(name[0]):04x}{name[1:]}":null}}')


def test_what_is_no_tool_is_left_to_the_upstream() -> None:
    for tools in ('"f"', "[1,null,[]]", '[{"type":3}]', "{}", "null"):
        for family in ("anthropic", "openai"):
            if (tools, family) != ('[{"type":3}]', "openai"):
                assert edited(f'{{"tools":{tools}}}', family) == f'{{"tools":{tools}}}'


NUMBERS = st.sampled_from(["1.0", "3e5", "-0", "12345678901234567890", "1E-7"])
SPACES = st.text(" \t\r\n", max_size=2)


@given(
    st.lists(st.sampled_from([ANTHROPIC, OPENAI, SERVER, CACHED]), max_size=5), NUMBERS, SPACES, st.booleans()
)
def test_in_any_list_only_the_functions_change(
    tools: list[str], number: str, space: str, first: bool
) -> None:
    told = f'{{"name":"f","description":"dé","input_schema":{SCHEMA}}}'

    def body(of: list[str]) -> str:
        listed = f'"tools"{space}:[{space}' + f"{space},{space}".join(of) + "]"
        return "{" + (f'{listed},"a":{space}{number}' if first else f'"a":{space}{number},{listed}') + "}"

    assert edited(body(tools)) == body([told if tool == OPENAI else tool for tool in tools])
