"""The lists of models: fetched from the upstreams now and then, merged, and told to the workers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.aliases import NO_DATA, Aliases, Model, ModelList, made_of, resolved
from ferryman.clock import Clock
from ferryman.control.access.shown import time_of
from ferryman.control.callers import REFRESH_PATH
from ferryman.control.feed import FeedServer
from ferryman.control.upstream import Questions
from ferryman.limits.patterns import covers
from ferryman.process.messages import MAX_PART_BYTES, MODELS
from ferryman.settings import Settings
from ferryman.settings_models import ModelSource, configured_models, model_sources, needs_models
from ferryman.wire.model_list import page_in

log = structlog.get_logger("ferryman.models")

LIST_SECONDS = 30.0
"""For all pages of one upstream's list; argo-proxy gives it as long."""

MAX_LIST_BYTES = 4 << 20
"""Of one page; Argo's list has about 10 kB, Anthropic's 40."""

MAX_PAGES = 10
MAX_MODELS = 1_000
"""Of all upstreams together; what is beyond them is left out, which the log tells. All workers hold them."""

PIECE_BYTES = 65_536

FIRST_SECONDS = 3.0
"""How long a start waits for the first lists, since until then the names that they make mean nothing. A list
takes a few hundred milliseconds; an upstream that is not there must not keep a gateway from starting."""

RETRY_SECONDS = 10.0
"""After the first failure; each further one waits twice as long, up to `model_refresh_seconds`."""

_NOT_STORED = {"cache-control": "no-store"}


class _Failed(Exception):
    """A list cannot be had; the words say why."""


class _Missing(_Failed):
    """There is none."""


class ModelLists:
    """What is known of models.

    Attributes:
        told: the models and their aliases.
        is_needed: workers are told of them.
        fetched_at: Unix time of the last lists, `None` before.
        problem: why the last fetch has failed, empty if it has not.
    """

    def __init__(self, settings: Settings, feed: FeedServer, clock: Clock) -> None:
        """Begin with what the settings say.

        Raises:
            SettingsError: a file for TLS cannot be used.
        """
        self.told = configured_models(settings) or ModelList()
        self.is_needed = needs_models(settings)
        self.fetched_at: float | None = None
        self.problem = ""
        self._settings = settings
        self._sources = model_sources(settings)
        self._lists: dict[str, list[Model]] = {}
        self._feed = feed
        self._clock = clock
        self._questions = Questions(settings)
        self._lock = asyncio.Lock()
        self._runs = 0
        self._tried = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ModelLists {len(self.told.models)} models>"

    @property
    def parts(self) -> dict[str, bytes]:
        """What workers are told: the JSON of `ModelList`, if they need it."""
        return {MODELS: encoded(self.told)} if self.is_needed else {}

    async def refresh(self) -> bool:
        """Fetch all lists; whoever asks while that goes on waits for it, and has the same answer.

        Returns:
            Whether all of them have come. One that has not stays as it was.
        """
        before = self._runs
        async with self._lock:
            if self._runs == before:
                await self._fetch_all()
                self._runs += 1
        return not self.problem

    async def first(self) -> None:
        """Wait until `keep` has tried to fetch the lists, if workers need them; at most `FIRST_SECONDS`."""
        if self.is_needed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), FIRST_SECONDS)

    async def keep(self) -> None:
        """Fetch the lists now and then, if workers need them."""
        refresh_seconds = self._settings.model_refresh_seconds
        retry_seconds = RETRY_SECONDS
        while self.is_needed:
            if await self.refresh():
                retry_seconds = RETRY_SECONDS
                await asyncio.sleep(refresh_seconds)
            else:
                await asyncio.sleep(min(retry_seconds, refresh_seconds))
                retry_seconds = min(2 * retry_seconds, refresh_seconds)

    def close(self) -> None:
        """Break off what is under way."""
        self._questions.stop()

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [
            Route(REFRESH_PATH, self._post_refresh, methods=["POST"]),
            Route("/control/models", self._get, methods=["GET"]),
        ]

    async def _fetch_all(self) -> None:
        problems = []
        if not self._sources:
            problems.append("there is no key of the server's own to ask an upstream with")
        for source in self._sources:
            try:
                self._lists[source.name] = await asyncio.to_thread(self._fetched, source)
            except (_Failed, ValueError, OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                problems.append(reason)
                log.warning(
                    "models not listed",
                    upstream=source.name or source.urls[0],
                    reason=reason,
                    now="what was known of them stays",
                )
        self.problem = "; ".join(problems)
        if len(problems) < len(self._sources):
            self.fetched_at = self._clock.now()
        self._tell(merged(self.told, self._sources, self._lists, answers=self._answers()))
        self._tried.set()

    def _answers(self) -> bool:
        """Workers answer for themselves once there is a list; before, one upstream is asked by the client."""
        return self.is_needed and bool(self._lists)

    def _tell(self, told: ModelList) -> None:
        if told == self.told:
            return
        try:
            if (
                self.is_needed and self._feed.version
            ):  # else it is told with all the rest, once that can be read
                self._feed.publish({MODELS: encoded(told)})
        except ValueError as error:  # it does not fit into a snapshot
            log.error("models not told", reason=str(error), now="workers keep those they hold")  # noqa: TRY400  # its words say it all
            self.problem = str(error)
            return
        self.told = told
        shadowed = sorted(told.aliases.keys() & {model.id for model in told.models})
        if shadowed:
            log.warning("aliases without effect", names=shadowed, reason="models have these names")
        log.info(
            "models listed", models=len(told.models), aliases=len(told.aliases.keys() | told.made.keys())
        )

    def _fetched(self, source: ModelSource) -> list[Model]:
        """The models of one upstream; on a thread.

        Raises:
            _Failed, ValueError, OSError, HTTPException: they cannot be had.
        """
        until = self._clock.monotonic() + LIST_SECONDS
        *others, last = source.urls
        for url in others:
            with contextlib.suppress(_Missing):
                return self._listed(url, source, until)
        return self._listed(last, source, until)

    def _listed(self, url: str, source: ModelSource, until: float) -> list[Model]:
        models: list[Model] = []
        query = "?limit=1000"
        for _ in range(MAX_PAGES):
            page = page_in(self._read(url + query, source.headers, until), source.name)
            models += page.models
            if page.after is None or len(models) >= MAX_MODELS:
                break
            query = f"?limit=1000&after_id={quote(page.after, safe='')}"
        return models

    def _read(self, url: str, headers: Mapping[str, str], until: float) -> bytes:
        with self._questions.get(url, headers) as (status, body):
            if status != 200:
                raise (_Missing if status == 404 else _Failed)(f"the upstream answers {status}")
            data = bytearray()
            while piece := body.read1(PIECE_BYTES):
                data += piece
                if len(data) > MAX_LIST_BYTES:
                    raise _Failed(f"the list has more than {MAX_LIST_BYTES} bytes")
                if self._clock.monotonic() > until:
                    raise _Failed(f"the list has not come within {LIST_SECONDS:g} s")
            if body.length:
                raise _Failed("the list broke off")
        return bytes(data)

    async def _post_refresh(self, _request: Request) -> Response:
        """Fetch the upstreams' lists of models now; answered as by argo-proxy."""
        before = _counts(self.told)
        if not await self.refresh():
            body: dict[str, Any] = {"status": "error", "message": f"Refresh failed: {self.problem}"}
            return _json(body, 500)
        now = _counts(self.told)
        return _json(
            {
                "status": "ok",
                "message": "Model list refreshed successfully",
                "previous": {name: before[name] for name in ("unique_models", "total_aliases")},
                "current": now,
            }
        )

    async def _get(self, _request: Request) -> Response:
        """The models of all upstreams, and their aliases."""
        told = self.told
        common = Aliases((model.id for model in told.models), told.aliases, told.made)
        names: dict[str, list[str]] = {}
        for alias in (*told.aliases, *told.made):
            names.setdefault(resolved(alias, None, common), []).append(alias)
        known = {model.id: model for model in told.models}
        rows = [
            {
                "id": name,
                "display_name": known[name].display_name if name in known else "",
                "created_at": known[name].created_at if name in known else "",
                "upstream": known[name].upstream if name in known else "",
                "listed": name in known,
                "aliases": sorted(set(names.get(name, ())) - {name}),
            }
            for name in dict.fromkeys((*known, *names))
        ]
        at = None if self.fetched_at is None else time_of(int(self.fetched_at * 1e6))
        return _json({"models": rows, "fetched_at": at, "problem": self.problem or None})


def merged(
    told: ModelList, sources: Sequence[ModelSource], lists: Mapping[str, list[Model]], *, answers: bool
) -> ModelList:
    """The models of all upstreams in one list.

    Of an upstream only those are taken that requests for them go to.

    Args:
        told: with the operator's aliases.
        sources: the upstreams.
        lists: what each has listed, by its name.
        answers: see `ModelList`.
    """
    models: dict[str, Model] = {}
    made: dict[str, str] = {}
    for source in sources:
        own = {
            model.id: model for model in lists.get(source.name, ()) if _goes_to(model.id, sources) is source
        }
        made = made_of(own.values()) | made
        models |= own
    kept = dict(list(models.items())[:MAX_MODELS])
    if len(kept) < len(models):
        log.warning("models left out", models=len(models), taken=MAX_MODELS)
    made = {alias: model for alias, model in made.items() if model in kept}
    return ModelList(list(kept.values()), told.aliases, made, answers)


def _goes_to(model: str, sources: Sequence[ModelSource]) -> ModelSource:
    return next(
        (one for one in sources if any(covers(pattern, model) for pattern in one.patterns)), sources[0]
    )


def encoded(told: ModelList) -> bytes:
    """The part for workers; where it would be too large, without what upstreams say of each model."""
    data = msgspec.json.encode(told)
    if len(data) <= MAX_PART_BYTES // 2:
        return data
    models = [msgspec.structs.replace(model, data=NO_DATA) for model in told.models]
    return msgspec.json.encode(msgspec.structs.replace(told, models=models))


def _counts(told: ModelList) -> Counter[str]:
    ids = [model.id for model in told.models]
    embedding = sum(name.startswith(("ada", "v3")) or "embedding" in name for name in ids)
    return Counter(
        unique_models=len(ids),
        total_aliases=len(told.aliases.keys() | told.made.keys()),
        chat_models=len(ids) - embedding,
        embed_models=embedding,
    )


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, _NOT_STORED, "application/json")
