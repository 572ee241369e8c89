"""Whose request this is. Headers only: the body has not been read yet."""

from __future__ import annotations

from ferryman.http1.message import Fields
from ferryman.model import Principal
from ferryman.wire.names import OWN_CREDENTIALS, UPSTREAM_CREDENTIALS

WATCHED = OWN_CREDENTIALS | UPSTREAM_CREDENTIALS

_KEYS = WATCHED - {b"authorization"}
_KINDS = {(False, False): "none", (False, True): "x-api-key", (True, False): "bearer", (True, True): "both"}
_PRINCIPALS = {
    auth: {held: Principal(auth, kind) for held, kind in _KINDS.items()} for auth in ("open", "passthrough")
}
"""All there are, made once: who is the same is the same object."""


def authenticate(fields: Fields, auth: str) -> Principal:
    """The principal of a request under `auth`, which is `open` or `passthrough`.

    Neither asks for a credential: under `open` anybody may call, and under `passthrough` the
    upstream judges the client's own (some calls, such as a token exchange, need none).
    """
    found = fields.found
    return _PRINCIPALS[auth][b"authorization" in found, not _KEYS.isdisjoint(found)]
