"""An entry of the journal, read straight into what its row is made of, and what the row keeps as JSON.

The fields of `Flat` are those of `ferryman.model.Entry`, with `''` for what is not there. A row made of these
takes half the time of one made of an `Entry`: what goes into it as it stands goes through no Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from ferryman.model import CostPart, Entry, Refusal

ABSENT: Any = ""
"""The value of what is not there, in the place of `None`."""

MAX_COUNT = 10**12
"""Tokens of one exchange: beyond what can be, and a million of it still fits into 64 bits."""

MAX_NANOUSD = 10**15
"""Of one exchange, a million dollars: the same."""

Count = Annotated[int, msgspec.Meta(le=MAX_COUNT)]
Nanousd = Annotated[int, msgspec.Meta(le=MAX_NANOUSD)]

Outcome = Literal[
    "done",
    "refused",
    "upstream_error",
    "timeout",
    "client_gone",
    "shutdown",
    "internal_error",
    "interrupted",
]
"""The values of `ferryman.model.Ended`, which as texts are read in less time."""

NOTHING = msgspec.Raw(b"null")
NO_PARTS = msgspec.Raw(b"[]")


class FlatCacheCreation(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.CacheCreation`."""

    ephemeral_5m_input_tokens: Count = ABSENT
    ephemeral_1h_input_tokens: Count = ABSENT


class FlatServerToolUse(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.ServerToolUse`."""

    web_search_requests: Count = ABSENT
    web_fetch_requests: Count = ABSENT


class FlatOutputTokensDetails(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.OutputTokensDetails`."""

    thinking_tokens: Count = ABSENT


class FlatUsage(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.Usage`."""

    input_tokens: Count = ABSENT
    output_tokens: Count = ABSENT
    cache_creation_input_tokens: Count = ABSENT
    cache_read_input_tokens: Count = ABSENT
    cache_creation: FlatCacheCreation = FlatCacheCreation()
    server_tool_use: FlatServerToolUse = FlatServerToolUse()
    output_tokens_details: FlatOutputTokensDetails = FlatOutputTokensDetails()
    service_tier: str = ""
    inference_geo: str = ""
    speed: str | None = None
    iterations: list[msgspec.Raw] | None = None


class FlatCost(msgspec.Struct, frozen=True, gc=False):
    """See `ferryman.model.Cost`; what only explains it stays as it came."""

    nanousd: Nanousd = ABSENT
    price_source: str = ""
    price_revision: str = ""
    parts: msgspec.Raw = NO_PARTS
    estimated: bool = False
    model: str = ""
    batch: bool = False
    refusal: msgspec.Raw = NOTHING
    declined: msgspec.Raw = NOTHING


NO_COST = FlatCost()


class Flat(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """See `ferryman.model.Entry`; in the order of the journal, in which msgspec finds each field at once."""

    id: str
    started_at: datetime
    method: str
    path: str
    principal: str = ""
    credential: str = ""
    user_id: str = ""
    team_id: str = ""
    client_address: str = ""
    session_id: str = ""
    end_user: str = ""
    tags: list[str] | None = None
    spend_logs_metadata: dict[str, msgspec.Raw] | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    request_class: str | None = None
    agent_type: str | None = None
    traceparent: str | None = None
    model: str = ""
    stream: bool = False
    request_bytes: int
    ended: Outcome
    attempts: int
    usage_complete: bool
    response_bytes: int
    duration_seconds: float
    status: int = ABSENT
    error: str = ""
    upstream_request_id: str = ""
    usage: FlatUsage = FlatUsage()
    cost: FlatCost = NO_COST
    batch: msgspec.Raw = NOTHING
    settles: msgspec.Raw = NOTHING
    made: msgspec.Raw = NOTHING
    time_to_first_byte_seconds: float = ABSENT
    overhead_seconds: float = ABSENT
    mutations: str | None = None


decode = msgspec.json.Decoder(Flat).decode
"""The value of an entry's record. Raises ValueError if it is of another shape, or a count out of bounds."""


Key = tuple[Any, ...]
"""Under what an entry is added up: its UTC day, as days since 1970, model, principal, end user, class of
status and way of ending; `''` is what it does not have.

Of this and the next no length is told: compiled code would take apart, and put together again, what it only
looks up.
"""

Payers = tuple[Any, ...]
"""Whom an entry is charged to: see `ferryman.store.counters.Charged`."""

Apart = tuple[Any, ...]
"""What metrics tell entries apart by: path (a settlement's is `SETTLEMENT`), model, status, way of ending,
and whether it is a stream."""

Measured = tuple[Any, ...]
"""Seconds that it took, to the first byte, and of our own, with `''` for what is not there; whose price."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An entry on its way into the database.

    Attributes:
        values: one for each of `COLUMNS` as the drivers take it fast: an int for a bool, and `''` for what is
            not there (SQLite's takes ten times as long for a None as for a text).
        key: under what it is added up.
        measures: what is added up: one for each of `MEASURES`, `''` for what is not there.
        tags: each once.
        payers: whom it is charged to.
        entry: of an exchange that tells of a batch, or of what it has made.
        apart, measured: for metrics.
    """

    values: tuple[Any, ...]
    key: Key
    measures: tuple[Any, ...]
    tags: list[str] | None
    payers: Payers
    entry: Entry | None
    apart: Apart
    measured: Measured


class CostRest(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How a cost came to be; the fields are those of `ferryman.model.Cost`."""

    price_source: str
    estimated: bool
    price_revision: str
    parts: list[CostPart]
    model: str
    batch: bool
    refusal: Refusal | None
    declined: dict[str, str | None] | None


class More(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields of `ferryman.model.Entry` and of its usage that few entries have."""

    agent_id: str | None = None
    parent_agent_id: str | None = None
    request_class: str | None = None
    agent_type: str | None = None
    spend_logs_metadata: dict[str, msgspec.Raw] | None = None
    speed: str | None = None
    iterations: list[msgspec.Raw] | None = None
    traceparent: str | None = None
    mutations: str | None = None


class Rest(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What of an entry no column has: read only where the entry itself is wanted.

    An array, which has half the length of an object with names. What comes later is put behind the last
    field, with a default. `''` is what is not there.

    Attributes:
        counts: of the usage, in the order of `ferryman.store.schema.TOKENS`.
        more: what few entries have.
    """

    method: str
    path: str
    stream: bool
    attempts: int
    usage_complete: bool
    request_bytes: int
    response_bytes: int
    time_to_first_byte_seconds: float | str
    overhead_seconds: float | str
    credential: str
    user_id: str
    team_id: str
    client_address: str
    upstream_request_id: str
    error: str
    tags: list[str] | None
    counts: tuple[int | str, ...]
    service_tier: str
    inference_geo: str
    more: More | None
    cost: CostRest | None


decode_rest = msgspec.json.Decoder(Rest).decode
"""The value of the column `rest`."""
