"""Lists of models: fetched by the control plane, told to workers, and shown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import msgspec
import openai
import pytest

from ferryman.aliases import Model, ModelList
from ferryman.control import models as lists_module
from ferryman.control.feed import FeedServer
from ferryman.control.models import MAX_LIST_BYTES, MAX_MODELS, ModelLists, encoded, merged
from ferryman.process.messages import MAX_PART_BYTES, MODELS
from ferryman.settings import Settings
from ferryman.settings_models import ModelSource
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from ferryman.wire.model_list import page_in
from tests.conftest import KEY, Bench
from tests.support.control import Control
from tests.support.edge import Connection, answering
from tests.support.gateway import HeldClock
from tests.support.processes import Family, until
from tests.test_cli import Process

ALIASES = {"fast": "argo:claude-4.5-haiku"}
NAMES = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5")


@pytest.fixture
def simulator() -> Iterator[Server]:
    with Server(SimulatorSettings(models=NAMES, strict_models=True, profile="argo")) as one:
        yield one


@pytest.fixture
def family(tmp_path: Path, simulator: Server) -> Iterator[Family]:
    """A gateway whose operator has one alias, before an upstream with Argo's list."""
    file = tmp_path / "ferryman.yaml"
    file.write_text(f"aliases: {json.dumps(ALIASES)}\n", "utf-8")
    env = {"ANTHROPIC_API_KEY": KEY, "FERRYMAN_UPSTREAM_URL": simulator.url}
    with Family(tmp_path, "--data-dir", str(tmp_path / "data"), env=env) as one:
        yield one


def lists_of(url: str, *, aliases: dict[str, str] | None = None) -> ModelLists:
    settings = Settings(upstream_url=url, anthropic_api_key=KEY, aliases=aliases or {"fast": "claude-x"})
    return ModelLists(settings, FeedServer(HeldClock()), HeldClock())


def test_whole_gateway_resolves_what_the_upstreams_list_calls_a_model(
    family: Family, simulator: Server, tmp_path: Path
) -> None:
    ours = anthropic.Anthropic(base_url=family.url, api_key="ann", max_retries=0)
    until(lambda: "argo:claude-4.5-sonnet" in {one.id for one in ours.models.list()}, "listed")
    for name in ("argo:claude-4.5-sonnet", "argo/claude-sonnet-4.5", "claude-4.5-sonnet", "fast", "FAST"):
        message = ours.messages.create(model=name, max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
        assert message.model == ("claude-haiku-4-5" if name.lower() == "fast" else "claude-sonnet-4-5")
    theirs = openai.OpenAI(base_url=f"{family.url}/v1", api_key="ann", max_retries=0)
    assert {one.id for one in theirs.models.list()} >= {*NAMES, "fast", "argo:claude-opus-4.5"}
    started = httpx.post(f"{family.url}/refresh").json()
    assert started == {
        "status": "ok",
        "message": "Model list refreshed successfully",
        "previous": {"unique_models": 3, "total_aliases": 7},
        "current": {"unique_models": 3, "total_aliases": 7, "chat_models": 3, "embed_models": 0},
    }
    words = ("-p", str(family.port), "--runtime-directory", str(tmp_path / "run"))
    with Process(tmp_path, "models", *words) as shown:
        code, out, err = shown.end()
    assert (code, err) == (0, "")
    assert (
        "claude-haiku-4-5   Claude Haiku 4.5   -         argo:claude-4.5-haiku argo:claude-haiku-4.5 fast"
        in out
    )
    with Process(tmp_path, "models", "--json", *words) as shown:
        code, out, err = shown.end()
    rows = {row["id"]: row["aliases"] for row in json.loads(out)["models"]}
    assert rows["claude-opus-4-5"] == ["argo:claude-4.5-opus", "argo:claude-opus-4.5"]
    simulator.stop()
    failed = httpx.post(f"{family.url}/refresh")
    assert failed.status_code == 500
    assert failed.json()["message"].startswith("Refresh failed: ")
    assert "fast" in {one.id for one in ours.models.list()}, "what was known stays"
    with Process(tmp_path, "models", "--refresh", *words) as shown:
        code, out, err = shown.end()
    assert code == 0
    assert err.startswith("ferryman: the last fetch has failed: ")


def test_who_changes_no_name_asks_no_upstream_for_models(tmp_path: Path, line: Bench) -> None:
    upstream = line.upstream(answering(page(row("claude-x"))))
    env = {"ANTHROPIC_API_KEY": KEY, "FERRYMAN_UPSTREAM_URL": upstream.url}
    with Family(tmp_path, "--data-dir", str(tmp_path / "data"), env=env) as family:
        answer = httpx.get(f"{family.url}/v1/models")
        assert answer.headers["x-ferryman-mutations"] == "anthropic-version"
        assert len(upstream.requests) == 1
        words = ("-p", str(family.port), "--runtime-directory", str(tmp_path / "run"))
        with Process(tmp_path, "models", *words) as shown:
            code, out, _ = shown.end()
        assert code == 0
        assert "claude-x" in out
        assert len(upstream.requests) == 2


def test_models_are_shown_of_a_running_gateway_only(tmp_path: Path) -> None:
    with Process(tmp_path, "models", "-p", "1", "--runtime-directory", str(tmp_path)) as shown:
        code, _, err = shown.end()
    assert code == 1
    assert err.startswith("ferryman: nothing runs on port 1: ")


def test_refresh_wants_the_master_key_where_there_is_one(lone: Control) -> None:
    lists = ModelLists(lone.settings, lone.feeds, lone.clock)
    assert lists.routes()[0].path == "/refresh"
    key = lone.post("/key/generate")["key"]
    assert lone.send("POST", "/refresh", {}, key).status_code == 403
    assert lone.send("POST", "/refresh", {}, None).status_code == 401


def row(name: str, **more: object) -> dict[str, object]:
    """A model as Anthropic's list has it."""
    return {"type": "model", "id": name, "display_name": name.replace("-", " ").title(), **more}


def page(*rows: dict[str, object], after: str | None = None) -> bytes:
    return json.dumps({"data": rows, "has_more": after is not None, "last_id": after}).encode()


PAGES = [page(row("claude-a", n=1), after="claude a"), page(row("claude-b"))]


def test_pages_are_followed_with_the_servers_key_and_no_redirect(line: Bench) -> None:
    def script(connection: Connection) -> None:
        request = connection.request()
        connection.answer(PAGES[b"after_id" in request.line])

    upstream = line.upstream(script)
    lists = lists_of(upstream.url)
    assert asyncio.run(lists.refresh())
    assert [one.line.split()[1] for one in upstream.requests] == [
        b"/v1/models?limit=1000",
        b"/v1/models?limit=1000&after_id=claude%20a",
    ]
    assert [one.values(b"x-api-key") for one in upstream.requests] == [[KEY.encode()]] * 2
    assert [one.id for one in lists.told.models] == ["claude-a", "claude-b"]
    assert json.loads(bytes(lists.told.models[0].data))["n"] == 1
    assert lists.told.answers
    assert set(lists.parts) == {MODELS}


@pytest.mark.parametrize(
    ("body", "status", "headers", "reason"),
    [
        pytest.param(b"{}", 302, b"Location: http://127.0.0.1:1/\r\n", "answers 302", id="redirect"),
        pytest.param(b"{}", 401, b"", "answers 401", id="status"),
        pytest.param(b"<html>", 200, b"", "no list of models", id="no-json"),
        pytest.param(b'{"data":[1]}', 200, b"", "something else", id="no-models"),
        pytest.param(b" " * (MAX_LIST_BYTES + 1), 200, b"", "more than", id="too-large"),
    ],
)
def test_a_fetch_that_fails_keeps_what_was_known(
    line: Bench, body: bytes, status: int, headers: bytes, reason: str
) -> None:
    answers = [(PAGES[1], 200, b""), (body, status, headers)]

    def script(connection: Connection) -> None:
        connection.request()
        told, code, fields = answers.pop(0)
        connection.answer(told, status=code, headers=fields)

    upstream = line.upstream(script)
    lists = lists_of(upstream.url)

    async def twice() -> list[bool]:
        return [await lists.refresh(), await lists.refresh()]

    assert asyncio.run(twice()) == [True, False]
    assert reason in lists.problem
    assert [one.id for one in lists.told.models] == ["claude-b"]


def test_a_list_that_comes_too_slowly_is_given_up(line: Bench) -> None:
    lists = lists_of("http://unused")
    clock = lists._clock
    assert isinstance(clock, HeldClock)

    def script(connection: Connection) -> None:
        connection.request()
        clock.seconds += lists_module.LIST_SECONDS + 1
        connection.answer(PAGES[1])

    url = line.upstream(script).url
    lists._sources = [ModelSource("", (url,), {})]
    assert not asyncio.run(lists.refresh())
    assert "within 30 s" in lists.problem


def test_all_who_ask_at_once_share_one_fetch(line: Bench) -> None:
    asked_for, release = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        asked_for.set()
        assert release.wait(10)
        connection.answer(PAGES[1])

    upstream = line.upstream(script)
    lists = lists_of(upstream.url)

    async def many() -> list[bool]:
        asked = [asyncio.ensure_future(lists.refresh()) for _ in range(5)]
        assert await asyncio.to_thread(asked_for.wait, 10)
        release.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(many()) == [True] * 5
    assert len(upstream.requests) == 1


def test_a_start_waits_for_the_first_list_so_that_its_names_are_known(line: Bench) -> None:
    asked_for, release = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.request()
        asked_for.set()
        assert release.wait(10)
        connection.answer(PAGES[1])

    lists = lists_of(line.upstream(script).url)

    async def start() -> tuple[bool, int]:
        kept, first = asyncio.ensure_future(lists.keep()), asyncio.ensure_future(lists.first())
        assert await asyncio.to_thread(asked_for.wait, 10)
        waited = not first.done()
        release.set()
        await first
        kept.cancel()
        return waited, len(lists.told.models)

    assert asyncio.run(start()) == (True, 1)


@pytest.mark.parametrize("is_needed", [True, False])
def test_a_start_waits_for_no_list_that_does_not_come_or_is_not_needed(
    is_needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists_module, "FIRST_SECONDS", 0.01 if is_needed else 60.0)
    lists = lists_of("http://unused")
    lists.is_needed = is_needed
    asyncio.run(lists.first())
    assert lists.fetched_at is None


def test_a_list_that_is_not_at_the_first_place_is_looked_for_at_the_next(line: Bench) -> None:
    def script(connection: Connection) -> None:
        found = connection.request().line.startswith(b"GET /v1/")
        connection.answer(PAGES[1] if found else b"{}", status=200 if found else 404)

    upstream = line.upstream(script)
    lists = lists_of(upstream.url)
    lists._sources = [
        ModelSource("argo", (f"{upstream.url}/api/v1/models/", f"{upstream.url}/v1/models"), {})
    ]
    assert asyncio.run(lists.refresh())
    assert lists.told.models[0].upstream == "argo"


def test_of_several_upstreams_those_models_are_listed_that_requests_reach() -> None:
    sources = [ModelSource("a", ("u",), {}), ModelSource("b", ("u",), {}, ("gpt*",))]
    listed = {
        "a": [Model("claude-x", "Claude X 1", upstream="a"), Model("gpt-1", upstream="a")],
        "b": [Model("gpt-2", upstream="b"), Model("claude-x", upstream="b")],
    }
    told = merged(ModelList(aliases=ALIASES), sources, listed, answers=True)
    assert [(one.id, one.upstream) for one in told.models] == [("claude-x", "a"), ("gpt-2", "b")]
    assert told.made == {"argo:claude-x-1": "claude-x", "argo:claude-1-x": "claude-x"}
    assert (told.aliases, told.answers) == (ALIASES, True)


def test_what_workers_are_told_has_a_bound() -> None:
    many = [Model(f"claude-{n}", f"Claude M{n} {n}") for n in range(2 * MAX_MODELS)]
    told = merged(ModelList(), [ModelSource("", ("u",), {})], {"": many}, answers=True)
    assert len(told.models) == MAX_MODELS
    assert set(told.made.values()) <= {one.id for one in told.models}
    large = msgspec.Raw(json.dumps({"x": "y" * 4_000}).encode())
    told = msgspec.structs.replace(
        told, models=[msgspec.structs.replace(one, data=large) for one in told.models]
    )
    assert len(encoded(told)) < MAX_PART_BYTES // 2


@pytest.mark.parametrize(
    ("row", "model"),
    [
        ('{"id":"Claude Opus 4","internal_id":"claudeopus4"}', ("claudeopus4", "Claude Opus 4", "")),
        ('{"id":"claudeopus4","model_name":"Claude Opus 4"}', ("claudeopus4", "Claude Opus 4", "")),
        ('{"id":"gpt-4","object":"model","created":1}', ("gpt-4", "", "1970-01-01T00:00:01Z")),
        ('{"id":"x","type":"model","display_name":"X"}', ("x", "X", "")),
    ],
)
def test_lists_of_each_shape_are_read(row: str, model: tuple[str, str, str]) -> None:
    rows = f'[{row},null,{{"id":7}},{{"id":""}},{{"id":"a\\nb"}},{{"id":"{"x" * 201}"}}]'
    (found,) = page_in(f'{{"data":{rows}}}'.encode()).models
    assert (found.id, found.display_name, found.created_at) == model


def test_aliases_of_a_key_are_kept_shown_changed_and_told_to_workers(control: Control) -> None:
    made = control.post("/key/generate", {"aliases": {"fast": "claude-haiku-5-5"}})
    key = made["key"]
    assert made["aliases"] == {"fast": "claude-haiku-5-5"}
    assert control.get("/key/info", key=key)["info"]["aliases"] == {"fast": "claude-haiku-5-5"}
    spec = control.key_spec(key)
    assert spec is not None
    assert spec.aliases == {"fast": "claude-haiku-5-5"}
    control.post("/key/update", {"key": key, "rpm_limit": 5})
    assert control.get("/key/info", key=key)["info"]["aliases"] == {"fast": "claude-haiku-5-5"}
    assert control.post("/key/update", {"key": key, "aliases": None})["aliases"] == {}
    spec = control.key_spec(key)
    assert spec is not None
    assert spec.aliases == {}


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ({"": "x"}, "no name of a model"),
        ({"a": " b"}, "no name of a model"),
        ({"claude-opus-5-5": "claude-haiku-5-5"}, "speaks of one family"),
        ({f"a{n}": "b" for n in range(101)}, "at most 100"),
        ({"a": 1}, "`aliases`"),
        (["a"], "`aliases`"),
    ],
)
def test_aliases_of_a_key_that_cannot_be_used_are_refused(lone: Control, aliases: object, said: str) -> None:
    assert said in lone.refused("/key/generate", {"aliases": aliases})
