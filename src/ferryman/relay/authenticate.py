"""Whose request this is. Headers only: the body has not been read yet."""

from __future__ import annotations

from ferryman.http1.headers import Header
from ferryman.model import Principal
from ferryman.wire.names import OWN_CREDENTIALS


def authenticate(headers: list[Header], auth: str) -> Principal:
    """The principal of a request under `auth`, which is `open` or `passthrough`.

    Neither asks for a credential: under `open` anybody may call, and under `passthrough` the
    upstream judges the client's own (some calls, such as a token exchange, need none).
    """
    bearer = key = False
    for lower, _, _ in headers:
        if lower == b"authorization":
            bearer = True
        elif lower == b"x-api-key" or lower in OWN_CREDENTIALS:
            key = True
    kind = "both" if bearer and key else "bearer" if bearer else "x-api-key" if key else "none"
    return Principal(auth, kind)
