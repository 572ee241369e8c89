"""Which resource a request is about, for every endpoint of the Claude API and for paths made to deceive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ferryman.errors import NotFound
from ferryman.relay.route import relayed
from ferryman.wire.owned import BATCHES, CLOSED, Resource, is_anthropics, resource_of

LINES = Path(__file__).with_name("data").joinpath("endpoints.txt").read_text("utf-8").splitlines()
ENDPOINTS = [tuple(line.split("\t")[:2]) for line in LINES if not line.startswith("#")]

OWNED = {
    *("agents", "deployment_runs", "deployments", "dreams", "environments", "files", "memory_stores"),
    *("messages/batches", "sessions", "skills", "tunnels", "user_profiles", "vaults"),
}
"""Every collection of Anthropic's in which resources are made by callers."""

NOBODYS = {"/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/{model_id}"}


def about(method: str, path: str) -> Resource | None:
    return resource_of(method.encode(), path.encode())


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_is_classified(method: str, path: str) -> None:
    found = about(method, path)
    if path in NOBODYS:
        assert found is None
        return
    assert found is not None
    if path.startswith("/v1/organizations/"):
        assert found.kind == "organization"
        return
    kind = next(one for one in OWNED if path == f"/v1/{one}" or path.startswith(f"/v1/{one}/"))
    within = path.removeprefix(f"/v1/{kind}").removeprefix("/")
    first, _, rest = within.partition("/")
    reads = {"GET": ("list", "read"), "POST": ("create", "change"), "DELETE": ("-", "delete")}
    verb = reads[method][bool(first)] if not (method == "DELETE" and rest) else "change"
    assert found == Resource(kind, first or None, verb, rest)
    assert (found.id is None) == (verb in {"list", "create"})


def test_every_collection_has_been_met() -> None:
    kinds = {found.kind for method, path in ENDPOINTS if (found := about(method, path)) is not None}
    assert kinds == OWNED | {"organization"}


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/v1/files/file_1?beta=true", Resource("files", "file_1", "read")),
        ("GET", "/v1/files/", Resource("files", None, "list")),
        ("HEAD", "/v1/files/file_1/", Resource("files", "file_1", "read")),
        ("GET", "/v1/%66iles/file%5F1", Resource("files", "file_1", "read")),
        ("GET", "/v1/files/file_1%3Fa", Resource("files", "file_1?a", "read")),
        ("GET", "/v1/m%65ssages/batches/b", Resource(BATCHES, "b", "read")),
        ("GET", "/v1/messages/batches/b/results", Resource(BATCHES, "b", "read", "results")),
        ("PUT", "/v1/files", Resource("files", None, "change")),
        ("PATCH", "/v1/files/f", Resource("files", "f", "change")),
        ("DELETE", "/v1/skills/s/versions/1", Resource("skills", "s", "change", "versions/1")),
        ("POST", "/v1/new_things", Resource("new_things", None, "create")),
        ("GET", "/v1/new_things/x/parts/y", Resource("new_things", "x", "read", "parts/y")),
        ("GET", "/v1/FILES/file_1", Resource("FILES", "file_1", "read")),
        ("GET", "/v1/%6Frganizations/me", Resource("organization", None, "list", "me")),
        ("GET", "/v1/Organizations/me", Resource("organization", None, "list", "me")),
        ("GET", "/v1/organizations;x/me", Resource("organization", None, "list", "me")),
        ("GET", "/v1/organizations%20/me", Resource("organization", None, "list", "me")),
        ("POST", "/v1/oauth/token", Resource("oauth", None, "create", "token")),
        ("GET", "/api/organizations", Resource("outside", None, "list")),
        ("GET", "/v2/files", Resource("outside", None, "list")),
        ("GET", "/v1", Resource("outside", None, "list")),
        ("GET", "/v1/files/%ff", Resource("files", "\\xff", "read")),
        ("POST", "/v1/Messages", None),
        ("GET", "/v1/models/claude/x", None),
    ],
)
def test_path_has_the_reading_of_the_upstream(method: str, target: str, expected: Resource | None) -> None:
    assert about(method, target) == expected


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_prefix_of_the_gateway_changes_nothing(method: str, path: str) -> None:
    target = re.sub(r"\{\w+\}", "id_1", path).encode()
    for prefix in (b"", b"/anthropic"):
        route = relayed(prefix + target, b"?beta=true", method.encode())
        assert resource_of(method.encode(), route.target) == about(method, target.decode())


def test_path_that_is_not_relayed_is_nobodys_business() -> None:
    with pytest.raises(NotFound):
        relayed(b"/v2/files", b"", b"GET")
    assert {"organization", "oauth", "outside"} == CLOSED


@pytest.mark.parametrize("name", ["pptx", "xlsx", "skill-creator", "pdf2"])
def test_skill_of_anthropics_own_is_everybodys(name: str) -> None:
    assert is_anthropics("skills", name)
    assert not is_anthropics("files", name)


@pytest.mark.parametrize("name", ["skill_01Ab", "", "Pptx", "pptx\n", "a" * 65, "pp tx", "pptx_1"])
def test_custom_skill_is_its_makers(name: str) -> None:
    assert not is_anthropics("skills", name)
