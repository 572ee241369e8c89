"""Whose request this is. Headers only: the body has not been read yet."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from ferryman.errors import Unauthorized, Unavailable
from ferryman.http1.message import Fields
from ferryman.model import Principal
from ferryman.relay.keyring import Key, Keyring, KnownKey
from ferryman.wire.names import OWN_CREDENTIALS, UPSTREAM_CREDENTIALS

WATCHED = OWN_CREDENTIALS | UPSTREAM_CREDENTIALS

_KEYS = WATCHED - {b"authorization"}
_KINDS = {(False, False): "none", (False, True): "x-api-key", (True, False): "bearer", (True, True): "both"}
_OWN_KIND = "ferryman-key"


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        principal: as records tell it.
        key: the virtual key, `None` where none is asked for.
    """

    principal: Principal
    key: Key | None = None


_CALLERS = {
    auth: {held: Caller(Principal(auth, kind)) for held, kind in _KINDS.items()}
    for auth in ("open", "passthrough")
}
"""All there are, made once: who is the same is the same object."""


class KeyCheck(NamedTuple):
    """What virtual keys are looked up with.

    Attributes:
        ring: the keys.
        master: the SHA-256 of the master key.
        only_own: clients bring a credential for the upstream too, so that the virtual key has to stand in a
            header of our own: it would go upstream otherwise.
    """

    ring: Keyring
    master: bytes
    only_own: bool


def authenticate(fields: Fields, auth: str, check: KeyCheck | None, now: float) -> Caller:
    """The caller of a request under `auth`, which is `keys`, `open` or `passthrough`.

    The last two ask for no credential: under `open` anybody may call, and under `passthrough` the
    upstream judges the client's own (some calls, such as a token exchange, need none).

    Args:
        fields: the headers.
        auth: the one in force.
        check: for `keys`.
        now: Unix time in seconds; a key may have expired.

    Raises:
        Unauthorized: no virtual key that is known and in force.
        Unavailable: no keys have been told yet.
    """
    if check is None:
        found = fields.found
        return _CALLERS[auth][b"authorization" in found, not _KEYS.isdisjoint(found)]
    memo = fields.caller_memo
    if isinstance(memo, KnownKey) and memo.version == check.ring.version:
        caller: Caller = memo.caller
    else:
        caller = _with_key(fields, check)
        fields.caller_memo = KnownKey(check.ring.version, caller)
    key = caller.key
    if key is not None:
        spec = key.spec
        if spec.expires_at is not None and now >= spec.expires_at:
            raise Unauthorized("This virtual key has expired; ask whoever runs the gateway for a new one.")
        if spec.blocked:
            raise Unauthorized(spec.blocked)
    return caller


def _with_key(fields: Fields, check: KeyCheck) -> Caller:
    given, kind = _credentials(fields, only_own=check.only_own)
    for credential in given:
        if (key := check.ring.find(sha256(credential).hexdigest())) is not None:
            return Caller(key.principal(kind), key)
    if not check.ring.known:
        raise Unavailable("Ferryman does not know its virtual keys yet; try again in a moment.")
    where = (
        "`x-ferryman-key`" if check.only_own else "`x-api-key`, `Authorization: Bearer` or `x-ferryman-key`"
    )
    if not given:
        raise Unauthorized(f"No virtual key came with the request; send one as {where}.")
    if any(hmac.compare_digest(sha256(credential).digest(), check.master) for credential in given):
        raise Unauthorized(
            "The master key opens Ferryman's own paths only; make a virtual key with `POST /key/generate` "
            "or `ferryman keys create`."
        )
    raise Unauthorized(
        "This virtual key is not known: it is misspelled, or was deleted or made anew. Ask whoever runs the "
        "gateway for another."
    )


def _credentials(fields: Fields, *, only_own: bool) -> tuple[list[bytes], str]:
    """What may be a virtual key, in the order in which it is looked up, and where it stood."""
    found = fields.found
    own = [value for name in sorted(OWN_CREDENTIALS) for value in fields.values(name)]
    if own or only_own:  # LiteLLM's clients write `Bearer` before the key in its header too
        return [key for value in own if (key := _bearer(value) or value)], _OWN_KIND
    keys = [value for value in fields.values(b"x-api-key") if value]
    bearers = [token for value in fields.values(b"authorization") if (token := _bearer(value))]
    return keys + bearers, _KINDS[b"authorization" in found, b"x-api-key" in found]


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
