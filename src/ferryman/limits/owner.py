"""Who made a file, a batch, a skill or a session, and who else may see it."""

from __future__ import annotations

import msgspec

KEY, TEAM, ALL = "key", "team", "all"
"""Whose resources a caller sees: those of its key, those of its team as well, or every one."""


class Owner(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who made a resource.

    Attributes:
        key_id: of the key that it was made with.
        team_id: the key's then, `None` for none.
    """

    key_id: str
    team_id: str | None = None


def may_see(owner: Owner | None, caller: Owner, sees: str) -> bool:
    """Whether a caller sees a resource, and may change it.

    What nobody is known to have made (it is older than the keys, or was made at Anthropic's console) is seen
    with `all` only.

    Args:
        owner: of the resource, `None` if it is not known.
        caller: as the owner of what it makes.
        sees: `key`, `team` or `all`; any other word is `key`.
    """
    if sees == ALL:
        return True
    if owner is None:
        return False
    if owner.key_id == caller.key_id:
        return True
    return sees == TEAM and owner.team_id is not None and owner.team_id == caller.team_id
