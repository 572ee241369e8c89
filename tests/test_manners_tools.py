"""Tools in the shape that an upstream wants, beside the other edits of a body."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from ferryman.relay.manners import PLAIN, Manners, splices_for
from ferryman.relay.route import relayed
from ferryman.wire.request import read_call
from ferryman.wire.splice import named, spliced

CONVERTS = Manners(tools="convert")
ARGO = Manners(user_id="overwrite", inject_user_field=True, tools="convert")
MESSAGES = relayed(b"/v1/messages", b"", b"POST")
COUNT = relayed(b"/v1/messages/count_tokens", b"", b"POST")
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
TOOL = {"name": "f", "input_schema": {}}


def edited(body: bytes, manners: Manners = CONVERTS, route: Any = MESSAGES) -> tuple[bytes, list[str]]:
    edits = splices_for(body, read_call(body), route, manners, "alice")
    return spliced(body, edits), named(edits)


@pytest.mark.parametrize("route", [MESSAGES, COUNT])
def test_functions_become_tools_where_the_upstream_wants_it(route: Any) -> None:
    body = json.dumps({"model": "m", "tools": [FUNCTION, TOOL]}).encode()
    told, changes = edited(body, route=route)
    assert json.loads(told) == {"model": "m", "tools": [TOOL, TOOL]}
    assert changes == ["tools"]
    assert edited(body, PLAIN, route) == (body, [])


def test_tools_for_an_openai_family_become_functions() -> None:
    body = json.dumps({"tools": [TOOL], "tool_choice": {"type": "any"}}).encode()
    told, _ = edited(body, Manners(tools="convert", family="openai"))
    assert json.loads(told) == {"tools": [FUNCTION], "tool_choice": "required"}


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"tools":', b'{"tools":[{]}'])
def test_a_body_that_cannot_be_read_goes_as_it_is(body: bytes) -> None:
    assert edited(body) == (body, [])


FIELDS: dict[str, Any] = {
    "litellm_metadata": {"tags": ["t"]},
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "user": "bob",
    "max_tokens": 5,
}


@pytest.mark.parametrize("size", range(1, len(FIELDS) + 1))
def test_all_edits_go_together_in_any_order(size: int) -> None:
    for names in itertools.permutations(FIELDS, size):
        told = json.loads(edited(json.dumps({name: FIELDS[name] for name in names}).encode(), ARGO)[0])
        chosen = {"type": "auto", "disable_parallel_tool_use": True}
        wanted: dict[str, Any] = {"metadata": {"user_id": "alice"}, "user": "alice"}
        if "parallel_tool_calls" in names:
            wanted["tool_choice"] = chosen
        elif "tool_choice" in names:
            wanted["tool_choice"] = {"type": "auto"}
        if "max_tokens" in names:
            wanted["max_tokens"] = 5
        assert told == wanted
