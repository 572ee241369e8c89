"""Tools in OpenAI's shape as Anthropic's, and the reverse.

Each tool is looked at by itself, so a list may be mixed; what has the wanted shape already is not touched.

Sources: openai 2.54.0, types/chat/chat_completion_function_tool_param.py and
chat_completion_tool_choice_option_param.py; anthropic 2.12.0, types/tool_param.py and tool_choice_*_param.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.translate.terms import ABSENT_RAW, encode, refused, value_of
from ferryman.wire.edit import Member, elements, twice
from ferryman.wire.splice import Splice
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import shown

TOOLS, CHOICE, PARALLEL = "tools", "tool_choice", "parallel_tool_calls"
FIELDS = frozenset({TOOLS, CHOICE, PARALLEL})

NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
"""The schema of a function that takes none: OpenAI lets it be left out, Anthropic does not."""

MAX_TOOLS = 1_000
"""Of a request whose tools are looked at: each costs some ten microseconds, in which nobody else is served.
OpenAI takes 128."""

MAX_BRACES = 500_000
"""In all tools together: objects of their schemas, and what stands in their texts."""

_DISABLE = "disable_parallel_tool_use"
_WORDS = {"auto": "auto", "required": "any", "none": "none"}
_WORDS_BACK = {word: kind for kind, word in _WORDS.items()}


class _Shape(msgspec.Struct, gc=False):
    type: str | None = None
    function: msgspec.Raw = ABSENT_RAW
    custom: msgspec.Raw = ABSENT_RAW


class _Tool(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A tool as OpenAI has it; `cache_control` is Anthropic's, and clients of Claude put it here."""

    type: str
    function: msgspec.Raw = ABSENT_RAW
    cache_control: msgspec.Raw = ABSENT_RAW


class _Function(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT_RAW
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT_RAW


class _AnthropicTool(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A tool of the client's as Anthropic has it; the last two have no effect on what it does."""

    name: str
    input_schema: msgspec.Raw
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT_RAW
    eager_input_streaming: bool | None = None


class ToolEdits(NamedTuple):
    """What has to change in a body.

    Attributes:
        splices: of tools and the choice among them.
        cuts: members that go, and what names the change: for `ferryman.wire.edit.removals`.
    """

    splices: list[Splice]
    cuts: Mapping[str, str] = {}


class _Any(msgspec.Struct, gc=False):
    """Any object."""


_decode_any = msgspec.json.Decoder(list[_Any]).decode
_decode_shape = msgspec.json.Decoder(_Shape).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_function = msgspec.json.Decoder(_Function).decode
_decode_anthropic = msgspec.json.Decoder(_AnthropicTool).decode
_NOTHING = frozenset({b"", b"null"})


def tool_edits(body: bytes | bytearray, found: list[Member], family: str) -> ToolEdits:
    """The edits that give the tools of a Messages body the shape that its upstream wants.

    Args:
        body: a JSON object.
        found: its members.
        family: of the upstream's models: `anthropic` or `openai`.

    Raises:
        InvalidRequest: a field that would be edited stands twice, or something has no counterpart.
    """
    named: dict[str, Member] = {}
    for member in found:
        if member.name in FIELDS and named.setdefault(member.name, member) is not member:
            raise twice(member.name)
    splices: list[Splice] = []
    if (tools := named.get(TOOLS)) is not None and body[tools.value_start : tools.value_start + 1] == b"[":
        convert = anthropic_tool if family == "anthropic" else openai_tool
        _check_number(body, tools.value_start, tools.end)
        for index, (start, end) in enumerate(elements(body, tools.value_start, tools.end)):
            tool = convert(bytes(body[start:end]), f"tools[{index}]")
            if tool is not None:
                splices.append(Splice(start, end, tool, TOOLS))
    if family == "anthropic":
        chosen = _choice_edits(body, named)
    else:
        chosen = ToolEdits(_choice_edits_back(body, named))
    return ToolEdits(splices + chosen.splices, chosen.cuts)


def _check_number(body: bytes | bytearray, start: int, end: int) -> None:
    """Refuse a list of more tools than are looked at, before each of them costs an object.

    Raises:
        Refused: it is longer; or as long as that, with an element that is no object.
    """
    if body.count(b",", start, end) < MAX_TOOLS:
        return
    try:  # tools have commas too, and objects within them: what is told by counting is only that there may be
        if body.count(b"{", start, end) > MAX_BRACES or len(_decode_any(body[start:end])) > MAX_TOOLS:
            raise refused(TOOLS, f"has more than {MAX_TOOLS} tools.")
    except UNREADABLE:
        raise refused(TOOLS, "cannot be read as a list of objects.") from None


def _choice_edits(body: bytes | bytearray, named: dict[str, Member]) -> ToolEdits:
    """The edits of `tool_choice`, and of `parallel_tool_calls`, which becomes part of it."""
    at, parallel_at = named.get(CHOICE), named.get(PARALLEL)
    choice, parallel = _value(body, at), _value(body, parallel_at)
    wanted = anthropic_choice(choice, parallel)
    cuts = {} if parallel_at is None else {PARALLEL: TOOLS}
    if at is not None:
        changed = [] if wanted == choice else [Splice(at.value_start, at.end, encode(wanted), TOOLS)]
        return ToolEdits(changed, cuts)
    if parallel_at is None or wanted is None:
        return ToolEdits([], cuts)
    member = b'"%b":%b' % (CHOICE.encode(), encode(wanted))
    return ToolEdits([Splice(parallel_at.start, parallel_at.end, member, TOOLS)])


def _value(body: bytes | bytearray, at: Member | None) -> object:
    return None if at is None else value_of(body[at.value_start : at.end], at.name)


def _choice_edits_back(body: bytes | bytearray, named: dict[str, Member]) -> list[Splice]:
    at = named.get(CHOICE)
    if at is None:
        return []
    choice = _value(body, at)
    wanted = openai_choice(choice)
    if wanted == choice:
        return []
    text = encode(wanted)
    if isinstance(choice, dict) and choice.get(_DISABLE) is True and PARALLEL not in named:
        text += b',"%b":false' % PARALLEL.encode()
    return [Splice(at.value_start, at.end, text, TOOLS)]


def anthropic_tool(tool: bytes, place: str) -> bytes | None:
    """The JSON of `tool` in Anthropic's shape, `None` if it is not in OpenAI's.

    Args:
        tool: the JSON of one element of `tools`.
        place: where it stands, for errors.

    Raises:
        Refused: a custom tool, or a field without a counterpart.
    """
    try:
        shape = _decode_shape(tool)
    except UNREADABLE:
        return None  # the upstream's answer to it is the one that clients know
    if bytes(shape.custom):
        raise refused(place, "is a custom tool of OpenAI's, which Claude has not; make it a function.")
    if shape.type != "function":
        return None
    try:
        outer = _decode_tool(tool)
        function = _decode_function(outer.function)
    except UNREADABLE as error:
        raise _unlike(place, error) from None
    told: dict[str, object] = {"name": function.name}
    if function.description is not None:
        told["description"] = function.description
    told["input_schema"] = _given(function.parameters) or NO_PARAMETERS
    if function.strict:
        told["strict"] = True
    if cache := _given(outer.cache_control) or _given(function.cache_control):
        told["cache_control"] = cache
    return encode(told)


def openai_tool(tool: bytes, place: str) -> bytes | None:
    """The JSON of `tool` in OpenAI's shape, `None` if it is in that already.

    Args:
        tool: the JSON of one element of `tools`.
        place: where it stands, for errors.

    Raises:
        Refused: a tool that Anthropic runs, or a field without a counterpart.
    """
    try:
        shape = _decode_shape(tool)
    except UNREADABLE:
        return None
    if shape.type == "function" or bytes(shape.custom):
        return None
    if shape.type not in {None, "custom"}:
        raise refused(place, f"is {shown(shape.type)}, a tool of Anthropic's that this upstream has not.")
    try:
        given = _decode_anthropic(tool)
    except UNREADABLE as error:
        raise _unlike(place, error) from None
    function: dict[str, object] = {"name": given.name}
    if given.description is not None:
        function["description"] = given.description
    function["parameters"] = given.input_schema
    if given.strict is not None:
        function["strict"] = given.strict
    return encode({"type": "function", "function": function})


def anthropic_choice(choice: object, parallel: object) -> object:
    """Anthropic's `tool_choice` for OpenAI's, with what `parallel_tool_calls` says; `None` for none.

    A `choice` in Anthropic's shape stays as it is, apart from a `parallel` of `False`.

    Raises:
        Refused: one of them has no counterpart.
    """
    if parallel is not None and not isinstance(parallel, bool):
        raise refused(PARALLEL, "has to be true or false.")
    wanted: object = _choice(choice)
    if parallel is not False:
        return wanted
    if wanted is None:
        return {"type": "auto", _DISABLE: True}
    if isinstance(wanted, dict) and wanted.get("type") in ("auto", "any", "tool") and _DISABLE not in wanted:
        return {**wanted, _DISABLE: True}
    return wanted


def _choice(choice: object) -> object:
    if choice is None:
        return None
    if isinstance(choice, str):
        if (kind := _WORDS.get(choice)) is None:
            raise refused(CHOICE, f"is {shown(choice)}; it can be `auto`, `required`, `none` or a function.")
        return {"type": kind}
    if not isinstance(choice, dict):
        raise refused(CHOICE, "has to be a word or an object.")
    kind = choice.get("type")
    if kind in ("allowed_tools", "custom"):
        raise refused(CHOICE, f"is `{kind}`, which Claude has not; name the function, or offer fewer tools.")
    if kind != "function":
        return choice
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise refused(CHOICE, "names no function: `function.name` is missing.")
    return {"type": "tool", "name": name}


def openai_choice(choice: object) -> object:
    """OpenAI's `tool_choice` for Anthropic's; one in OpenAI's shape stays as it is."""
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return _WORDS_BACK.get(kind, choice) if isinstance(kind, str) else choice


def _given(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if bytes(raw) in _NOTHING else raw


def _unlike(place: str, error: Exception) -> InvalidRequest:
    """The error for a tool that has not the fields that it should have; msgspec names the one."""
    if isinstance(error, msgspec.ValidationError):
        return refused(place, f"cannot be converted: {error}.")
    return refused(place, "cannot be read.")


def tools_for(raw: bytes, place: str = TOOLS) -> list[msgspec.Raw]:
    """The tools of a chat request, each in Anthropic's shape; those that have it already as they came.

    Raises:
        Refused: there is no list, or a tool has no counterpart.
    """
    if raw[:1] == b"[":
        _check_number(raw, 0, len(raw))
    try:
        every = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except UNREADABLE:
        raise refused(place, "has to be a list.") from None
    found = []
    for index, tool in enumerate(every):
        told = anthropic_tool(bytes(tool), f"{place}[{index}]")
        if told is None and not isinstance(value_of(tool, place), dict):
            raise refused(f"{place}[{index}]", "has to be an object.")
        found.append(tool if told is None else msgspec.Raw(told))
    return found
