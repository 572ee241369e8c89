"""Whose request this is. Headers only: the body has not been read yet."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from ferryman.errors import Unauthorized, Unavailable
from ferryman.http1.message import Fields
from ferryman.limits.spec import KeySpec
from ferryman.model import Principal
from ferryman.relay.keyring import Key, Keyring
from ferryman.wire.names import OWN_CREDENTIALS, UPSTREAM_CREDENTIALS

WATCHED = OWN_CREDENTIALS | UPSTREAM_CREDENTIALS

_KEYS = WATCHED - {b"authorization"}
MAX_USERS = 10_000
"""Users in memory, of about a kilobyte each."""

_USER_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
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


def name_of(caller: Caller | None) -> str | None:
    """What an upstream is told of who calls: the user, else the key; `None` for anybody."""
    if caller is None or caller.key is None:
        return None
    return caller.principal.user_id or caller.principal.id


def is_user_name(text: str) -> bool:
    """Whether `text` can be the name of a user, and not a key; argo-proxy 2.8.9 takes no `cels` either."""
    if _USER_NAME.fullmatch(text) is None:
        return False
    lower = text.lower()
    return lower != "cels" and not lower.startswith("sk-")


_CALLERS = {
    auth: {held: Caller(Principal(auth, kind)) for held, kind in _KINDS.items()}
    for auth in ("open", "passthrough")
}
"""All there are, made once: who is the same is the same object."""


class KnownKey:
    """Who called with a head, for when a client repeats it; `version` is the keyring's."""

    __slots__ = ("caller", "version")

    def __init__(self, version: int, caller: Caller) -> None:
        self.version = version
        self.caller = caller


class KeyCheck(NamedTuple):
    """What virtual keys are looked up with.

    Attributes:
        ring: the keys.
        master: the SHA-256 of the master key.
        only_own: clients bring a credential for the upstream too, so that the virtual key has to stand in a
            header of our own: it would go upstream otherwise.
        user: under `identity`, what is given is the name of a user; this makes the key of that user. `None`
            where keys are looked up.
    """

    ring: Keyring
    master: bytes
    only_own: bool
    user: Callable[[str], Key] | None = None


def users(share: str) -> Callable[[str], Key]:
    """What makes the keys of users who call by name: each once, as long as there is room.

    Args:
        share: whose files and the like they see.
    """

    @lru_cache(MAX_USERS)
    def user(name: str) -> Key:
        return Key(KeySpec("", name, user_id=name, scopes=[f"user:{name}"], sees=share))

    return user


def authenticate(fields: Fields, auth: str, check: KeyCheck | None, now: float) -> Caller:
    """The caller of a request under `auth`, which is `keys`, `identity`, `open` or `passthrough`.

    The last two ask for no credential: under `open` anybody may call, and under `passthrough` the
    upstream judges the client's own (some calls, such as a token exchange, need none).

    Args:
        fields: the headers.
        auth: the one in force.
        check: for `keys` and `identity`.
        now: Unix time in seconds; a key may have expired.

    Raises:
        Unauthorized: no virtual key that is known and in force, or nothing that could be a user's name.
        Unavailable: no keys have been told yet.
    """
    if check is None:
        found = fields.found
        return _CALLERS[auth][b"authorization" in found, not _KEYS.isdisjoint(found)]
    memo = fields.caller_memo
    if isinstance(memo, KnownKey) and memo.version == check.ring.version:
        caller = memo.caller
    else:
        caller = _with_key(fields, check) if check.user is None else _with_name(fields, check, check.user)
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
    if any(_is_master(credential, check) for credential in given):
        raise Unauthorized(
            "The master key opens Ferryman's own paths only; make a virtual key with `POST /key/generate` "
            "or `ferryman keys create`."
        )
    raise Unauthorized(
        "This virtual key is not known: it is misspelled, or was deleted or made anew. Ask whoever runs the "
        "gateway for another."
    )


def _with_name(fields: Fields, check: KeyCheck, user: Callable[[str], Key]) -> Caller:
    given, kind = _credentials(fields, only_own=False)
    if not given and (bare := fields.found.get(b"authorization")):
        given = [bare]
    if not check.ring.known:
        raise Unavailable("Ferryman does not know its users yet; try again in a moment.")
    where = "send yours as the API key: `x-api-key`, `Authorization: Bearer` or `x-ferryman-key`"
    if not given:
        raise Unauthorized(f"No user name came with the request; {where}.")
    for credential in given:
        name = credential.decode("ascii", "replace")
        if is_user_name(name) and not _is_master(credential, check):
            key = check.ring.in_force(user(name))
            return Caller(key.principal(kind), key)
    if given[0][:3].lower() == b"sk-" or _is_master(given[0], check):
        raise Unauthorized(f"A key came with the request where a user name is wanted; {where}.")
    rules = "it has 1 to 64 letters, digits and `._@+-`, and is not `cels`"
    raise Unauthorized(f"What came as the API key is no user name ({rules}); {where}.")


def _is_master(credential: bytes, check: KeyCheck) -> bool:
    return hmac.compare_digest(sha256(credential).digest(), check.master)


def _credentials(fields: Fields, *, only_own: bool) -> tuple[list[bytes], str]:
    """What may be a virtual key or a name, in the order in which it is looked up, and where it stood."""
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
