"""`ferryman keys`, `users`, `teams`, `budgets`: on a server that runs, and on the database before it does."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

from ferryman.cli.fields import FIELDS
from ferryman.cli.main import main
from ferryman.control.access import asked
from ferryman.process.directory import RuntimeDirectory
from tests.support.control import MASTER, Control
from tests.support.processes import Family
from tests.test_cli import environment

NOWHERE = "1"
"""A port on which nothing runs."""


class Cli:
    """Runs commands in this process, at home in a directory."""

    def __init__(self, directory: Path, *place: str, **more: str) -> None:
        self._place = place
        self._environment: dict[str, str | None] = dict(environment(directory, **more))
        self.err = ""

    def ended(self, *words: str, answer: str | None = None) -> tuple[int, str, str]:
        """Exit code and both outputs."""
        done = CliRunner().invoke(main, [*words, *self._place], env=self._environment, input=answer)
        return done.exit_code, done.stdout, done.stderr

    def out(self, *words: str) -> str:
        """The output of a command that succeeds."""
        code, out, self.err = self.ended(*words)
        assert code == 0, self.err
        return out

    def told(self, *words: str) -> Any:
        """The JSON of one that succeeds."""
        return json.loads(self.out(*words, "--format", "json"))

    def refused(self, *words: str, code: int = 1) -> str:
        """What one says that fails."""
        found, out, err = self.ended(*words)
        assert (found, out) == (code, "")
        return err


@pytest.fixture
def alone(tmp_path: Path) -> Cli:
    """Where no server runs, and none has run."""
    place = ["--port", NOWHERE, "--runtime-directory", str(tmp_path / "run")]
    return Cli(tmp_path, *place, "--data-dir", str(tmp_path / "data"), FERRYMAN_MASTER_KEY=MASTER)


@pytest.fixture
def remote(lone: Control, tmp_path: Path) -> Cli:
    """Of a gateway that is reached by its URL."""
    assert lone._client is not None
    return Cli(tmp_path, FERRYMAN_URL=str(lone._client.base_url), FERRYMAN_MASTER_KEY=MASTER)


def test_key_that_is_made_before_the_first_start_opens_the_gateway(alone: Cli, tmp_path: Path) -> None:
    key = alone.out("keys", "create", "--alias", "laptop", "--max-budget", "10", "-q").strip()
    assert key.startswith("sk-")
    assert str(tmp_path / "data" / "ferryman.db") in alone.err
    upstream = ["--upstream-url", "http://127.0.0.1:9", "--data-dir", str(tmp_path / "data")]
    with Family(tmp_path, *upstream, env={"FERRYMAN_MASTER_KEY": MASTER, "ANTHROPIC_API_KEY": "k"}) as family:
        place = ["--port", str(family.port), "--runtime-directory", str(tmp_path / "run")]
        running = Cli(tmp_path, *place)
        assert [row["key_alias"] for row in running.told("keys", "list")] == ["laptop"]
        assert running.err == ""
        made = running.out("keys", "create", "--user", "ann", "-q").strip()
        headers = {"authorization": f"Bearer {made}"}
        assert httpx.get(f"{family.url}/key/info", headers=headers).json()["info"]["user_id"] == "ann"
        assert httpx.get(f"{family.url}/v1/models", headers=headers).status_code == 502  # beyond the gate
        assert httpx.get(f"{family.url}/v1/models", headers={"x-api-key": "sk-other"}).status_code == 401
        running.out("keys", "block", made)
        assert httpx.get(f"{family.url}/v1/models", headers=headers).status_code == 401


def test_no_key_is_made_where_nobody_is_asked_for_one(tmp_path: Path) -> None:
    upstream = ["--upstream-url", "http://127.0.0.1:9", "--data-dir", str(tmp_path / "data")]
    env = {"ANTHROPIC_API_KEY": "k"}
    place = ["--runtime-directory", str(tmp_path / "run")]
    with Family(tmp_path, *upstream, env=env) as family:
        running = Cli(tmp_path, *place, "--port", str(family.port))
        assert "Set `master_key`" in running.refused("keys", "create")
        assert "Set `master_key`" in running.refused("users", "new", "ann")
        assert running.told("users", "list") == []
        running.out("users", "new", "bob", "--no-key")
    with Family(tmp_path, *upstream, env=env) as family:  # which starts again
        assert httpx.get(f"{family.url}/v1/models").status_code == 502


def test_new_key_is_shown_with_what_sets_clients_up(alone: Cli) -> None:
    out = alone.out("keys", "create", "--alias", "laptop")
    key = next(line.strip() for line in out.splitlines() if line.startswith("  sk-"))
    assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{NOWHERE} ANTHROPIC_AUTH_TOKEN={key} claude" in out
    assert f"export ANTHROPIC_API_KEY={key}" in out
    assert f"-H 'x-api-key: {key}'" in out
    assert key not in alone.out("keys", "list") + alone.out("keys", "info", key)
    socket = Cli(Path("/"), "--unix-socket", "/f.sock", "--data-dir", str(Path(alone._place[-1])))
    out = socket.out("keys", "rotate", "laptop")
    assert "curl --unix-socket /f.sock http://localhost/v1/messages" in out
    assert "set a `master_key` before the start" in socket.err
    assert "start Ferryman first" in alone.refused("keys", "reset-spend", "laptop")


def test_fields_of_a_key_are_set_changed_and_cleared(remote: Cli) -> None:
    team_id = remote.told("teams", "new", "--alias", "red")["team_id"]
    words = [
        *("--alias", "ci", "--team", "red", "--models", "claude-haiku-*,claude-opus-*", "--models", "x"),
        *("--duration", "30d", "--max-budget", "1.5", "--budget-duration", "1d", "--rpm-limit", "0"),
        *("--budget-limits", "7d=5", "--model-max-budget", "claude-opus-*=3/1d", "--model-max-budget", "x=1"),
        *("--model-rpm-limit", "x=2", "--metadata", '{"a": 1}', "--tags", "a,b", "--budget-hold", "ceiling"),
    ]
    row = remote.told("keys", "create", *words)
    assert row["key"].startswith("sk-")
    assert (row["team_id"], row["models"]) == (team_id, ["claude-haiku-*", "claude-opus-*", "x"])
    assert (row["max_budget"], row["budget_duration"], row["rpm_limit"]) == (1.5, "1d", 0)
    assert row["budget_limits"] == [{"budget_duration": "7d", "max_budget": 5.0}]
    assert row["model_max_budget"] == {
        "claude-opus-*": {"budget_limit": 3.0, "time_period": "1d"},
        "x": {"budget_limit": 1.0, "time_period": None},
    }
    assert (row["model_rpm_limit"], row["metadata"], row["tags"]) == ({"x": 2}, {"a": 1}, ["a", "b"])
    lines = remote.out("keys", "update", "ci", "--clear", "max_budget", "--clear", "tags").splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert (shown["rpm_limit"], shown["key_alias"], shown["budget_hold"]) == ("0", "ci", "ceiling")
    assert "max_budget" not in shown
    assert "tags" not in shown
    (line,) = remote.out("keys", "list", "--team", "red").splitlines()[2:]
    assert line.split()[:5] == ["ci", row["key_name"], "-", team_id, "until"]


def test_key_is_blocked_rotated_reset_and_deleted_by_its_alias(remote: Cli, lone: Control) -> None:
    first = remote.out("keys", "create", "--alias", "ci", "-q").strip()
    assert remote.out("keys", "block", "ci") == "ok: key `ci` is blocked\n"
    assert remote.told("keys", "list", "--status", "revoked")[0]["key_alias"] == "ci"
    assert remote.out("keys", "unblock", first) == "ok: key `ci` is not blocked any more\n"
    second = remote.out("keys", "rotate", "ci", "--grace-period", "1h", "-q").strip()
    assert second not in ("", first)
    assert {lone.get("/key/info", caller=key)["key"] for key in (first, second)} == {
        remote.told("keys", "info", "ci")["key"]
    }
    assert remote.out("keys", "reset-spend", "ci") == "ok: $0.00 before, $0.00 now\n"
    assert "at most the `0.0`" in remote.refused("keys", "reset-spend", "ci", "--to", "1")
    code, out, err = remote.ended("keys", "delete", "ci", answer="n\n")
    assert (code, out) == (1, "")
    assert err.endswith("nothing was changed.\n")
    assert remote.ended("keys", "delete", "ci", answer="y\n")[:2] == (0, "ok: 1 key deleted\n")
    assert remote.refused("keys", "info", "ci").startswith("Error: there is no key with the alias `ci`;")
    assert remote.out("keys", "list") == ""
    assert "deleted" in remote.out("keys", "list", "--status", "deleted")


def test_users_and_teams_come_and_go(remote: Cli) -> None:
    key = remote.out("users", "new", "ann", "--email", "ann@example.com", "--role", "internal_user", "-q")
    assert key.startswith("sk-")
    assert remote.told("users", "new", "bob", "--no-key")["key"] is None
    assert remote.out("teams", "new", "--alias", "red", "--max-budget", "100").startswith("team_id ")
    remote.out("teams", "add-member", "red", "ann@example.com", "--by-email", "--role", "admin")
    members = remote.told("teams", "add-member", "red", "bob")["members_with_roles"]
    assert members == [{"user_id": "ann", "role": "admin"}, {"user_id": "bob", "role": "user"}]
    assert remote.told("teams", "remove-member", "red", "bob")["members_with_roles"] == members[:1]
    assert "red" in remote.out("users", "info", "ann")
    assert remote.out("users", "update", "ann", "--max-budget", "2", "--no-blocked").count("$2.00") == 1
    assert {line.split()[0] for line in remote.out("users", "list").splitlines()[2:]} == {"ann", "bob"}
    remote.out("keys", "create", "--team", "red", "--alias", "ci")
    remote.out("users", "new", "cat", "--team", "red", "--key-alias", "cats")
    shown = dict(line.split(maxsplit=1) for line in remote.out("teams", "info", "red").splitlines())
    assert set(shown["keys"].split(", ")) == {"cats", "ci"}
    assert remote.out("teams", "block", "red") == "ok: team `red` is blocked\n"
    assert "blocked" in remote.out("teams", "list")
    remote.out("teams", "unblock", "red")
    assert remote.told("teams", "update", "red", "--clear", "max_budget")["data"]["max_budget"] is None
    assert remote.out("teams", "delete", "red", "--yes") == "ok: 1 deleted\n"
    assert remote.out("users", "delete", "ann", "bob", "cat", "--yes") == "ok: 3 deleted\n"
    assert remote.told("keys", "list") == []


def test_budget_is_made_given_and_deleted(remote: Cli) -> None:
    remote.out("budgets", "new", "std", "--max-budget", "5", "--budget-duration", "1d", "--rpm-limit", "1000")
    remote.out("keys", "create", "--alias", "ci", "--budget", "std")
    assert remote.told("budgets", "update", "std", "--max-budget", "6")["max_budget"] == 6.0
    assert remote.told("budgets", "info", "std")[0]["rpm_limit"] == 1000
    (line,) = remote.out("budgets", "list").splitlines()[2:]
    assert line.split() == ["std", "1d", "6.00", "1,000", "-", "-"]
    assert "is that of 1 keys" in remote.refused("budgets", "delete", "std", "--yes")
    remote.out("keys", "delete", "ci", "--yes")
    assert remote.out("budgets", "delete", "std", "--yes") == "ok: budget `std` deleted\n"
    assert remote.ended("budgets", "list") == (0, "", "ferryman: no budgets yet.\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "create", "--max-budget", "much"], 1, "`max_budget`: `\"much\"` cannot be used; wanted"),
        (["keys", "create", "--budget-limits", "5"], 2, "wanted one such as `1d=5`"),
        (["keys", "create", "--metadata", "[]"], 2, "wanted a JSON object"),
        (["keys", "update", "a"], 2, "nothing is to be changed"),
        (["keys", "create", "--key", MASTER], 2, "set FERRYMAN_MASTER_KEY"),
        (["keys", "list", "--url", "gateway"], 2, "wanted one such as `https://gateway.example.com`"),
        (["keys", "list", "--url", "http://a:b@c"], 2, "a credential in it"),
        (["keys", "list", "--url", "http://a/v1"], 2, "leave the path out"),
        (["keys", "list", "--url", "http://127.0.0.1:1"], 1, "no answer: Connection refused"),
        (["keys", "list"], 2, "there is no database"),
        (["users", "new", "--no-key", "-q"], 2, "leave out one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(alone: Cli, words: list[str], code: int, said: str) -> None:
    assert said in alone.refused(*words, code=code)


def test_gateway_elsewhere_asks_for_its_key(lone: Control, tmp_path: Path) -> None:
    assert lone._client is not None
    url = str(lone._client.base_url)
    assert "set FERRYMAN_MASTER_KEY" in Cli(tmp_path).refused("keys", "list", "--url", url, code=2)
    other = Cli(tmp_path, FERRYMAN_MASTER_KEY="sk-wrong")
    assert "needs the master key" in other.refused("keys", "list", "--url", url)


def test_gateway_that_does_not_answer_is_not_gone_around(alone: Cli, tmp_path: Path) -> None:
    alone.out("keys", "create")
    directory = RuntimeDirectory(tmp_path / "run" / NOWHERE)
    directory.claim()
    try:
        assert "its control plane does not answer" in alone.refused("keys", "list", code=3)
    finally:
        directory.release()


def test_database_of_another_version_is_left_alone(alone: Cli, tmp_path: Path) -> None:
    alone.out("keys", "create")
    with closing(sqlite3.connect(tmp_path / "data" / "ferryman.db")) as connection:
        connection.execute("update ferryman_version set version_num = 'r0000'")
        connection.commit()
    assert "is at revision `r0000`" in alone.refused("keys", "create", code=2)


def test_every_field_that_the_api_takes_has_an_option() -> None:
    groups = {name: main.commands[name] for name in ("keys", "users", "teams", "budgets")}
    apart = {"key", "new_key", "auto_create_key", "members_with_roles"}  # by words of their own
    for shape, group, word in (
        (asked.GenerateKey, "keys", "create"), (asked.UpdateKey, "keys", "update"),
        (asked.NewUser, "users", "new"), (asked.UpdateUser, "users", "update"),
        (asked.NewTeam, "teams", "new"), (asked.UpdateTeam, "teams", "update"),
        (asked.NewBudget, "budgets", "new"), (asked.UpdateBudget, "budgets", "update"),
    ):  # fmt: skip
        found = groups[group]
        assert isinstance(found, click.Group)
        named = {str(one.name) for one in found.commands[word].params} | {f"{group[:-1]}_id"}
        assert set(shape.__struct_fields__) - apart <= named
    assert all(field.help for field in FIELDS.values())
