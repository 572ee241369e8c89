"""What the settings say about models: aliases, and where lists of models are to be had.

`ferryman.settings_load` checks them with what is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ferryman.aliases import MAX_NAME_CHARACTERS, ModelList, leaves_family
from ferryman.settings import Settings
from ferryman.settings_targets import Upstream, target_problems, upstreams_of
from ferryman.wording import shown

MAX_ALIASES = 1_000
"""Of the settings: all workers hold them."""


class ModelSource(NamedTuple):
    """An upstream whose models are listed.

    Attributes:
        name: in the settings; empty where there is one only.
        urls: where its list may be, without a query; one that is not there is passed over.
        headers: that say who asks.
        patterns: names of the models that go to it, in which `*` stands for anything; the first source takes
            what no other has.
    """

    name: str
    urls: tuple[str, ...]
    headers: Mapping[str, str]
    patterns: tuple[str, ...] = ()


def model_sources(settings: Settings) -> list[ModelSource]:
    """The upstreams whose lists can be fetched with the server's own credential, the first one first."""
    if settings.effective_auth == "passthrough":
        return []
    is_only = settings.upstreams is None
    return [
        _source(one, "" if is_only else one.name)
        for one in upstreams_of(settings)
        if one.credential != "client"
    ]


def _source(upstream: Upstream, name: str) -> ModelSource:
    url = upstream.url.rstrip("/")
    urls: tuple[str, ...] = (f"{url}/v1/models",)
    if upstream.credential == "identity":  # Argo's own list
        urls = (f"{url}/api/v1/models/", *urls)
    headers = {} if upstream.api_key is None else {"x-api-key": upstream.api_key}
    return ModelSource(name, urls, headers, upstream.models)


def needs_models(settings: Settings) -> bool:
    """Whether workers have to know the lists: who changes no name need not ask for any."""
    every = upstreams_of(settings)
    named = any(one.aliases or one.credential == "identity" for one in every)
    return bool(settings.aliases) or named or len(every) > 1


def configured_models(settings: Settings) -> ModelList | None:
    """What is known of models before any list has come; `None` where all names go on as they are."""
    if not needs_models(settings):
        return None
    aliases = {alias: model for one in upstreams_of(settings) for alias, model in one.aliases.items()}
    return ModelList(aliases={**aliases, **(settings.aliases or {})})


def alias_problems(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with the aliases of the settings: the setting each problem is about, and the problem."""
    for problem in problems_with(settings.aliases or {}, MAX_ALIASES):
        yield {"aliases"}, f"{problem}."
    if settings.upstreams is None or any(True for _ in target_problems(settings)):
        return
    for one in upstreams_of(settings):
        for problem in problems_with(one.aliases, MAX_ALIASES):
            yield {"upstreams"}, f"in the `aliases` of `{one.name}` {problem}."


def problems_with(aliases: Mapping[str, str], most: int) -> Iterator[str]:
    """What is wrong with `aliases`, of which there may be so many; a clause for each problem."""
    if len(aliases) > most:
        yield f"there are {len(aliases)} aliases; at most {most} are taken"
        return
    for alias, target in aliases.items():
        for name in (alias, target):
            if not _is_name(name):
                yield (
                    f"{shown(name)} is no name of a model; wanted 1 to {MAX_NAME_CHARACTERS} printable "
                    "characters, without spaces at its ends"
                )
                break
        else:
            if leaves_family(alias, target):
                yield (
                    f"{shown(alias)} speaks of one family of Claude, and {shown(target)} is of another; "
                    "whoever asks for it would be answered by a model that it does not name"
                )


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable() and name == name.strip()
