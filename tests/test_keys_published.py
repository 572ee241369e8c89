"""How changes of keys reach workers: at once, from other control planes, after a database was away."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.control.access import publish
from ferryman.errors import StoreUnavailable
from ferryman.limits.spec import part_of_scope
from ferryman.store.access import Actor, Change
from ferryman.store.access_look import KEYS, TEAMS, token_of
from ferryman.store.access_rows import Key, Team
from ferryman.store.store import Store
from tests.support.control import MASTER, Control
from tests.support.postgres import Server
from tests.support.processes import Family
from tests.support.stores import opened, sqlite_url
from tests.test_cli import Process

Start = Callable[..., Family]
META: dict[str, Any] = {
    "created_at_microseconds": 1,
    "created_by": "t",
    "updated_at_microseconds": 1,
    "updated_by": "t",
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(Family(tmp_path, *words, **more))


def test_answer_to_a_change_comes_when_the_worker_has_it(lone: Control) -> None:
    """No waiting in between: what is asked right after the answer is there already."""
    key = lone.post("/key/generate")["key"]
    for blocked in (True, False) * 10:
        lone.post("/key/block" if blocked else "/key/unblock", {"key": key})
        spec = lone.key_spec(key)
        assert spec is not None
        assert bool(spec.blocked) is blocked


def test_worker_that_does_not_answer_holds_up_a_change_for_a_second_at_most(lone: Control) -> None:
    state = lone.feeds.states[1]
    lone.feeds.states[2] = type(state)(2, 7, 0, 0, 0, 0)
    begun = time.monotonic()
    lone.post("/key/generate")
    assert publish.LIVE_SECONDS <= time.monotonic() - begun < publish.LIVE_SECONDS + 2


def test_other_control_planes_notice_what_one_changes(server: Server) -> None:
    url = server.database()
    with closing(opened(url)) as one, closing(opened(url)) as other:
        one.migrate()
        with Control(one) as first, Control(other) as second:
            key = first.post("/key/generate", {"rpm_limit": 1})["key"]
            assert second.key_spec(key) is None
            second.run(second.publisher.look())
            second.until(lambda: second.key_spec(key))
            assert second.scope(f"key:{token_of(key)}") is not None
            second.post("/key/block", {"key": key})
            first.run(first.publisher.look())
            first.until(lambda: (spec := first.key_spec(key)) is not None and spec.blocked)
            version = first.feeds.version
            first.run(first.publisher.look())
            assert first.feeds.version == version


def test_control_plane_that_has_missed_too_much_tells_everything(lone: Control) -> None:
    access = lone.store.access
    lone.publisher.revision = access.revision()
    key = Key(id="0" * 64, token="0" * 64, name="sk-...0000", **META)
    access.change(Actor("t"), 1, lambda change: change.add(KEYS, key))
    for number in range(3):
        access.change(Actor("t"), 1, partial(_blocked, number % 2 == 0))
    assert access.touched_since(0)[1] is not None
    with lone.store._engines.write.begin() as connection:
        connection.exec_driver_sql("DELETE FROM access_changes WHERE revision < 3")
    assert access.touched_since(0) == (4, None)
    assert access.touched_since(4) == (4, set())
    lone.run(lone.publisher.look())
    lone.until(lambda: "keys.00" in lone.parts())


def _blocked(blocked: bool, change: Change) -> object:  # for `partial`
    found = change.get(KEYS, "0" * 64)
    assert found is not None
    return change.replace(KEYS, found, blocked=blocked)


def test_change_of_a_team_touches_the_part_of_its_scope_however_many_keys_it_has(store: Store) -> None:
    access = store.access
    team = Team(id="red", **META)

    def made(change: Change) -> None:
        change.add(TEAMS, team)
        for number in range(50):
            token = token_of(str(number))
            team_id = "red" if number < 3 else None
            change.add(KEYS, Key(id=token, token=token, name="n", team_id=team_id, **META))

    access.change(Actor("t"), 1, made)
    cases: list[dict[str, Any]] = [
        {"models": ["a"]}, {"blocked": True}, {"rpm_limit": 1}, {"tags": ["x"]}, {"alias": "x"}
    ]  # fmt: skip
    for fields in cases:
        _, change = access.change(Actor("t"), 1, partial(_team, fields))
        assert change.parts == {part_of_scope("team:red")}


def _team(fields: dict[str, Any], change: Change) -> Change:
    red = change.get(TEAMS, "red")
    assert red is not None
    change.replace(TEAMS, red, **fields)
    return change


def test_worker_keeps_its_keys_until_the_database_is_back(server: Server) -> None:
    url = server.database()
    with closing(opened(url)) as store:
        store.migrate()
        with Control(store) as control:
            control.post("/key/generate")
            fresh = publish.Publisher(
                store, control.feeds, control.publisher._limits, control.publisher._rows
            )
            before = control.parts()
            server.stop()
            try:
                with pytest.raises(StoreUnavailable):
                    control.run(fresh.begin())
                response = control.send("GET", "/key/list")
                assert (response.status_code, response.headers["retry-after"]) == (503, "1")
                assert "the database cannot be read for now" in response.text
                assert control.send("GET", "/key/list", caller="sk-1").status_code == 503
                assert control.parts() == before
            finally:
                server.start()
            control.run(fresh.look())
            assert fresh.revision == 1


def test_keys_without_a_master_key_are_no_start(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    with closing(opened(url)) as store:
        store.migrate()
        with Control(store) as control:
            control.post("/key/generate")
    with Process(
        tmp_path, "-p", "0", "--database-url", url, "--runtime-directory", str(tmp_path / "r")
    ) as one:
        code, _, err = one.end(None)
    assert code == 2
    assert (
        "master_key: the database has 1 virtual keys, and without a master key nobody would be asked" in err
    )


def test_key_is_made_through_a_running_gateway(start: Start, tmp_path: Path) -> None:
    """LiteLLM's own words: `LITELLM_MASTER_KEY=sk-1234`, and `/key/generate` with `{}`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    family = start("--admin-port", str(port), env={"LITELLM_MASTER_KEY": MASTER})
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {MASTER}"}
    response = httpx.post(f"{url}/key/generate", headers=headers, json={})
    assert response.status_code == 200
    text = response.json()["key"]
    versions = {row["snapshot_version"] for row in family.rows() if row["role"] == "worker"}
    assert versions != {0}
    assert httpx.get(f"{url}/key/info", headers={"x-api-key": text}).json()["key"] == token_of(text)
    document = httpx.get(f"{url}/openapi.json", headers=headers).json()
    assert document["paths"]["/control/processes"]["get"]["summary"]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*"))
    assert text.encode() not in kept
