"""The virtual keys that a worker knows, from the snapshots of the control plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import is_not
from typing import Any

import msgspec

from ferryman.aliases import Aliases
from ferryman.limits.patterns import MAX_MODEL_CHARACTERS, compiled
from ferryman.limits.spec import (
    DEFAULTS,
    KEYS,
    Defaults,
    KeySpec,
    Scope,
    part_of_key,
    part_of_scope,
)
from ferryman.model import Principal

_OWNERS = ("user:", "team:")

_decode_keys = msgspec.json.Decoder(list[KeySpec]).decode
_decode_scopes = msgspec.json.Decoder(list[Scope]).decode
_decode_defaults = msgspec.json.Decoder(Defaults).decode


class Key:
    """A virtual key, with what is made of it when it is first used.

    Attributes:
        told: as it was told.
        spec: with what its user and its team add.
        allowed: one for each of its allow-lists: it matches the names of models that may be asked for.
        principals: by where the credential stood, so that who is the same is the same object.
        owners: the scopes of its user and its team that are in `spec`; `None` for one that is not there.
        aliases: of models, `None` for none.
        held: the gate's `HeldTo`, of what the key is held to.
    """

    __slots__ = ("aliases", "allowed", "held", "owners", "principals", "spec", "told")

    def __init__(self, told: KeySpec) -> None:
        """What `told` tells of."""
        self.told = self.spec = told
        self.allowed = tuple([compiled(names) for names in told.models])
        self.principals: dict[str, Principal] = {}
        self.owners: tuple[Scope | None, ...] = ()
        self.aliases = Aliases(given=told.aliases) if told.aliases else None
        self.held: object = None

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
        if len(model) > MAX_MODEL_CHARACTERS:
            return not self.allowed
        return all(pattern.fullmatch(model) for pattern in self.allowed)


class Keys(dict[str, Key]):
    """The keys of one part, by token.

    Attributes:
        aliased: some of them have aliases.
        logged: of some the bodies are kept.
    """

    __slots__ = ("aliased", "logged")

    def __init__(self, keys: Iterable[tuple[str, Key]]) -> None:
        super().__init__(keys)
        self.aliased = any(key.aliases is not None for key in self.values())
        self.logged = any(key.told.log_bodies not in {"", "off"} for key in self.values())


class Keyring:
    """The keys of the last snapshot, and what their limits and budgets are.

    Attributes:
        version: of the snapshot, 0 before the first.
        defaults: for callers that are not known one by one.
        aliased: some keys have aliases.
        logged: of some the bodies are kept, whatever the settings say.
    """

    def __init__(self) -> None:
        self.version = 0
        self.aliased = self.logged = False
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
        keys = [part for part in parts.values() if isinstance(part, Keys)]
        self.aliased = any(part.aliased for part in keys)
        self.logged = any(part.logged for part in keys)

    def find(self, token: str) -> Key | None:
        """The key with this `token`, the SHA-256 in hexadecimal digits; `None` if there is none."""
        keys = self._parts.get(part_of_key(token))
        key: Key | None = None if keys is None else keys.get(token)
        return None if key is None else self.in_force(key)

    def in_force(self, key: Key) -> Key:
        """`key` with what its user and its team add in this snapshot."""
        owners = tuple(self.scope(one) for one in key.told.scopes if one.startswith(_OWNERS))
        if len(owners) != len(key.owners) or any(map(is_not, owners, key.owners)):
            key.owners = owners
            key.spec = with_owners(key.told, [one for one in owners if one is not None])
            key.allowed = tuple(compiled(names) for names in key.spec.models)
        return key

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
        return Keys([(spec.token, Key(spec)) for spec in _decode_keys(data)])
    return {scope.id: scope for scope in _decode_scopes(data)}


def with_owners(told: KeySpec, owners: list[Scope]) -> KeySpec:
    """A key with what its user and its team add."""
    if not any(one.blocked or one.models or one.tags for one in owners):
        return told
    blocked = [told.blocked, *(f"The {one.shown} is blocked." for one in owners if one.blocked)]
    tags = [*told.tags, *(tag for one in owners for tag in one.tags)]
    return msgspec.structs.replace(
        told,
        blocked=next(filter(None, blocked), ""),
        models=[*told.models, *(one.models for one in owners if one.models)],
        tags=list(dict.fromkeys(tags)),
    )
