"""Other names of models, with where each is from, for the page about models. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ferryman.aliases import Aliases, ModelList
from ferryman.settings import Settings
from ferryman.settings_targets import upstreams_of
from ferryman.store.access_rows import Key


class Named(NamedTuple):
    """A name that stands for a model.

    Attributes:
        name: that callers may ask for.
        model: that is asked upstream.
        source: who has given it, for people.
        token: the id of the key that it is for, `None` where it is for everybody.
        is_shadowed: a model has this name, which goes before.
    """

    name: str
    model: str
    source: str
    token: str | None = None
    is_shadowed: bool = False


def named(settings: Settings, told: ModelList, keys: Iterable[Key]) -> list[Named]:
    """All names, each where it is decided: those of keys first, then the operator's, then those of lists."""
    common = Aliases((model.id for model in told.models), told.aliases, told.made)
    every = [*_of_keys(keys, common), *_of_everybody(settings, told, common)]
    return [one._replace(is_shadowed=one.name in common.ids) for one in every]


def _of_keys(keys: Iterable[Key], common: Aliases) -> Iterator[Named]:
    for key in keys:
        for name, model in key.aliases.items():
            yield Named(name, common.named(model) or model, key.alias or key.name, key.id)


def _of_everybody(settings: Settings, told: ModelList, common: Aliases) -> Iterator[Named]:
    own = settings.aliases or {}
    givers = {name: one.name for one in upstreams_of(settings) for name in one.aliases}
    for name, model in told.aliases.items():
        source = "settings" if name in own else f"upstream {givers[name]}" if name in givers else "settings"
        yield Named(name, common.named(model) or model, source)
    for name, model in told.made.items():
        if name not in told.aliases:
            yield Named(name, model, "display name")
