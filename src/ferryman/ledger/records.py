"""What is in a journal: an exchange has opened, its input was seen, it is closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from ferryman.ledger.format import OPENED, PROBE, SEEN
from ferryman.model import Entry, Usage


class Opened(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of an exchange when its request goes upstream; the fields are those of `Entry`.

    A further attempt is opened again, under the same id; the last one counts.

    Attributes:
        request_bytes: 0 for a body that had not come whole.
        attempts: with the one that is about to be made, so that one more may be told than was sent if
            the worker died while it connected.
    """

    id: str
    started_at: datetime
    method: str
    path: str
    principal: str | None = None
    credential: str | None = None
    client_address: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    parent_agent_id: str | None = None
    request_class: str | None = None
    agent_type: str | None = None
    end_user: str | None = None
    tags: list[str] | None = None
    spend_logs_metadata: dict[str, msgspec.Raw] | None = None
    model: str | None = None
    stream: bool = False
    request_bytes: int = 0
    attempts: int = 1


class Seen(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What `message_start` has told of the exchange `id`."""

    id: str
    usage: Usage


Value = Opened | Seen
"""What a record holds before its exchange is closed; then it holds the `Entry`."""

encode = msgspec.json.Encoder().encode
"""The payload of a value."""

decode_entry = msgspec.json.Decoder(Entry).decode
"""The entry of a record that closes an exchange. Raises ValueError if it is none."""

_DECODERS: dict[int, Callable[[bytes], Value | None]] = {
    OPENED: msgspec.json.Decoder(Opened).decode,
    SEEN: msgspec.json.Decoder(Seen).decode,
    PROBE: lambda _: None,
}


def decode(kind: int, payload: bytes) -> Value | None:
    """The value of a record that closes nothing, `None` for a probe.

    Raises:
        ValueError: it is of a kind, or a shape, that is not known here.
    """
    try:
        decoder = _DECODERS[kind]
    except KeyError:
        raise ValueError(f"unknown kind of record: `{kind}`") from None
    return decoder(payload)
