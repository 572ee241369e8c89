"""Bodies that are kept: handed over, stored, told to administrators, shown, and deleted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.clock import SystemClock
from ferryman.control.app import create_app
from ferryman.control.kept import Kept
from ferryman.control.ledger import Bookkeeper
from ferryman.control.redact import Redactor
from ferryman.control.server import Server
from ferryman.errors import Unavailable
from ferryman.process.messages import BODIES_PATH, BodiesTold, BodyCopy, KeptBodies
from ferryman.relay.bodies import MAX_HELD_BYTES, telling
from ferryman.simulator.server import Server as Simulator
from ferryman.store.bodies import Body
from ferryman.store.rows import microseconds
from ferryman.store.store import Store
from tests.console.visitor import Visitor
from tests.support.control import Control
from tests.support.metrics import samples, value
from tests.support.processes import Family, until
from tests.support.stores import NOON, entry, opened, sqlite_url

PROMPT = "the plans for the summer festival"
ANSWER = b'{"type":"message","content":[{"type":"text","text":"a fine plan"}],"usage":{"input_tokens":1}}'
MASTER = "sk-master-0123456789abcdefghij"


# ── in the store ──


def body(number: int, kind: str = "request", **more: Any) -> Body:
    one = entry(number)
    values = {"total_bytes": 9, "truncated": False, "redacted": True, "text": '{"a":"ü"}'} | more
    return Body(one.id, kind, microseconds(one.started_at), **values)  # type: ignore[arg-type]


def test_bodies_are_found_by_their_entry_and_told_twice_are_there_once(store: Store) -> None:
    both = [body(1), body(1, "response", text='"x"', truncated=True, redacted=False)]
    store.bodies.insert([*both, body(2)])
    store.bodies.insert(both)
    assert store.bodies.of(entry(1).id) == {"request": both[0], "response": both[1]}
    assert store.bodies.of(entry(2).id) == {"request": body(2)}
    assert store.bodies.of(entry(3).id) == {}
    store.bodies.insert([])


def test_old_bodies_are_deleted_some_at_a_time(store: Store) -> None:
    store.bodies.insert([body(number, kind) for number in range(5) for kind in ("request", "response")])
    moment = NOON + timedelta(minutes=3)
    steps = []
    while deleted := store.bodies.delete_before(moment, at_most=2):
        steps.append(deleted)
    assert sum(steps) == 6
    assert len(steps) > 1
    assert [bool(store.bodies.of(entry(number).id)) for number in range(5)] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("days", "entries_days", "stays"), [(7, None, True), (1, None, False), (7, 1, False)]
)
def test_bodies_go_when_their_time_is_over_and_never_after_their_entries(
    tmp_path: Path, days: int, entries_days: int | None, stays: bool
) -> None:
    class Later(SystemClock):
        def now(self) -> float:
            return (NOON + timedelta(days=3)).timestamp()

    store = opened(sqlite_url(tmp_path))
    books = Bookkeeper(tmp_path / "journal", store, Later(), retention_days=entries_days, bodies_days=days)
    books.migrate()
    store.bodies.insert([body(1)])
    while books.work():
        pass
    with closing(opened(sqlite_url(tmp_path))) as again:
        assert bool(again.bodies.of(entry(1).id)) is stays
    books.close()


# ── handed over, and told ──


def served(store: Store, directory: Path, work: Callable[[str], Any]) -> None:
    """Call `work` with the socket on which workers are believed."""

    async def run() -> None:
        kept = Kept(store, Redactor(["the-server-key"]))
        server = Server(create_app(kept.routes(), SystemClock()))
        path = str(directory / "control")
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        await server.listen([sock])
        await work(path)
        await server.stop()
        kept.close()

    asyncio.run(run())


async def handed_over(socket_path: str, exchanges: list[KeptBodies]) -> None:
    await telling(socket_path)(BodiesTold(exchanges))


def test_worker_hands_over_what_is_then_redacted_and_stored(store: Store, short: Path) -> None:
    data = json.dumps({"messages": "mail ann@example.org about the-server-key and " + PROMPT}).encode()
    exchanges = [
        KeptBodies(entry(1).id, 5.0, "redacted", BodyCopy(data, len(data)), BodyCopy(ANSWER, len(ANSWER))),
        KeptBodies(entry(2).id, 5.0, "full", BodyCopy(data, 9_999)),
    ]
    served(store, short, lambda path: handed_over(path, exchanges))
    first, second = (store.bodies.of(entry(number).id) for number in (1, 2))
    assert first["request"].text == f'{{"messages":"mail [e-mail address] about [key] and {PROMPT}"}}'
    assert first["request"].redacted
    assert json.loads(first["response"].text)["content"] == [{"type": "text", "text": "a fine plan"}]
    assert "ann@example.org" in second["request"].text
    assert "the-server-key" not in second["request"].text
    assert (second["request"].truncated, second["request"].total_bytes) == (True, 9_999)


def test_worker_hears_that_a_control_plane_does_not_take_them(tmp_path: Path) -> None:
    with pytest.raises((Unavailable, OSError)):
        asyncio.run(handed_over(str(tmp_path / "nothing"), []))


def test_one_entry_in_full_is_for_administrators(lone: Control) -> None:
    lone.store.write.insert_entries([entry(1, mutations="anthropic-version, images"), entry(2)])
    asked = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    lone.store.bodies.insert(
        [body(1, text=json.dumps(asked)), body(1, "response", text=ANSWER.decode(), truncated=True)]
    )
    path = f"/spend/logs/ui/{entry(1).id}"
    told = lone.get(path)
    assert told["request_id"] == entry(1).id
    assert told["mutations"] == "anthropic-version, images"
    assert told["proxy_server_request"] == asked
    assert told["messages"] == asked["messages"]
    assert told["response"] == json.loads(ANSWER)
    assert told["bodies"]["response"] == {"total_bytes": 9, "truncated": True, "redacted": True}
    without = lone.get(f"/spend/logs/ui/{entry(2).id}")
    assert [without[name] for name in ("messages", "response", "proxy_server_request", "bodies")] == [
        None,
        None,
        None,
        {},
    ]
    assert lone.send("GET", "/spend/logs/ui/none").status_code == 404
    for role, status in (("proxy_admin", 200), ("proxy_admin_viewer", 403), ("internal_user", 403)):
        key = str(lone.post("/user/new", {"user_id": role, "user_role": role})["key"])
        response = lone.send("GET", path, caller=key)
        assert response.status_code == status, role
        assert (PROMPT in response.text) is (status == 200)


def test_nobody_but_a_worker_may_put_bodies_in(lone: Control) -> None:
    assert "for Ferryman's workers" in lone.refused(BODIES_PATH, {"exchanges": []}, 403)


def test_key_says_whether_its_bodies_are_kept(control: Control) -> None:
    key = control.post("/key/generate", {"log_bodies": "redacted"})
    assert key["log_bodies"] == "redacted"
    told = control.key_spec(key["key"])
    assert told is not None
    assert told.log_bodies == "redacted"
    control.post("/key/update", {"key": key["key"], "log_bodies": None})
    assert control.get("/key/info", key=key["key"])["info"]["log_bodies"] is None
    assert "`off`, `redacted` or `full`" in control.refused("/key/generate", {"log_bodies": "yes"})


def test_page_of_a_request_shows_changes_and_bodies_to_administrators(lone: Control) -> None:
    lone.store.write.insert_entries([entry(1, mutations="images")])
    lone.store.bodies.insert([body(1, text='{"messages":"<script>alert(1)</script> ' + PROMPT + '"}')])
    viewer = str(lone.post("/user/new", {"user_id": "eve", "user_role": "proxy_admin_viewer"})["key"])
    lone.post("/user/new", {"user_id": "ada", "user_role": "proxy_admin", "auto_create_key": False})
    narrow = lone.post("/key/generate", {"user_id": "ada", "allowed_routes": ["/spend/logs/v2"]})["key"]
    for key, sees in ((None, True), (viewer, False), (narrow, False)):
        visitor = Visitor(lone)
        with visitor.http:
            visitor.sign_in(*([] if key is None else [key]))
            page = visitor.get(f"/ui/requests/{entry(1).id}")
        assert page.status_code == 200
        assert "<dd>images</dd>" in page.text
        assert (PROMPT in page.text) is sees
        assert "<script>alert" not in page.text
        assert ("What was asked" in page.text) is sees


# ── all of it ──


def written(directory: Path) -> bytes:
    """All that stands in files below a directory."""
    return b"\n".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


SECRET = "sk-ant-api03-somebodys-own-key-0123456789"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["off", "redacted"])
def test_prompts_stand_where_they_are_wanted_and_secrets_nowhere(short: Path, mode: str) -> None:
    env = {"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": "k", "FERRYMAN_LOG_BODIES": mode}
    message = {"model": "claude-sonnet-5-5", "max_tokens": 50}
    message["messages"] = [{"role": "user", "content": f"{PROMPT}, with {SECRET}"}]
    with Simulator() as upstream:
        words = ("--upstream-url", upstream.url, "--log-level", "debug", "--log-format", "json")
        with Family(short, *words, env=env) as family:
            headers = {"authorization": f"Bearer {MASTER}"}
            with httpx.Client(base_url=family.url, headers=headers, timeout=10, trust_env=False) as client:
                key = client.post("/key/generate", json={}).json()["key"]
                ids = []
                for stream in (False, True):
                    answer = client.post(
                        "/v1/messages",
                        json={**message, "stream": stream},
                        headers={"authorization": f"Bearer {key}"},
                    )
                    assert answer.status_code == 200
                    ids.append(answer.headers["x-ferryman-request-id"])
                told = [shown(client, one, mode) for one in ids]
            code, out, errors = family.end(signal.SIGTERM)
    assert code == 0
    log = "\n".join(json.dumps(message) for message in family.messages) + out + errors
    for secret in (SECRET, key, MASTER):
        assert secret.encode() not in written(short)
        assert secret not in log
    assert PROMPT not in log
    assert (PROMPT.encode() in written(short)) is (mode == "redacted")
    if mode == "redacted":
        for one in told:
            assert one["messages"][0]["content"] == f"{PROMPT}, with [key]"
            assert one["response"]["content"][0]["text"]
            assert one["response"]["stop_reason"]
            assert not one["bodies"]["response"]["truncated"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_bodies_that_are_dropped_are_counted_in_the_metrics(short: Path) -> None:
    env = {"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": "k", "FERRYMAN_LOG_BODIES": "full"}
    most_bytes = 4 << 20
    message = {"model": "claude-sonnet-5-5", "max_tokens": 5}
    message["messages"] = [{"role": "user", "content": "x" * most_bytes}]
    with Simulator() as upstream:
        words = ("--upstream-url", upstream.url, "--log-bodies-max-bytes", str(most_bytes))
        with Family(short, *words, env=env) as family:
            headers = {"authorization": f"Bearer {MASTER}"}
            with httpx.Client(base_url=family.url, headers=headers, timeout=20, trust_env=False) as client:
                key = client.post("/key/generate", json={}).json()["key"]

                def dropped() -> float:
                    return value(samples(client.get("/metrics").text), "ferryman_bodies_dropped_total")

                assert dropped() == 0
                control = family.pid("control")
                os.kill(control, signal.SIGSTOP)
                for _ in range(MAX_HELD_BYTES // most_bytes + 2):
                    answer = client.post("/v1/messages", json=message, headers={"x-ferryman-key": key})
                    assert answer.status_code == 200  # nobody waits, and none fails
                os.kill(control, signal.SIGCONT)
                # What a copy takes beside its bodies leaves no room for the last three.
                until(lambda: dropped() == 3, "told")


def shown(client: httpx.Client, entry_id: str, mode: str) -> dict[str, Any]:
    """An entry in full, once all of it is stored."""

    def found() -> dict[str, Any] | None:
        answer = client.get(f"/spend/logs/ui/{entry_id}")
        if answer.status_code != 200:
            return None
        told: dict[str, Any] = answer.json()
        return told if mode == "off" or len(told["bodies"]) == 2 else None

    told = until(found, "stored")
    assert told is not None
    return told
