"""What is in a journal: an exchange has opened, its input was seen, it is closed."""

from __future__ import annotations

from datetime import datetime

import msgspec

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
    traceparent: str | None = None
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


encode = msgspec.json.Encoder().encode
"""The payload of a value."""

decode_entry = msgspec.json.Decoder(Entry).decode
"""The entry of a record that closes an exchange. Raises ValueError if it is none."""

decode_opened = msgspec.json.Decoder(Opened).decode
"""The value of a record that opens an exchange. Raises ValueError if it is none."""

decode_seen = msgspec.json.Decoder(Seen).decode
"""The value of a record that tells of its input. Raises ValueError if it is none."""
