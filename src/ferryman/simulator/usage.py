"""The `usage` object, and how a stream divides it over its two events. Pure.

Field names and their meaning: anthropic 2.12.0, types/usage.py, types/message_delta_usage.py and
types/beta/beta_usage.py.
"""

from collections.abc import Mapping
from typing import Any

from ferryman.simulator.tokens import PromptTokens
from ferryman.simulator.validate import MessageRequest

START_OUTPUT_TOKENS = 1

# Only message_start carries these: the type of message_delta's usage has no place for them.
_START_ONLY = frozenset({"cache_creation", "service_tier", "inference_geo", "speed"})
# Only message_delta carries these: they are not known before the answer is.
_DELTA_ONLY = frozenset({"server_tool_use", "output_tokens_details", "iterations", "fallback_credit"})


def report(
    request: MessageRequest,
    prompt: PromptTokens,
    output_tokens: int,
    thinking_tokens: int,
    server_tool_use: Mapping[str, int] | None,
) -> dict[str, Any]:
    """The whole usage of a message."""
    usage: dict[str, Any] = {
        **_prompt(prompt),
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
    }
    if server_tool_use is not None:
        usage["server_tool_use"] = dict(server_tool_use)
    usage["service_tier"] = "standard"
    usage["inference_geo"] = request.extra.get("inference_geo") or "global"
    usage["speed"] = request.extra.get("speed") or "standard"
    return usage


def iteration(prompt: PromptTokens, output_tokens: int) -> dict[str, Any]:
    """The one entry of `iterations` of a message that was sampled once."""
    return {"type": "message", **_prompt(prompt), "output_tokens": output_tokens}


def split(
    usage: Mapping[str, Any], start: Mapping[str, Any] | None = None, deltas: int = 1
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Divide a usage into what message_start says and what each message_delta says.

    Together they say what a JSON answer says at once; `output_tokens` starts small and ends as given.
    A field of an unknown name stands in both.

    Args:
        usage: The whole.
        start: What message_start says instead of its part of it.
        deltas: How many message_delta there are. Each says what was used up to it; `output_tokens`
            grows from one to the next, and what is known only at the end stands in the last.
    """
    whole = {name: value for name, value in usage.items() if name not in _START_ONLY}
    early = {name: value for name, value in whole.items() if name not in _DELTA_ONLY}
    output_tokens = usage.get("output_tokens")
    grown = [
        {**early, "output_tokens": output_tokens * step // deltas}
        if isinstance(output_tokens, int)
        else early
        for step in range(1, deltas)
    ]
    return dict(_start(usage) if start is None else start), [*grown, whole]


def in_batch(usage: Mapping[str, Any], *, is_dictated: bool) -> dict[str, Any]:
    """The same usage as a batch reports it; a dictated one keeps the tier that it names."""
    return {"service_tier": "batch", **usage} if is_dictated else {**usage, "service_tier": "batch"}


def _start(usage: Mapping[str, Any]) -> dict[str, Any]:
    start = {name: value for name, value in usage.items() if name not in _DELTA_ONLY}
    if isinstance(usage.get("output_tokens"), int):
        start["output_tokens"] = min(START_OUTPUT_TOKENS, usage["output_tokens"])
    return start


def _prompt(prompt: PromptTokens) -> dict[str, Any]:
    return {
        "input_tokens": prompt.input_tokens,
        "cache_creation_input_tokens": prompt.created_5m_tokens + prompt.created_1h_tokens,
        "cache_read_input_tokens": prompt.read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.created_5m_tokens,
            "ephemeral_1h_input_tokens": prompt.created_1h_tokens,
        },
    }
