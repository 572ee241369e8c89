"""Whose request this is. Headers only: the body has not been read yet."""

from __future__ import annotations

from ferryman.http1.fields import Fields
from ferryman.model import Principal
from ferryman.wire.names import OWN_CREDENTIALS, UPSTREAM_CREDENTIALS

WATCHED = OWN_CREDENTIALS | UPSTREAM_CREDENTIALS


def authenticate(fields: Fields, auth: str) -> Principal:
    """The principal of a request under `auth`, which is `open` or `passthrough`.

    Neither asks for a credential: under `open` anybody may call, and under `passthrough` the
    upstream judges the client's own (some calls, such as a token exchange, need none).
    """
    bearer = key = False
    for _, name, _ in fields.marked:
        if name == b"authorization":
            bearer = True
        elif name in WATCHED:
            key = True
    kind = "both" if bearer and key else "bearer" if bearer else "x-api-key" if key else "none"
    return Principal(auth, kind)
