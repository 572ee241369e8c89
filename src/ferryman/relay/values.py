"""What passes between the steps of the line."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ferryman.http1.client import Body
from ferryman.model import Refusal, Usage
from ferryman.wire.owned import Resource


class LineLimits(NamedTuple):
    """Sizes in bytes and times in seconds that an exchange is held to.

    Attributes:
        body_bytes: of a Messages or count_tokens request.
        batch_bytes: of a request that makes a batch.
        upload_bytes: of any other request.
        held_bytes: of all bodies that are in memory at once.
        first_byte_seconds: until the answer begins, or the request goes on.
        stream_idle_seconds: between two parts of an answer.
        client_stall_seconds: in which a client reads nothing.
        on_disconnect: `cancel`, `drain`, or `auto`: see `ferryman.relay.forward.worth_finishing`.
        drain_seconds: for the rest of an answer without its client.
        drains: answers at once without their clients.
    """

    body_bytes: int
    batch_bytes: int
    upload_bytes: int
    held_bytes: int
    first_byte_seconds: float
    stream_idle_seconds: float
    client_stall_seconds: float
    on_disconnect: str
    drain_seconds: float
    drains: int


class Route(NamedTuple):
    """Where a request goes.

    Attributes:
        path: the path as the client sent it, without the query, for the record.
        target: what is appended to the upstream's base URL, query included; empty for own paths.
        reads_call: the body is JSON whose head fields we look at.
        whole: the body is read whole before it goes on.
        metered: the answer carries `usage` that is paid for.
        codings: the content codings that the answer may have, `None` for those that the client names.
        control: the control plane answers, not the upstream.
        batch: what it does with message batches: `create`, `results`, or `other`; empty elsewhere.
        kind: what it may cost: `messages`, `count_tokens`, `batch`, `free`, or `unmetered` where no answer
            tells; `closed` is not for virtual keys (`ferryman.wire.owned.CLOSED`).
        resource: of Anthropic's that it is about, `None` for what belongs to nobody.
        chat: the body is a chat completion in OpenAI's format, and becomes a Messages request.
    """

    path: str
    target: bytes
    reads_call: bool = False
    whole: bool = False
    metered: bool = False
    codings: frozenset[bytes] | None = None
    control: bool = False
    batch: str = ""
    kind: str = "free"
    resource: Resource | None = None
    chat: bool = False


NO_ROUTE: Final = Route("", b"")


class Attribution:
    """Whom and what an exchange is charged to; the members are those of `Entry`, and none changes."""

    __slots__ = (
        "agent_id", "agent_type", "end_user", "parent_agent_id", "request_class", "session_id",
        "spend_logs_metadata", "tags",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913  # one a member
        self,
        *,
        session_id: str | None = None,
        end_user: str | None = None,
        tags: list[str] | None = None,
        spend_logs_metadata: dict[str, msgspec.Raw] | None = None,
        agent_id: str | None = None,
        parent_agent_id: str | None = None,
        request_class: str | None = None,
        agent_type: str | None = None,
    ) -> None:
        self.session_id = session_id
        self.end_user = end_user
        self.tags = tags
        self.spend_logs_metadata = spend_logs_metadata
        self.agent_id = agent_id
        self.parent_agent_id = parent_agent_id
        self.request_class = request_class
        self.agent_type = agent_type


class Uncounted(NamedTuple):
    """Output of a stream that no count covers yet: see `ferryman.pricing.estimate`."""

    delta_bytes: int
    delta_events: int


class Reading:
    """What a meter has seen.

    Attributes:
        usage: as reported, `None` if nothing was.
        complete: no more is to come.
        fault: what was wrong with the answer if these are all of its bytes, `None` if nothing.
        model: that answered, `None` if nothing told it.
        refusal: the answer was refused before it had any output.
        declined: models that handed over to another one → the category of their refusal; `None` if
            nobody has looked.
        uncounted: of a stream that ended too early.
    """

    __slots__ = ("complete", "declined", "fault", "model", "refusal", "uncounted", "usage")

    def __init__(  # noqa: PLR0913  # one a member
        self,
        usage: Usage | None,
        *,
        complete: bool,
        fault: str | None,
        model: str | None = None,
        refusal: Refusal | None = None,
        declined: dict[str, str | None] | None = None,
        uncounted: Uncounted | None = None,
    ) -> None:
        self.usage = usage
        self.complete = complete
        self.fault = fault
        self.model = model
        self.refusal = refusal
        self.declined = declined
        self.uncounted = uncounted


def joined(body: Body, data: Body, *, ends: bool = False) -> Body:
    """`body` with `data` behind it: one buffer, which may be `body` itself, however small the parts are.

    Where `data` `ends` it and is the second part, as of most large bodies, they are copied once.
    """
    if not body:
        return data
    if not isinstance(body, bytearray):
        if ends:
            return body + data
        body = bytearray(body)
    body += data
    return body
