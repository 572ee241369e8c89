"""What the settings say of upstreams: each with its profile, its credential, and the edits that it wants.

Without `upstreams` there is one, made of `upstream_url`, `anthropic_api_key` and `profile`. With it, these
settings tell of the first one, so that whoever wants only that need not know of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ferryman.settings import Settings
from ferryman.settings_upstream import url_problem
from ferryman.wording import shown

ARGO_PORT = 44497
"""What Argo's own proxy listens on, and its users have in their settings."""

ONLY = "upstream"
"""The name of the upstream where there is one."""

_BY_PROFILE = "default (profile argo)"

_MESSAGES = re.compile(r"(?:/v1(?:/messages)?)?/*$")
"""What a base URL may end in that is part of each path."""

CHOICES = {
    "profile": ("anthropic", "argo"),
    "credential": ("key", "identity", "client"),
    "user_id": ("keep", "fill", "overwrite"),
    "inject_user_field": ("true", "false"),
    "images": ("off", "leave", "error"),
    "tools": ("off", "convert"),
    "family": ("anthropic", "openai"),
}
IDENTITY_KEYS = ("user_id", "inject_user_field")
PROFILES: dict[str, dict[str, str]] = {
    "anthropic": {
        "credential": "key",
        "user_id": "keep",
        "inject_user_field": "false",
        "images": "off",
        "tools": "off",
        "family": "anthropic",
    },
    "argo": {
        "credential": "identity",
        "user_id": "overwrite",
        "inject_user_field": "true",
        "images": "leave",
        "tools": "convert",
        "family": "anthropic",
    },
}
_TEXTS = ("base_url", "api_key", "api_key_env")
_LISTS = ("models", "strip_betas")
KEYS = frozenset({*_TEXTS, *_LISTS, *CHOICES, "identity", "aliases"} - set(IDENTITY_KEYS))
"""Of an upstream's block, without those of its `identity`."""


class Upstream(NamedTuple):
    """An upstream, as the settings tell of it.

    Attributes:
        name: the operator's.
        url: its base URL.
        credential: what it is given: `key` (ours), `identity` (the name of the user who calls) or `client`
            (what the client has sent).
        api_key: ours, `None` where it is given something else.
        models: names of those that go to it, with `*` for anything; the first upstream takes all others too.
        user_id, inject_user_field, images, tools, family: see `ferryman.relay.manners.Manners`.
        strip_betas: members of `anthropic-beta` that it does not know, with `*` for anything.
        aliases: other names of its models, each with its own name of the model.
    """

    name: str
    url: str
    credential: str
    api_key: str | None
    models: tuple[str, ...] = ()
    user_id: str = "keep"
    inject_user_field: bool = False
    images: str = "off"
    tools: str = "off"
    family: str = "anthropic"
    strip_betas: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<Upstream {self.name} at {self.url}>"

    @property
    def parts(self) -> SplitResult:
        """The parts of its base URL."""
        return urlsplit(self.url)


def upstreams_of(settings: Settings) -> tuple[Upstream, ...]:
    """The upstreams of settings without problems; the first one takes what names none of another's models."""
    if settings.upstreams is not None:
        return tuple(_upstream(name, block, settings) for name, block in settings.upstreams.items())
    block: dict[str, object] = {"base_url": settings.upstream_url}
    block["profile"] = "argo" if settings.is_argo else "anthropic"
    if not settings.is_argo:
        ours = settings.anthropic_api_key is not None and settings.effective_auth != "passthrough"
        block |= {"credential": "key", "api_key": settings.anthropic_api_key} if ours else {
            "credential": "client"
        }  # fmt: skip
    return (_upstream(ONLY, block, settings),)


def with_targets(settings: Settings, sources: dict[str, str], environ: Mapping[str, str]) -> Settings:
    """`settings` in which the URL, the key and the profile are those of the first upstream.

    Args:
        settings: as they were read.
        sources: where each comes from, changed where a setting is changed here.
        environ: the environment, for `api_key_env`.
    """
    if settings.upstreams is not None:
        blocks = {name: _with_key(block, environ) for name, block in settings.upstreams.items()}
        settings = replace(settings, upstreams=blocks)
        if any(True for _ in _problems(settings)):
            return settings
        first = upstreams_of(settings)[0]
        source = sources["upstreams"]
        profile = blocks[first.name].get("profile", "anthropic")
        told: dict[str, object] = {
            "upstream_url": first.url, "anthropic_api_key": first.api_key, "profile": profile
        }  # fmt: skip
    elif settings.is_argo:
        url, source = _argo_url(settings, sources)
        told = {"upstream_url": url}
        if settings.anthropic_api_key is not None:
            sources["anthropic_api_key"] = _BY_PROFILE
            settings = replace(settings, anthropic_api_key=None)
    else:
        return settings
    sources |= dict.fromkeys(told, source)
    settings = replace(settings, **told)  # type: ignore[arg-type]
    if settings.is_argo and sources["port"] == "default":
        sources["port"] = _BY_PROFILE
        settings = replace(settings, port=ARGO_PORT)
    return settings


def target_problems(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with the upstreams: the settings each problem is about, and the problem."""
    problems = list(_problems(settings))
    for problem in problems:
        yield {"upstreams"}, problem
    if problems:
        return
    auth = settings.effective_auth
    about = {"auth"} if settings.upstreams is None else {"auth", "upstreams"}
    for one in upstreams_of(settings):
        where = "the upstream" if settings.upstreams is None else f"`{one.name}` of `upstreams`"
        if auth == "identity" and one.credential == "client":
            need = "set `anthropic_api_key` (ANTHROPIC_API_KEY), or `profile: argo`"
            if settings.upstreams is not None:
                need = "give it `credential: key` or `credential: identity`"
            yield (
                about,
                f"with `identity` clients bring names, and {where} wants their own keys; {need}.",
            )
        elif auth == "passthrough" and one.credential == "key":
            yield about, f"with `passthrough` anybody could spend the key of {where}; ask for `keys`."
        elif auth in {"open", "passthrough"} and (one.credential == "identity" or _names_users(one)):
            yield about, f"{where} is told who calls, which `{auth}` does not ask; `identity` and `keys` do."


def _names_users(one: Upstream) -> bool:
    return one.user_id != "keep" or one.inject_user_field


def _with_key(block: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """`block` with its key in the place of the name of the variable that has it."""
    name = block.get("api_key_env")
    if not isinstance(name, str) or "api_key" in block or not (key := environ.get(name, "").strip()):
        return dict(block)
    return {**{field: value for field, value in block.items() if field != "api_key_env"}, "api_key": key}


def _argo_url(settings: Settings, sources: Mapping[str, str]) -> tuple[str, str]:
    """The base URL under `profile: argo`, and where it is from."""
    if settings.native_anthropic_base_url is not None:
        source = f"{sources['native_anthropic_base_url']}, as `native_anthropic_base_url`"
        return _MESSAGES.sub("", settings.native_anthropic_base_url), source
    if sources["argo_base_url"] != "default":
        return _MESSAGES.sub("", settings.argo_base_url), f"{sources['argo_base_url']}, as `argo_base_url`"
    if sources["upstream_url"] != "default":
        return _MESSAGES.sub("", settings.upstream_url), sources["upstream_url"]
    return settings.argo_base_url, _BY_PROFILE


def _upstream(name: str, block: Mapping[str, object], settings: Settings) -> Upstream:
    identity = block.get("identity")
    said = {**block, **identity} if isinstance(identity, Mapping) else dict(block)
    profile = str(said.get("profile", "anthropic"))
    chosen = PROFILES[profile] | {field: str(said[field]) for field in PROFILES[profile] if field in said}
    url = said.get("base_url")
    if url is None and profile == "argo":
        url = settings.native_anthropic_base_url or settings.argo_base_url
    aliases, key = said.get("aliases"), said.get("api_key")
    return Upstream(
        name,
        _MESSAGES.sub("", str(url)) if profile == "argo" else str(url),
        chosen["credential"],
        str(key) if key is not None and chosen["credential"] == "key" else None,
        _members(said.get("models")),
        chosen["user_id"],
        chosen["inject_user_field"] == "true",
        chosen["images"],
        chosen["tools"],
        chosen["family"],
        _members(said.get("strip_betas")),
        {str(alias): str(model) for alias, model in aliases.items()} if isinstance(aliases, Mapping) else {},
    )


def _members(value: object) -> tuple[str, ...]:
    """Of a list, or of a text with commas between them."""
    members = value if isinstance(value, list) else str(value or "").split(",")
    return tuple(text for member in members if (text := str(member).strip()))


def _problems(settings: Settings) -> Iterator[str]:
    """What is wrong with single upstreams, a sentence each."""
    for name, block in (settings.upstreams or {}).items():
        for problem in _block_problems(block):
            yield f"{shown(name)} {problem}."


def _block_problems(block: Mapping[str, object]) -> Iterator[str]:
    for field in block:
        if field not in KEYS:
            yield f"has {shown(field)}, which is none of {_listed(sorted(KEYS))}"
    identity = block.get("identity", {})
    if not isinstance(identity, Mapping) or set(identity) - set(IDENTITY_KEYS):
        yield "wants a block such as `{user_id: fill, inject_user_field: false}` for `identity`"
        identity = {}
    for field, value in {**block, **identity}.items():
        choices = CHOICES.get(field)
        if choices is not None and value not in choices:
            yield f"has {shown(value)} for `{field}`; wanted one of {_listed(choices)}"
        if field in _TEXTS and not _is_text(value):
            yield f"wants a text of ASCII characters for `{field}`"
        if field in _LISTS and isinstance(value, Mapping):
            yield f"wants a list of names for `{field}`"
    if not isinstance(block.get("aliases", {}), Mapping):
        yield "wants a block such as `{opus: claude-opus-5-5}` for `aliases`"
    yield from _credential_problems(block)


def _credential_problems(block: Mapping[str, object]) -> Iterator[str]:
    profile = block.get("profile", "anthropic")
    url = block.get("base_url")
    if url is None and profile != "argo":
        yield "wants a `base_url`"
    elif isinstance(url, str) and (problem := url_problem(url, "put the key in `api_key`")) is not None:
        yield f"has a `base_url` that cannot be used: {problem.rstrip('.')}"
    credential = block.get("credential", "identity" if profile == "argo" else "key")
    if "api_key" in block and credential != "key":
        yield f"has an `api_key`, which `credential: {credential}` does not use"
    elif "api_key_env" in block and "api_key" in block:
        yield "has both `api_key` and `api_key_env`; leave one"
    elif credential == "key" and "api_key_env" in block:
        yield f"wants the variable {shown(block['api_key_env'])} (its `api_key_env`), which is not set"
    elif credential == "key" and "api_key" not in block:
        yield "wants its `api_key`, or in `api_key_env` the name of the variable that has it"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()
