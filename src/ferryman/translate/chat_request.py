"""The body of a chat completion as one of a Messages request.

What a parameter becomes is told, one by one, in docs/openai.md. Values keep the spelling of their numbers.

Sources: openai 2.54.0, types/chat/completion_create_params.py; anthropic 2.12.0,
types/message_create_params.py, output_config_param.py and thinking_config_param.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ferryman.errors import InvalidRequest
from ferryman.translate.chat_messages import conversation_of
from ferryman.translate.terms import Block, encode, refused, value_of
from ferryman.translate.tools import CHOICE, PARALLEL, TOOLS, anthropic_choice, tools_for
from ferryman.wire.edit import members, twice
from ferryman.wire.usage import UNREADABLE
from ferryman.wording import shown

DEFAULT_MAX_TOKENS = 16_384
"""Of an answer whose request names no bound, which Anthropic wants: every current model can write as much
(the smallest bound is 64,000), and it is over within the ten minutes that clients wait."""

MAX_PARTS = 2_000_000
"""Commas, braces and brackets of a body, those in its texts included. What is read becomes objects of some
90 bytes each, where a single number has two in the body; no model's context has room for as many."""

LITELLM_METADATA = "litellm_metadata"

NO_OPS: dict[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": (),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "seed": (),
    "store": (False,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Parameters that Claude has not, with the values that ask for nothing; `null` always does."""

IGNORED = frozenset({"prompt_cache_key"})
"""Hints that are taken and have no effect: Anthropic finds a cached prompt by the prompt."""

KEPT = frozenset(
    {"cache_control", "container", "inference_geo", "speed", "thinking", "top_k", LITELLM_METADATA}
)
"""Parameters that are Anthropic's, or ours, and go on as they are."""

_HINTS = {
    "audio": "Claude makes no audio",
    "function_call": "use `tool_choice`",
    "functions": "use `tools`",
    "modalities": "Claude makes text only",
    "n": "Claude gives one answer; send the request again for more",
    "web_search_options": "offer Anthropic's web search tool in `tools`",
}
_EFFORTS = {"minimal": "low", **{name: name for name in ("low", "medium", "high", "xhigh", "max")}}
_TIERS = {"auto": "auto", "default": "standard_only"}

Fields = dict[str, bytes]


class ChatCall(NamedTuple):
    """A chat completion as a Messages request.

    Attributes:
        body: of that.
        stream: the answer is a stream.
        tells_usage: a stream ends with the usage (`stream_options.include_usage`).
    """

    body: bytes
    stream: bool = False
    tells_usage: bool = False


def messages_call(body: bytes | bytearray) -> ChatCall:
    """The Messages request for the chat completion `body`.

    Raises:
        InvalidRequest: it is no JSON object, a parameter stands twice, is unknown, or cannot be served;
            or there are too many values in it.
    """
    if sum(map(body.count, b",{[")) > MAX_PARTS:
        raise InvalidRequest(f"The request body has more than {MAX_PARTS} values.")
    fields = _fields(body)
    told: Block = {}
    for name in fields:
        if name not in _MAKERS and name not in NO_OPS and name not in IGNORED and name not in KEPT:
            raise refused(name, "is no parameter that can be served with Claude; leave it out.")
    _refuse_unserved(fields)
    for make in dict.fromkeys(_MAKERS.values()):
        make(fields, told)
    for name in sorted(KEPT & fields.keys()):
        if name != LITELLM_METADATA:
            told[name] = msgspec.Raw(fields[name])
    stream = told.get("stream") is True
    return ChatCall(encode(told), stream, stream and _tells_usage(fields))


def _fields(body: bytes | bytearray) -> Fields:
    """The parameters with their values as they came; those that are `null` say nothing."""
    try:
        every = members(body)
    except UNREADABLE:
        raise InvalidRequest("The request body cannot be read as a JSON object.") from None
    fields: Fields = {}
    for name, _, start, end in every:
        if name in fields:
            raise twice(name)
        fields[name] = bytes(body[start:end])
    return {name: value for name, value in fields.items() if value != b"null"}


def _refuse_unserved(fields: Fields) -> None:
    for name, harmless in NO_OPS.items():
        if name in fields and value_of(fields[name], name) not in harmless:
            hint = f": {_HINTS[name]}" if name in _HINTS else ""
            raise refused(name, f"cannot be served with Claude{hint}; leave it out.")


def _value(fields: Fields, name: str) -> Any:  # noqa: ANN401  # any JSON value
    return value_of(fields[name], name) if name in fields else None


def _model(fields: Fields, told: Block) -> None:
    model = _value(fields, "model")
    if not isinstance(model, str):
        raise refused("model", "has to be the name of a model.")
    told["model"] = model


def _max_tokens(fields: Fields, told: Block) -> None:
    given = {name: _value(fields, name) for name in ("max_tokens", "max_completion_tokens") if name in fields}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refused(name, "has to be a whole number above 0.")
    if len(set(given.values())) > 1:
        raise refused("max_tokens", "is not what `max_completion_tokens` says; leave one of them.")
    told["max_tokens"] = next(iter(given.values()), DEFAULT_MAX_TOKENS)


def _messages(fields: Fields, told: Block) -> None:
    found = conversation_of(_value(fields, "messages"))
    if found.system:
        told["system"] = found.system
    told["messages"] = found.turns


def _tools(fields: Fields, told: Block) -> None:
    tools = tools_for(fields[TOOLS]) if TOOLS in fields else []
    choice = anthropic_choice(_value(fields, CHOICE), _value(fields, PARALLEL))
    if tools:
        told[TOOLS] = tools
        if choice is not None:
            told[CHOICE] = choice
    elif isinstance(choice, dict) and choice.get("type") not in ("auto", "none"):
        raise refused(CHOICE, "asks for a tool, and `tools` has none.")


def _sampling(fields: Fields, told: Block) -> None:
    for name in ("temperature", "top_p"):
        if name not in fields:
            continue
        value = _value(fields, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise refused(name, f"is {shown(value)}; Claude takes 0 to 1.")
        told[name] = msgspec.Raw(fields[name])


def _stop(fields: Fields, told: Block) -> None:
    given = _value(fields, "stop")
    stops = [given] if isinstance(given, str) else given
    if not stops:
        return
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop.strip() for stop in stops):
        raise refused("stop", "has to be one or more texts; Claude takes none that is only white space.")
    told["stop_sequences"] = stops


def _thinking(fields: Fields, told: Block) -> None:
    """The effort, and thinking that is fit to it; `thinking` itself, which is Anthropic's, goes first."""
    effort = _value(fields, "reasoning_effort")
    if effort is None:
        return
    if effort == "none":
        told["thinking"] = {"type": "disabled"}
        return
    if not isinstance(effort, str) or effort not in _EFFORTS:
        names = ", ".join(f"`{name}`" for name in ("none", *_EFFORTS))
        raise refused("reasoning_effort", f"is {shown(effort)}; it can be {names}.")
    told["thinking"] = {"type": "adaptive"}
    told.setdefault("output_config", {})["effort"] = _EFFORTS[effort]


def _format(fields: Fields, told: Block) -> None:
    wanted = _value(fields, "response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind is None or kind == "text":
        return
    if kind != "json_schema":
        hint = "; Claude wants a schema: use `json_schema`" if kind == "json_object" else ""
        raise refused("response_format.type", f"is {shown(kind)}, which cannot be served{hint}.")
    schema = _schema(fields["response_format"])
    told.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


class _JsonSchema(msgspec.Struct, gc=False):
    schema: msgspec.Raw


class _ResponseFormat(msgspec.Struct, gc=False):
    json_schema: _JsonSchema


def _schema(given: bytes) -> msgspec.Raw:
    try:
        schema = msgspec.json.decode(given, type=_ResponseFormat).json_schema.schema
    except UNREADABLE:
        schema = msgspec.Raw(b"null")
    if not bytes(schema).startswith(b"{"):
        raise refused("response_format.json_schema.schema", "is missing: Claude needs to see it.")
    return schema


def _user(fields: Fields, told: Block) -> None:
    for name in ("user", "safety_identifier"):
        user = _value(fields, name)
        if user is not None and not isinstance(user, str):
            raise refused(name, "has to be a text.")
        if user:
            told.setdefault("metadata", {"user_id": user})


def _metadata(fields: Fields, told: Block) -> None:
    """OpenAI's notes to our records: Anthropic has no room for them but `user_id`."""
    ours = _value(fields, LITELLM_METADATA)
    notes = _value(fields, "metadata")
    if notes is not None and not isinstance(notes, dict):
        raise refused("metadata", "has to be an object.")
    if notes and isinstance(user := notes.pop("user_id", None), str) and user:
        told.setdefault("metadata", {"user_id": user})
    if not notes:
        if LITELLM_METADATA in fields:
            told[LITELLM_METADATA] = msgspec.Raw(fields[LITELLM_METADATA])
        return
    if ours is not None and not isinstance(ours, dict):
        raise refused(LITELLM_METADATA, "has to be an object.")
    kept: Block = {"tags": notes.pop("tags")} if isinstance(notes.get("tags"), list) else {}
    if notes:
        kept["spend_logs_metadata"] = notes
    told[LITELLM_METADATA] = kept | (ours or {})


def _stream(fields: Fields, told: Block) -> None:
    stream = _value(fields, "stream")
    if stream is not None and not isinstance(stream, bool):
        raise refused("stream", "has to be true or false.")
    if stream is not None:
        told["stream"] = stream
    if "stream_options" in fields:
        _tells_usage(fields)
        if not stream:
            raise refused("stream_options", "needs `stream` to be true.")


def _tells_usage(fields: Fields) -> bool:
    options = _value(fields, "stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise refused("stream_options", "has to be an object.")
    for name, value in options.items():
        # Obfuscation is padding of OpenAI's, which no client needs.
        if name not in {"include_usage", "include_obfuscation"} or not (
            value is None or isinstance(value, bool)
        ):
            raise refused(f"stream_options.{name}", "cannot be served; leave it out.")
    return options.get("include_usage") is True


def _tier(fields: Fields, told: Block) -> None:
    tier = _value(fields, "service_tier")
    if tier is None:
        return
    if not isinstance(tier, str) or tier not in _TIERS:
        raise refused("service_tier", f"is {shown(tier)}; it can be `auto` or `default`.")
    told["service_tier"] = _TIERS[tier]


_MAKERS: dict[str, Callable[[Fields, Block], None]] = {
    "model": _model,
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_tokens,
    "messages": _messages,
    "tools": _tools,
    "tool_choice": _tools,
    "parallel_tool_calls": _tools,
    "temperature": _sampling,
    "top_p": _sampling,
    "stop": _stop,
    "reasoning_effort": _thinking,
    "response_format": _format,
    "user": _user,
    "safety_identifier": _user,
    "metadata": _metadata,
    "stream": _stream,
    "stream_options": _stream,
    "service_tier": _tier,
}
"""What each parameter is made into; in the order in which Anthropic's are written."""

SERVED = frozenset(_MAKERS)
