"""The values that pass between the steps of an exchange. Units are in names; `_at` is UTC."""

from __future__ import annotations

import enum
from datetime import date, datetime

import msgspec


class Ended(enum.StrEnum):
    """How an exchange ended; each exchange ends once."""

    DONE = "done"
    REFUSED = "refused"  # answered by us, the upstream was never asked
    UPSTREAM_ERROR = "upstream_error"  # not reached, lost, or not HTTP
    TIMEOUT = "timeout"
    CLIENT_GONE = "client_gone"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal_error"
    INTERRUPTED = "interrupted"  # its worker died; made from what the journal had of it


class CacheCreation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Cache writes by the lifetime of the entry; parts of `cache_creation_input_tokens`."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUse(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Uses of tools that run at Anthropic, which are billed by use."""

    web_search_requests: int | None = None
    web_fetch_requests: int | None = None


class OutputTokensDetails(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Parts of `output_tokens`; never added to it."""

    thinking_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Anthropic's `usage`, with its names and meaning; `None` is a field that was not there.

    `input_tokens` excludes what was read from or written to the cache: the whole prompt is
    `input_tokens + cache_creation_input_tokens + cache_read_input_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None
    output_tokens_details: OutputTokensDetails | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    iterations: list[msgspec.Raw] | None = None  # each kept as it came; priced entry by entry

    def updated(self, later: Usage) -> Usage:
        """This usage with every field that `later` carries, as `message_delta` updates `message_start`."""
        changes = {
            name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None
        }
        return msgspec.structs.replace(self, **changes)


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """Anthropic's `metadata`."""

    user_id: str | None = None


class Refusal(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An answer that Anthropic's safeguards refused before it had any output.

    Attributes:
        category: `stop_details.category`, `None` if there is none.
    """

    category: str | None = None


class CostPart(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one class of tokens, or the uses of one tool, cost in an exchange.

    Attributes:
        model: whose price it was, as the catalog spells it.
        what: `input`, `output`, `cache_write_5m`, `cache_write_1h`, `cache_read` or `web_search`.
        units: tokens or uses.
        picousd_per_unit: the rate of the price list.
        numerator, denominator: all multipliers in one: batch, fast mode, geography, the operator's; the
            numerator is 0 where Anthropic charges nothing.
    """

    model: str
    what: str
    units: int
    picousd_per_unit: int
    numerator: int = 1
    denominator: int = 1

    @property
    def picousd(self) -> int:
        """The amount; rounded half up, which only a price or multiplier of the operator's can need."""
        amount, denominator = self.units * self.picousd_per_unit * self.numerator, self.denominator
        return amount if denominator == 1 else (2 * amount + denominator) // (2 * denominator)


class Cost(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What an exchange cost.

    Attributes:
        nanousd: the sum of `parts`, rounded half up, once.
        price_source: where the price is from, the least sure one if there are several: `catalog`,
            `override` (the operator's) or `fallback` (another model's, since this one is not known).
        price_revision: of the catalog, with what the operator had set, so that it can be told later why
            it cost this.
        parts: by model and class, only those that are not 0.
        estimated: some counts are guesses, so that this is one.
        model: whose answer it was, by its own name.
        batch: it was a request of a batch.
        refusal, declined: as in `ferryman.pricing.cost.Terms`; with them it can be priced anew.
    """

    nanousd: int
    price_source: str
    price_revision: str
    parts: list[CostPart]
    estimated: bool = False
    model: str = ""
    batch: bool = False
    refusal: Refusal | None = None
    declined: dict[str, str | None] | None = None


ABSENT = msgspec.Raw()
"""Stands for a field that is not there: msgspec has no optional `Raw`."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """The head fields of a JSON request that Ferryman reads; the rest is never parsed.

    Attributes:
        litellm_metadata: meant for us; as it came, or `ABSENT`.
    """

    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    metadata: Metadata | None = None
    litellm_metadata: msgspec.Raw = ABSENT


NO_CALL = Call()


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who is calling, as far as the `auth` in force tells.

    Attributes:
        id: `open` (anybody), `passthrough` (the client's own Anthropic credential), or the id of a virtual
            key.
        credential_kind: where the credential stood: `x-api-key`, `bearer`, `both`, `none`, or
            `ferryman-key` for a header of our own.
        user_id, team_id: whose the key is.
    """

    id: str
    credential_kind: str
    user_id: str | None = None
    team_id: str | None = None


class NewBatch(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A batch that an exchange has created.

    Attributes:
        id: Anthropic's.
        requests: how many it has, `None` if its body could not be read.
        models: how many of them ask for each model.
        hold_nanousd: what it may cost, until it is known.
    """

    id: str
    requests: int | None = None
    models: dict[str, int] = {}  # msgspec copies it
    hold_nanousd: int = 0


class BatchShare(msgspec.Struct, frozen=True, gc=False):
    """What the requests of a batch came to that one model has answered.

    Attributes:
        model: by its own name.
        requests: how many it has answered.
        usage: of all of them.
        costs: of all of them, one for each of `BatchResults.days`.
    """

    model: str
    requests: int
    usage: Usage
    costs: list[Cost]


class BatchResults(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The results of a batch, of which all have been seen.

    Attributes:
        id: the batch's.
        lines: how many results there were, of any kind.
        days: since when (UTC) the prices were those of each of the `costs`; the first covers what was before.
        shares: one for each model; what errored, expired or was canceled is in none.
        made: containers and files that the answers tell of, by id, and the kind of each; they belong to
            whoever has created the batch.
    """

    id: str
    lines: int
    days: list[date]
    shares: list[BatchShare]
    made: dict[str, str] = {}


SETTLEMENT = "SETTLE"
"""In the place of a method, in the entry that settles a batch: no request was made for it."""


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The record of one exchange. `None` is what never came to be.

    What is known when its request goes upstream comes first: see `ferryman.relay.record`.

    Attributes:
        id: a UUIDv7, also in the client's `x-ferryman-request-id`.
        started_at: when the head of the request had come.
        path: without the query.
        principal: see `Principal.id`.
        user_id, team_id: whose the virtual key is.
        client_address: the peer's, or the one that a trusted proxy names; `unix` for a Unix socket.
        session_id: Claude Code's.
        end_user: whom the caller acted for.
        tags: what the caller wants the cost to be counted under.
        spend_logs_metadata: the caller's notes, each value as it came.
        agent_id, parent_agent_id: Claude Code's, of the agent that called and of the one that started it.
        request_class, agent_type: Claude Code's words for what the request is for, and for its agent.
        traceparent: the header, if it is one by https://www.w3.org/TR/trace-context/; it goes upstream too.
        status: what the client was answered with.
        error: what went wrong, in one sentence.
        attempts: how often the upstream was asked.
        usage: with an estimate of the output where the stream broke off before it was told.
        usage_complete: `usage` is all there is as it was told, or there is none to come.
        cost: `None` where nothing was used that has a price.
        batch: that the exchange has created.
        settles: the results that it has brought; they are charged to whoever has created the batch.
        made: what was made with a virtual key, by its id at Anthropic, and the kind of each.
        request_bytes: of the body as it came.
        response_bytes: of the body as it went, without framing.
        time_to_first_byte_seconds: from `started_at` to the upstream's first byte.
        overhead_seconds: ours: from the whole request to its hand-over to the upstream connection,
            and from the first bytes of the answer to their hand-over to the client's. Waiting for
            a new upstream connection is not in it.
        mutations: what was changed in the request, as `x-ferryman-mutations` says; `None` for nothing.
    """

    id: str
    started_at: datetime
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
    model: str | None = None
    stream: bool = False
    request_bytes: int
    ended: Ended
    attempts: int
    usage_complete: bool
    response_bytes: int
    duration_seconds: float
    status: int | None = None
    error: str | None = None
    upstream_request_id: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    batch: NewBatch | None = None
    settles: BatchResults | None = None
    made: dict[str, str] | None = None
    time_to_first_byte_seconds: float | None = None
    overhead_seconds: float | None = None
    mutations: str | None = None
