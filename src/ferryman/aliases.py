"""Names of models: which of an upstream's models a client means. Pure.

A name that an upstream knows is that model; else an alias decides; else the name without a prefix such as
`argo:`; else the same without regard to case and separators; else it goes on unchanged. A guess of ours never
leads to another family of models. It is more than argo-proxy 2.8.9 takes (models.py,
`_model_lookup_candidates`), and never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

FAMILIES = ("fable", "haiku", "mythos", "opus", "sonnet")
"""Of Claude."""

PREFIXES = ("argo:", "argo/", "anthropic/")
"""That clients of argo-proxy and of LiteLLM write before a model's name."""

MAX_NAME_CHARACTERS = 200
"""Of a name that is looked up; the longest known, an ARN of Bedrock, has about 120."""

_PREFIX = re.compile(rf"\A(?:{'|'.join(map(re.escape, PREFIXES))})", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"-\d{8}$")
_LETTERS = re.compile(r"[a-z]+")
_FOLDED_AWAY = re.compile(r"[^a-z0-9]+")


NO_DATA = msgspec.Raw()
"""Stands for an object that is not there: msgspec has no optional `Raw`."""


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model as its upstream lists it.

    Attributes:
        id: by which the upstream is asked for it.
        display_name: for people.
        created_at: RFC 3339; empty if nothing tells it.
        upstream: the name of the upstream in the settings; empty where there is one only.
        data: the object of Anthropic's list, as it came; `NO_DATA` for a list of another shape.
    """

    id: str
    display_name: str = ""
    created_at: str = ""
    upstream: str = ""
    data: msgspec.Raw = NO_DATA


class ModelList(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of models: a part of the snapshot.

    Attributes:
        models: of all upstreams; empty if no list has come.
        aliases: the operator's.
        made: those that are made of display names.
        answers: workers answer `/v1/models` themselves.
    """

    models: list[Model] = []
    aliases: dict[str, str] = {}
    made: dict[str, str] = {}
    answers: bool = False


class Aliases:
    """Names and what they stand for.

    Attributes:
        ids: of models; each stands for itself.
    """

    __slots__ = ("_folds", "_names", "ids")

    def __init__(
        self,
        ids: Iterable[str] = (),
        given: Mapping[str, str] | None = None,
        made: Mapping[str, str] | None = None,
    ) -> None:
        """Look nothing up yet.

        Args:
            ids: of models.
            given: the operator's aliases: of a model, or of one of `made`; not of each other.
            made: aliases of ids.
        """
        self.ids = frozenset(ids)
        known = Aliases(self.ids, made=made) if given else None
        self._names = dict(made or {})
        self._names |= {name: resolved(target, None, known) for name, target in (given or {}).items()}
        self._folds: dict[str, str | None] = {}
        for name, target in (*((one, one) for one in self.ids), *self._names.items()):
            if name == target or name not in self.ids:
                fold = folded(bare(name))
                same = self._folds.setdefault(fold, target) == target
                self._folds[fold] = target if same else None

    def __repr__(self) -> str:
        return f"<Aliases {len(self.ids)} models, {len(self._names)} names>"

    def named(self, name: str) -> str | None:
        """What exactly this name stands for, `None` if it is not known."""
        return name if name in self.ids else self._names.get(name)

    def spelled(self, fold: str) -> tuple[str | None] | None:
        """What the names with this spelling, `folded` and `bare`, stand for.

        Returns:
            `None` if there is none; `None` in a tuple if they stand for several models.
        """
        return (self._folds[fold],) if fold in self._folds else None


def resolved(name: str, own: Aliases | None, common: Aliases | None) -> str:
    """The model that `name` means: its id, or `name` itself if it is not known, or could be several.

    Args:
        name: as a client wrote it.
        own: aliases of the caller's key. They may stand for one of `common`.
        common: models and aliases of the gateway.
    """
    if (common is not None and name in common.ids) or len(name) > MAX_NAME_CHARACTERS:
        return name
    tables = [table for table in (own, common) if table is not None]
    spelling, shorter = name, bare(name)
    while True:
        for table in tables:
            if (found := table.named(spelling)) is not None:
                return found if table is common else resolved(found, None, common)
        if spelling == shorter:
            break
        spelling = shorter
    if fold := folded(shorter):
        for table in tables:
            if (choice := table.spelled(fold)) is not None:
                target = choice[0]
                if target is None:
                    return name
                return target if table is common else resolved(target, None, common)
    return name


def bare(name: str) -> str:
    """`name` without one of `PREFIXES`, in any case."""
    return _PREFIX.sub("", name, count=1)


def folded(name: str) -> str:
    """`name` without case and separators; empty where it has other letters than ASCII's."""
    return _FOLDED_AWAY.sub("", name.lower()) if name.isascii() else ""


def families_in(name: str) -> frozenset[str]:
    """The families of Claude that `name` speaks of, by whole words: `my-corpus` speaks of none."""
    words = (word.removeprefix("claude") for word in _LETTERS.findall(name.lower()))
    return frozenset(words) & frozenset(FAMILIES)


def leaves_family(alias: str, target: str) -> bool:
    """Whether `alias` speaks of one family of Claude and `target` of another."""
    of_alias, of_target = families_in(alias), families_in(target)
    return bool(of_alias and of_target) and not of_alias & of_target


def made_of(models: Iterable[Model]) -> dict[str, str]:
    """The aliases that argo-proxy makes of display names, of one upstream's models.

    `Claude Sonnet 4.5` is `argo:claude-sonnet-4.5` and `argo:claude-4.5-sonnet`; `o3` with the id `gpto3` is
    `argo:o3` and `argo:gpt-o3`. A name that two models have is no alias, unless they differ in a date only:
    then it is that without one. One that speaks of a family of Claude is made of an id that does, too: else
    any upstream could call a model of its own by the name of another's.
    Source: argo-proxy 2.8.9, models.py, `produce_argo_model_list`.
    """
    found: dict[str, list[str]] = {}
    for model in models:
        for alias in _argo_names(model):
            families = families_in(alias)  # an id that speaks of none could be anything
            if alias != model.id and (not families or families & families_in(model.id)):
                found.setdefault(alias, []).append(model.id)
    chosen = ((alias, _one_of(dict.fromkeys(ids))) for alias, ids in found.items())
    return {alias: model_id for alias, model_id in chosen if model_id is not None}


def _argo_names(model: Model) -> Iterator[str]:
    name = "-".join(model.display_name.lower().split())
    if not name or len(name) > MAX_NAME_CHARACTERS:
        return
    yield f"argo:{name}"
    if model.id.startswith("gpto"):
        yield f"argo:gpt-{name}"
    words = name.split("-")
    if model.id.startswith("claude") and len(words) >= 3 and words[0] == "claude":
        _, codename, generation, *version = words
        yield "-".join((f"argo:claude-{generation}-{codename}", *version[:1]))


def _one_of(ids: Mapping[str, None]) -> str | None:
    first, *others = sorted(ids, key=len)
    return first if all(_DATE.sub("", other) == first for other in others) else None
