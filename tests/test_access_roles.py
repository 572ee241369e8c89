"""Who may call which of the control plane's paths, over real sockets; and what the audit log tells of it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from ferryman.control.access.desk import operations
from ferryman.control.app import Gate
from ferryman.control.callers import ASKS_BY_POST, Caller, check_role, is_console
from ferryman.errors import PermissionDenied
from tests.support.control import Control
from tests.support.gateway import HeldClock

ROLES = ("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer")
FOR_OWN = {"/key/info", "/key/list", "/key/aliases", "/user/info", "/openapi.json", "/api/oauth/usage"}
REGENERATE = {"/key/regenerate", "/key/{key}/regenerate"}


def served(control: Control) -> list[tuple[str, str]]:
    """Every method and path, as the OpenAPI document tells them."""
    paths = control.get("/openapi.json")["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def user_key(control: Control, role: str) -> str:
    return str(control.post("/user/new", {"user_id": role, "user_role": role})["key"])


def test_each_role_opens_what_is_for_it_and_no_more(lone: Control) -> None:
    keys = {role: user_key(lone, role) for role in ROLES}
    routes = served(lone)
    assert len(routes) > 60
    for method, path in routes:
        reads = method == "GET" or path in ASKS_BY_POST
        allowed = {"proxy_admin": True, "proxy_admin_viewer": reads}
        allowed["internal_user"] = path in FOR_OWN or path in REGENERATE
        allowed["internal_user_viewer"] = path in FOR_OWN
        for role, key in keys.items():
            if allowed[role]:
                continue  # what would be done is not wanted here
            response = lone.send(method, path.replace("{key}", key), caller=key)
            assert response.status_code == 403, f"{role} {method} {path}"
            error = response.json()["error"]
            assert error["type"] == "permission_error"
            assert "is for administrators" in error["message"]
            assert key not in response.text
            assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("role", ["admin", "viewer", "own", "own viewer"])
def test_role_is_decided_for_every_operation(role: str) -> None:
    for one in operations():
        caller = Caller(role, "key:a", "a")  # type: ignore[arg-type]  # one of the roles
        path = one.path.replace("{key}", "sk-1")
        allowed = role == "admin" or (role == "viewer" and (one.method == "GET" or path in ASKS_BY_POST))
        allowed |= one.method == "GET" and path in FOR_OWN
        allowed |= role == "own" and one.path in REGENERATE
        if allowed:
            check_role(caller, one.method, path)
        else:
            with pytest.raises(PermissionDenied):
                check_role(caller, one.method, path)


def test_own_keys_are_seen_and_no_others(lone: Control) -> None:
    ann, bob = user_key(lone, "internal_user"), lone.post("/user/new", {"user_id": "bob"})["key"]
    more = lone.post("/key/generate", {"user_id": "internal_user", "key_alias": "second"})["key"]
    nobodys = lone.post("/key/generate", {"key_alias": "nobody's"})["key"]
    assert lone.get("/key/info", caller=ann)["info"]["user_id"] == "internal_user"
    assert lone.get("/key/info", caller=ann, key=more)["info"]["key_alias"] == "second"
    assert lone.get("/key/list", caller=ann)["total_count"] == 2
    assert lone.get("/key/list", caller=nobodys)["total_count"] == 1
    assert lone.get("/key/aliases", caller=ann)["aliases"] == ["second"]
    told = lone.get("/user/info", caller=ann)
    assert (told["user_id"], len(told["keys"])) == ("internal_user", 2)
    said = set()
    for named in (bob, nobodys, "sk-that-nobody-has", "0" * 64):
        response = lone.send("GET", "/key/info", caller=ann, params={"key": named})
        assert response.status_code == 403
        said.add(response.json()["error"]["message"])
        assert lone.send("POST", f"/key/{named}/regenerate", {}, ann).status_code == 403
    assert len(said) == 1, "nobody learns which keys there are"
    assert lone.send("GET", "/user/info", caller=ann, params={"user_id": "bob"}).status_code == 403
    assert lone.send("GET", "/key/list", caller=ann, params={"status": "deleted"}).status_code == 403
    assert lone.get("/key/list", caller=ann, user_id="bob")["total_count"] == 0


def test_own_key_is_made_anew_without_other_changes(lone: Control) -> None:
    ann = user_key(lone, "internal_user")
    asked = {"max_budget": 1000}
    assert "`max_budget` can be changed by an administrator only" in lone.refused(
        "/key/regenerate", asked, 400, ann
    )
    new = lone.post("/key/regenerate", None, ann)["key"]
    assert lone.send("GET", "/key/info", caller=ann).status_code == 401
    assert lone.get("/key/info", caller=new)["info"]["rotation_count"] == 1


def test_key_that_is_blocked_expired_or_deleted_opens_nothing(lone: Control, clock: HeldClock) -> None:
    keys = [lone.post("/key/generate", {"duration": "60s"})["key"] for _ in range(3)]
    assert lone.get("/key/info", caller=keys[0])
    lone.post("/key/block", {"key": keys[0]})
    lone.post("/key/delete", {"keys": [keys[1]]})
    clock.seconds += 60
    for key in keys:
        response = lone.send("GET", "/key/info", caller=key)
        assert response.status_code == 401
        assert key not in response.text


def test_key_of_a_blocked_user_or_team_opens_nothing(lone: Control) -> None:
    admin = user_key(lone, "proxy_admin")
    lone.post("/team/new", {"team_id": "crew"})
    crews = lone.post("/key/generate", {"team_id": "crew"})["key"]
    assert lone.get("/key/list", caller=admin)["total_count"] == 2
    assert lone.get("/key/info", caller=crews)
    lone.post("/user/update", {"user_id": "proxy_admin", "blocked": True})
    lone.post("/team/block", {"team_id": "crew"})
    for key in (admin, crews):
        assert lone.send("GET", "/key/info", caller=key).status_code == 401
    assert lone.send("POST", "/key/generate", {}, admin).status_code == 401


@pytest.mark.parametrize("routes", [["/v1/messages"], ["llm_api_routes"], ["/v1/*"]])
def test_key_with_a_list_of_routes_administers_nothing_that_is_not_on_it(
    lone: Control, routes: list[str]
) -> None:
    lone.post("/user/new", {"user_id": "ann", "user_role": "proxy_admin", "auto_create_key": False})
    narrow = lone.post("/key/generate", {"user_id": "ann", "allowed_routes": routes})["key"]
    assert lone.get("/key/info", caller=narrow)["info"]["user_id"] == "ann"
    for path in ("/key/generate", "/key/regenerate", f"/key/{narrow}/regenerate", "/user/update"):
        said = lone.refused(path, {}, 403, narrow)
        assert "`allowed_routes` has what it may call" in said
        assert narrow not in said
    assert lone.send("GET", "/global/spend", caller=narrow).status_code == 403
    wider = lone.post("/key/generate", {"user_id": "ann", "allowed_routes": [*routes, "/key/*"]})["key"]
    assert lone.post("/key/generate", {}, wider)["key"]
    assert lone.send("GET", "/user/list", caller=wider).status_code == 403


def test_text_from_before_takes_no_key_away(lone: Control) -> None:
    old = user_key(lone, "internal_user")
    new = lone.post("/key/regenerate", {"grace_period": "1h"}, old)["key"]
    assert lone.get("/key/info", caller=old)["info"]["rotation_count"] == 1
    assert lone.send("POST", "/key/regenerate", {}, old).status_code == 403
    assert lone.post("/key/regenerate", {}, new)["key"]


def test_path_is_judged_as_it_is_routed_whatever_host_a_client_names() -> None:
    asked: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        asked.append(scope["path"])

    async def own(_credential: bytes) -> Caller:
        return Caller("own", "key:a", "a")

    async def send(message: Any) -> None:
        answers.append(message)

    answers: list[Any] = []
    headers = [(b"host", b"x/key/regenerate?"), (b"x-api-key", b"sk-a")]
    scope = {
        "type": "http", "method": "POST", "path": "/key/generate", "headers": headers, "client": ("a", 1),
        "query_string": b"",
    }  # fmt: skip
    asyncio.run(Gate(app, "sk-1234", HeldClock(), own)(scope, asyncio.Future, send))
    assert asked == []
    assert answers[0]["status"] == 403


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/refresh?x", b"x", 401), ("/key/list", b"x/refresh?", 401), ("/refresh", b"x", 200)],
)
def test_without_a_master_key_the_path_alone_tells_what_is_open(path: str, host: bytes, status: int) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        answers.append(message)

    answers: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": path, "headers": [(b"host", host)], "client": ("a", 1),
        "query_string": b"",
    }  # fmt: skip
    asyncio.run(Gate(app, None, HeldClock())(scope, asyncio.Future, send))
    assert answers[0]["status"] == status


@pytest.mark.parametrize("key", [None, "sk-12345", "1234", "Bearer sk-1234"])
def test_other_credentials_open_nothing(lone: Control, key: str | None) -> None:
    response = lone.send("GET", "/key/list", caller=key)
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


def test_master_key_cannot_be_a_virtual_key(lone: Control) -> None:
    lone.desk._master_key = b"sk-a-long-master-key"
    assert "is a key already" in lone.refused("/key/generate", {"key": "sk-a-long-master-key"})


def test_change_is_in_the_audit_log_with_who_what_before_and_after(control: Control) -> None:
    admin = user_key(control, "proxy_admin")
    admin_id = control.get("/key/info", key=admin)["key"]
    key = control.post("/key/generate", {"key_alias": "a", "max_budget": 1}, admin)["key"]
    control.post("/key/update", {"key": key, "max_budget": 2.5}, admin)
    control.post("/key/update", {"key": key, "max_budget": 2.5}, admin)  # which changes nothing
    control.post("/key/delete", {"keys": [key]})
    key_id = control.get("/key/list", status="deleted")["keys"][0]
    told = control.get("/audit", kind="key", object_id=key_id)
    assert (told["total_count"], told["total_pages"]) == (3, 1)
    gone, changed, made = told["audit"]
    assert [one["action"] for one in (made, changed, gone)] == ["create", "update", "delete"]
    assert [one["actor"] for one in (made, changed, gone)] == [
        f"key:{admin_id}", f"key:{admin_id}", "master key"
    ]  # fmt: skip
    assert (changed["before"], changed["after"]) == (
        {"max_budget_nanousd": 10**9}, {"max_budget_nanousd": 25 * 10**8}
    )  # fmt: skip
    assert (made["before"], made["after"]["alias"]) == (None, "a")
    assert (gone["before"]["alias"], gone["after"]) == ("a", None)
    assert made["client_address"] == "127.0.0.1"
    assert made["at"] == "2027-01-15T08:16:40Z"
    assert control.get("/audit", actor="master key", size=1)["audit"][0]["number"] == gone["number"]


def test_change_that_fails_leaves_nothing(control: Control) -> None:
    before = control.get("/audit")["total_count"]
    revision = control.store.access.revision()
    asked = {"user_id": "new", "team_id": "none"}
    control.refused("/key/generate", asked, 404)
    control.refused("/team/new", {"members_with_roles": [{"user_id": "x"}, {"role": "user"}]})
    assert control.get("/audit")["total_count"] == before
    assert control.get("/user/list")["total"] == 0
    assert control.store.access.revision() == revision


def test_no_key_stands_in_the_database(lone: Control, tmp_path: Path) -> None:
    """Nor in what is told of keys later on."""
    texts = [lone.post("/key/generate", {"key_alias": "a"})["key"]]
    texts.append(lone.post("/key/generate", {"key": "sk-my-own-and-very-secret"})["key"])
    texts.append(lone.post(f"/key/{texts[0]}/regenerate", {"grace_period": "1h"})["key"])
    texts.append(lone.post("/user/new", {"user_id": "ann"})["key"])
    lone.post("/key/update", {"key": texts[1], "metadata": {"a": 1}})
    lone.post("/key/bulk_update", {"keys": [{"key": texts[1], "rpm_limit": -1}, {"key": texts[1]}]})
    lone.post("/key/delete", {"keys": texts[1:2]})
    for path in ("/key/list?return_full_object=true", "/audit?size=100", "/user/info?user_id=ann"):
        answer = lone.send("GET", path).text
        assert not [text for text in texts if text in answer]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert b"access_keys" in kept
    for text in texts:
        assert text.encode() not in kept


def test_every_route_is_in_the_openapi_document(lone: Control) -> None:
    document = lone.get("/openapi.json")
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = {
        (method, route.path)  # type: ignore[attr-defined]  # all of them are `Route`
        for route in lone.app.routes
        if not is_console(route.path)  # type: ignore[attr-defined]  # the same; they are for people
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # the same
    }
    assert told == routes
    assert document["openapi"] == "3.1.0"
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()
    generate = document["components"]["schemas"]["GenerateKey"]["properties"]
    assert generate["max_budget"]["anyOf"][0]["type"] == "number"
    assert generate["rpm_limit"]["anyOf"][0] == {
        "type": "integer", "minimum": 0, "maximum": 2**53, "description": "a whole number, 0 or more"
    }  # fmt: skip
    (parameter,) = [
        one for one in document["paths"]["/key/list"]["get"]["parameters"] if one["name"] == "page"
    ]
    assert (parameter["in"], parameter["required"]) == ("query", False)


def test_operators_own_socket_needs_no_key(lone: Control, short: Path) -> None:
    """Who reaches it may do anything on this machine; the audit log tells them apart."""
    from ferryman.control.server import Server  # noqa: PLC0415  # as the process does it

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(short / "s"))
    server = Server(lone.app)
    lone.run(server.listen([sock]))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(short / "s")), base_url="http://c") as client:
        assert client.post("/key/generate", json={}).json()["created_by"] == "operator"
    lone.run(server.stop())
    assert lone.get("/audit", kind="key")["audit"][0]["actor"] == "operator"
