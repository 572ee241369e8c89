"""What the steps of the line encode and decode.

Apart from them, since `hatch_build.py` can compile no module that defines a Struct.
"""

from __future__ import annotations

import msgspec

from ferryman.model import Cost, Ended, Usage


class Caller(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The members of an `Entry` that one client repeats with each request."""

    method: str
    path: str
    principal: str | None = None
    credential: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    client_address: str | None = None
    session_id: str | None = None
    end_user: str | None = None
    tags: list[str] | None = None
    spend_logs_metadata: dict[str, msgspec.Raw] | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    request_class: str | None = None
    agent_type: str | None = None
    traceparent: str | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The members of an `Entry` that are known once the exchange is over."""

    ended: Ended
    attempts: int
    usage_complete: bool
    response_bytes: int
    duration_seconds: float
    request_bytes: int | msgspec.UnsetType
    status: int | None = None
    error: str | None = None
    upstream_request_id: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    time_to_first_byte_seconds: float | None = None
    overhead_seconds: float | None = None
    mutations: str | None = None


class OurMetadata(msgspec.Struct, gc=False):
    """`litellm_metadata`; other members are LiteLLM's affair and are not looked at."""

    tags: msgspec.Raw = msgspec.Raw()
    user: msgspec.Raw = msgspec.Raw()
    spend_logs_metadata: msgspec.Raw = msgspec.Raw()


class ClaudeCodeUser(msgspec.Struct, gc=False):
    """What Claude Code writes, as a JSON text, into `metadata.user_id`."""

    device_id: str | None = None
    account_uuid: str | None = None
    session_id: str | None = None


class Named(msgspec.Struct, gc=False):
    """The model of an entry of `iterations`."""

    model: str | None = None
