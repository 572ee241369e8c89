"""The virtual keys that a worker knows, from the snapshots of the control plane.

What the gate remembers of them stands here too, since `hatch_build.py` can compile no module that defines a
Struct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ferryman.aliases import Aliases
from ferryman.limits.patterns import compiled
from ferryman.limits.spec import (
    DEFAULTS,
    KEYS,
    Budget,
    Defaults,
    KeySpec,
    Limit,
    Scope,
    part_of_key,
    part_of_scope,
)
from ferryman.model import Principal

_decode_keys = msgspec.json.Decoder(list[KeySpec]).decode
_decode_scopes = msgspec.json.Decoder(list[Scope]).decode
_decode_defaults = msgspec.json.Decoder(Defaults).decode


class Key(msgspec.Struct, gc=False):
    """A virtual key, with what is made of it when it is first used.

    Attributes:
        spec: as it was told.
        allowed: one for each of its allow-lists: it matches the names of models that may be asked for.
        principals: by where the credential stood, so that who is the same is the same object.
        aliases: of models, `None` for none.
        held: the gate's, of what the key is held to.
    """

    spec: KeySpec
    allowed: tuple[re.Pattern[str], ...]
    principals: dict[str, Principal]
    aliases: Aliases | None = None
    held: object = None

    def principal(self, credential_kind: str) -> Principal:
        """Who calls with this key."""
        known = self.principals.get(credential_kind)
        if known is None:
            spec = self.spec
            known = Principal(spec.id, credential_kind, spec.user_id, spec.team_id)
            self.principals[credential_kind] = known
        return known

    def may_ask(self, model: str) -> bool:
        """Whether all allow-lists have `model`."""
        return all(pattern.fullmatch(model) for pattern in self.allowed)


class Rules(NamedTuple):
    """The limits and budgets that hold for a call.

    Attributes:
        scopes: that of each, by its place in memory.
        since_seconds: from then on all budgets count, in Unix time.
    """

    limits: list[Limit]
    budgets: list[Budget]
    scopes: dict[int, Scope]
    since_seconds: float


class HeldTo(msgspec.Struct, gc=False):
    """What a key is held to, as of one version of the snapshot.

    Attributes:
        scopes: that all of its calls are in.
        blocked: what of them is, `None` if nothing is.
        capped: it has to keep to a budget.
        rules: by kind and model of a call.
    """

    version: int
    scopes: list[Scope]
    blocked: Scope | None
    capped: bool
    rules: dict[tuple[str, str], Rules]


class KnownKey(msgspec.Struct, gc=False):
    """Who called with a head, for when a client repeats it.

    Attributes:
        version: of the keyring.
        caller: a `Caller` of `ferryman.relay.authenticate`.
    """

    version: int
    caller: Any


class Keys(dict[str, Key]):
    """The keys of one part, by token.

    Attributes:
        aliased: some of them have aliases.
    """

    __slots__ = ("aliased",)

    def __init__(self, keys: Iterable[tuple[str, Key]]) -> None:
        super().__init__(keys)
        self.aliased = any(key.aliases is not None for key in self.values())


class Keyring:
    """The keys of the last snapshot, and what their limits and budgets are.

    Attributes:
        version: of the snapshot, 0 before the first.
        defaults: for callers that are not known one by one.
        aliased: some keys have aliases.
    """

    def __init__(self) -> None:
        self.version = 0
        self.aliased = False
        self.defaults = Defaults()
        self._parts: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Keyring at version {self.version}>"

    @property
    def known(self) -> bool:
        """Whether keys have been told at all."""
        return DEFAULTS in self._parts

    def take(self, version: int, parts: Mapping[str, Any]) -> None:
        """Work with these parts from now on."""
        self.version = version
        self._parts = parts
        self.defaults = parts.get(DEFAULTS, self.defaults)
        self.aliased = any(part.aliased for part in parts.values() if isinstance(part, Keys))

    def find(self, token: str) -> Key | None:
        """The key with this `token`, the SHA-256 in hexadecimal digits; `None` if there is none."""
        keys = self._parts.get(part_of_key(token))
        return None if keys is None else keys.get(token)

    def scope(self, scope_id: str) -> Scope | None:
        """What is set on a scope, `None` for nothing."""
        scopes = self._parts.get(part_of_scope(scope_id))
        return None if scopes is None else scopes.get(scope_id)


def keyring_part(name: str, data: msgspec.Raw) -> Any:  # noqa: ANN401  # three kinds of parts
    """What is made of a part of a snapshot that is about keys.

    Raises:
        ValueError: it cannot be read.
    """
    if name == DEFAULTS:
        return _decode_defaults(data)
    if name.startswith(KEYS):
        return Keys((spec.token, key_of(spec)) for spec in _decode_keys(data))
    return {scope.id: scope for scope in _decode_scopes(data)}


def key_of(spec: KeySpec) -> Key:
    """The key that `spec` tells of."""
    aliases = Aliases(given=spec.aliases) if spec.aliases else None
    return Key(spec, tuple(compiled(names) for names in spec.models), {}, aliases)
