"""An entry of the journal, read straight into the shape of a row.

The fields are those of `ferryman.model.Entry`, with `''` for what is not there. A row made of these takes
half the time of one made of an `Entry`: what goes into it as it stands goes through no Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ferryman.model import ABSENT as NOT_THERE
from ferryman.model import Ended

ABSENT: Any = ""
"""The value of what is not there, in the place of `None`."""


NO_PARTS = msgspec.Raw(b"[]")


class FlatCacheCreation(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.CacheCreation`."""

    ephemeral_5m_input_tokens: int = ABSENT
    ephemeral_1h_input_tokens: int = ABSENT


class FlatServerToolUse(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.ServerToolUse`."""

    web_search_requests: int = ABSENT
    web_fetch_requests: int = ABSENT


class FlatOutputTokensDetails(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.OutputTokensDetails`."""

    thinking_tokens: int = ABSENT


class FlatUsage(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.Usage`."""

    input_tokens: int = ABSENT
    output_tokens: int = ABSENT
    cache_creation_input_tokens: int = ABSENT
    cache_read_input_tokens: int = ABSENT
    cache_creation: FlatCacheCreation = FlatCacheCreation()
    server_tool_use: FlatServerToolUse = FlatServerToolUse()
    output_tokens_details: FlatOutputTokensDetails = FlatOutputTokensDetails()
    service_tier: str = ""
    inference_geo: str = ""
    speed: str | None = None
    iterations: list[msgspec.Raw] | None = None


class FlatCost(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.Cost`; what only explains it stays as it came."""

    nanousd: int = ABSENT
    price_source: str = ""
    estimated: bool = False
    price_revision: str = ""
    parts: msgspec.Raw = NO_PARTS
    model: str = ""
    batch: bool = False
    refusal: msgspec.Raw = NOT_THERE
    declined: msgspec.Raw = NOT_THERE


class CostRest(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the column `cost` holds: how the cost came to be."""

    price_revision: str
    parts: msgspec.Raw
    model: str = ""
    batch: bool = False
    refusal: msgspec.Raw = NOT_THERE
    declined: msgspec.Raw = NOT_THERE


NO_COST = FlatCost()


class Flat(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """See `ferryman.model.Entry`."""

    started_at: datetime
    ended: Ended
    duration_seconds: float
    usage_complete: bool
    stream: bool = False
    time_to_first_byte_seconds: float = ABSENT
    overhead_seconds: float = ABSENT
    usage: FlatUsage = FlatUsage()
    cost: FlatCost = NO_COST
    tags: list[str] | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    request_class: str | None = None
    agent_type: str | None = None
    spend_logs_metadata: dict[str, msgspec.Raw] | None = None
    id: str
    method: str
    path: str
    attempts: int
    request_bytes: int
    response_bytes: int
    model: str = ""
    principal: str = ""
    end_user: str = ""
    session_id: str = ""
    credential: str = ""
    client_address: str = ""
    status: int = ABSENT
    error: str = ""
    upstream_request_id: str = ""


decode = msgspec.json.Decoder(Flat).decode
"""The value of an entry's record. Raises ValueError if it is of another shape."""
