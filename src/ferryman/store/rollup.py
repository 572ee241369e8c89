"""Sums of entries by day: what is added up together, and how many such groups a day may have.

A group is a tag, a model, a principal, an end user, a class of status and a way of ending. Clients spell
tags, models and end users as they like, so a day's groups are bounded: what comes beyond the bound is
counted under `OTHER`. Each sum over all groups stays exact; the entries keep what was spelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, Protocol, TypeVar

from ferryman.store.flat import Key, Row
from ferryman.store.place import EPOCH

K = TypeVar("K")
Group = tuple[str, str, str, str, int, str]
"""The values of `ferryman.store.schema.GROUP`; `''` is what an entry does not have."""

Sums = dict[tuple[date, Group], list[int]]
"""The values of `ferryman.store.schema.MEASURES` for each day and group."""

OTHER = "(other)"
"""The tag, model or end user under which is counted what a day has no room for."""

MAX_GROUPS = 20_000
"""Of a day and a control plane, those with tags by themselves: as many as 5,000 end users make who use two
models each, half of them with an error. A month of such days is summed in about a second, a year of them
takes a gigabyte."""

SPARE_GROUPS = 1_000
"""Beyond `MAX_GROUPS`, for models with all their end users under `OTHER`."""

MAX_DAYS = 6
"""Days whose groups are in memory, those with tags by themselves: today, and what late journals bring.
About 6 MB for a full one."""


def summed(rows: Iterable[Row]) -> tuple[Sums, Sums]:
    """The sums of `rows` of `entries`, and those for each of their tags."""
    alike: dict[Key, list[tuple[Any, ...]]] = {}
    tagged: dict[tuple[str, Key], list[tuple[Any, ...]]] = {}
    for row in rows:
        alike.setdefault(row.key, []).append(row.measures)
        if row.tags:
            day, model, _, _, status_class, ended = row.key
            for tag in row.tags:
                key = tag, (day, model, "", "", status_class, ended)
                tagged.setdefault(key, []).append(row.measures)
    sums = {_group("", key): _totals(measures) for key, measures in alike.items()}
    return sums, {_group(tag, key): _totals(measures) for (tag, key), measures in tagged.items()}


def _group(tag: str, key: Key) -> tuple[date, Group]:
    day, model, principal, end_user, status_class, ended = key
    return (EPOCH + timedelta(days=day)).date(), (tag, model, principal, end_user, status_class, ended)


def _totals(measures: Iterable[tuple[Any, ...]]) -> list[int]:
    # Of many rows at once, and `filter` leaves out what is not there: a tenth of adding row by row.
    return [sum(filter(None, column)) for column in zip(*measures, strict=True)]


def _add(sums: dict[K, list[int]], key: K, measures: list[int]) -> None:
    there = sums.get(key)
    sums[key] = measures if there is None else [a + b for a, b in zip(there, measures, strict=True)]


class Source(Protocol):
    """Where `Groups` come from: the transaction that is under way."""

    def load(self, day: date, *, tagged: bool) -> dict[Group, int]:
        """The groups that a day has, with their numbers."""

    def number(self, group: Group) -> int:
        """The number of a group, which is made if need be."""


class Groups:
    """The groups of the latest days, by number."""

    def __init__(self, most: int) -> None:
        """Nothing is known yet; `most` is what a day may have, without tags and with them."""
        self._most = most
        self._days: dict[tuple[date, bool], dict[Group, int]] = {}

    def __repr__(self) -> str:
        return f"<Groups {len(self._days)} days>"

    def forget(self) -> None:
        """Know nothing any more: what a transaction has made that failed is not there."""
        self._days.clear()

    def numbered(self, sums: Sums, source: Source) -> list[tuple[Any, ...]]:
        """Rows of a table of roll-ups, sorted by their keys: two writers take the locks in one order."""
        rows: dict[tuple[str, int], list[int]] = {}
        for (day, group), measures in sorted(sums.items()):  # new groups too are made in one order
            _add(rows, (day.isoformat(), self._number(day, group, source)), measures)
        return [(*key, *rows[key]) for key in sorted(rows)]

    def _number(self, day: date, group: Group, source: Source) -> int:
        tag, model, principal, end_user, status_class, ended = group
        known = self._known(day, source, tagged=tag != "")
        number = known.get(group)
        if number is not None:
            return number
        room = self._most - len(known)
        narrowed = (tag and OTHER, model, principal, end_user and OTHER, status_class, ended)
        if room <= 0 and narrowed != group:
            return self._number(day, narrowed, source)
        if room <= -SPARE_GROUPS and model not in {"", OTHER}:
            return self._number(day, (tag, OTHER, *group[2:]), source)
        number = next((each[group] for each in self._days.values() if group in each), None)
        known[group] = source.number(group) if number is None else number
        return known[group]

    def _known(self, day: date, source: Source, *, tagged: bool) -> dict[Group, int]:
        known = self._days.get((day, tagged))
        if known is None:
            if len(self._days) >= MAX_DAYS:
                del self._days[min(self._days)]
            known = self._days[day, tagged] = source.load(day, tagged=tagged)
        return known
