"""Which key a report is about, and how it is called. The ledger knows keys by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ferryman.store.access import Access
from ferryman.store.access_look import TEAMS


class Named(NamedTuple):
    """A key, one that was deleted too.

    Attributes:
        name: how it is shown, such as `sk-...wxyz`.
        alias: `None` for none.
        team_id: of the team that it is in now, or was in at last; `None` for none.
        team_alias: of that team, `None` for none.
    """

    name: str
    alias: str | None = None
    team_id: str | None = None
    team_alias: str | None = None


class KeyNames:
    """Tells them from the database; knows none without. Methods wait for it."""

    def __init__(self, access: Access | None = None) -> None:
        self._access = access

    def __repr__(self) -> str:
        return f"<KeyNames of {self._access!r}>"

    def id_of(self, token: str) -> str:
        """The id of the key with this token, which is another one since the key was made anew.

        Args:
            token: the SHA-256 of a text; what is none of a key that there is stays as it is.

        Raises:
            StoreUnavailable: the database is away.
        """
        if self._access is None:
            return token
        with self._access.look() as look:
            key = look.key_with(token)
        return token if key is None else key.id

    def of(self, principals: Iterable[str | None]) -> dict[str, Named]:
        """The keys among `principals`, by their ids.

        Raises:
            StoreUnavailable: the database is away.
        """
        ids = {one for one in principals if one}
        if self._access is None or not ids:
            return {}
        with self._access.look() as look:
            keys = look.keys_ever(ids)
            teams = look.many(TEAMS, (key.team_id for key in keys.values() if key.team_id is not None))
        aliases = {team.id: team.alias for team in teams.values()}
        return {
            key.id: Named(key.name, key.alias, key.team_id, aliases.get(key.team_id or ""))
            for key in keys.values()
        }


def named_row(row: dict[str, Any], principal: str | None, names: Mapping[str, Named]) -> dict[str, Any]:
    """A row of a report with the names of the key that it is about, if it is about one."""
    named = names.get(principal or "")
    return row if named is None else {**row, "key_name": named.name, "key_alias": named.alias}
