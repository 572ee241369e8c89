"""Teams, users, customers, budgets and tags: LiteLLM's shapes, and what workers are told of them."""

from __future__ import annotations

import pytest

from ferryman.limits.spec import GATEWAY, Budget, Limit
from ferryman.model import Cost
from tests.support.control import Control
from tests.support.gateway import HeldClock
from tests.support.stores import entry


def cost(nanousd: int) -> Cost:
    return Cost(nanousd, "catalog", "r", [])


def test_team_holds_its_keys(control: Control) -> None:
    asked = {
        "team_alias": "red",
        "models": ["claude-haiku-*"],
        "max_budget": 100,
        "budget_duration": "1mo",
        "tpm_limit": 5,
        "members_with_roles": [{"role": "admin", "user_id": "ann"}],
        "metadata": {"a": 1},
        "tags": ["red"],
    }
    team = control.post("/team/new", asked)
    team_id = team["team_id"]
    assert {name: team[name] for name in asked} == asked
    assert (team["spend"], team["blocked"], team["organization_id"], team["admins"]) == (0.0, False, None, [])
    key = control.post("/key/generate", {"team_id": team_id, "models": ["all-team-models"]})["key"]
    spec = control.key_spec(key)
    assert spec is not None
    assert (spec.team_id, spec.models, spec.tags, spec.scopes) == (
        team_id, [["claude-haiku-*"]], ["red"], [f"team:{team_id}"]
    )  # fmt: skip
    scope = control.scope(f"team:{team_id}")
    assert scope is not None
    assert scope.shown == "team `red`"
    assert scope.budgets == [Budget(100 * 10**9, scope.budgets[0].row, "1mo", "2027-01-15")]
    assert scope.limits == [Limit("tokens", 5, scope.limits[0].row)]
    info = control.get("/team/info", team_id=team_id)
    assert (info["team_id"], info["team_info"]["team_alias"]) == (team_id, "red")
    assert [one["key_name"] for one in info["keys"]] == [f"sk-...{key[-4:]}"]
    assert info["team_info"]["budget_reset_at"] == "2027-02-01T00:00:00Z"
    assert info["team_memberships"] == []
    assert [one["team_id"] for one in control.get("/team/list")] == [team_id]


def test_change_of_a_team_reaches_its_keys(control: Control) -> None:
    team_id = control.post("/team/new", {"team_alias": "red"})["team_id"]
    key = control.post("/key/generate", {"team_id": team_id})["key"]
    assert control.post("/team/block", {"team_id": team_id})["blocked"] is True
    spec = control.key_spec(key)
    assert spec is not None
    assert spec.blocked == "The team `red` is blocked."
    assert control.post("/team/unblock", {"team_id": team_id})["blocked"] is False
    updated = control.post("/team/update", {"team_id": team_id, "models": ["a"], "rpm_limit": 1})
    assert (updated["team_id"], updated["data"]["models"]) == (team_id, ["a"])
    spec = control.key_spec(key)
    assert spec is not None
    assert (spec.blocked, spec.models, spec.scopes) == ("", [["a"]], [f"team:{team_id}"])
    assert control.post("/team/delete", {"team_ids": [team_id]}) == {"deleted_teams": [team_id]}
    assert control.key_spec(key) is None
    assert control.scope(f"team:{team_id}") is None
    assert control.get("/key/list", status="deleted")["total_count"] == 1


def test_members_come_and_go(control: Control) -> None:
    team_id = control.post("/team/new")["team_id"]
    control.post("/user/new", {"user_id": "bob", "user_email": "bob@example.com", "auto_create_key": False})
    members = [{"role": "admin", "user_id": "ann"}, {"user_email": "bob@example.com"}]
    told = control.post("/team/member_add", {"team_id": team_id, "member": members})
    assert told["members_with_roles"] == [
        {"user_id": "ann", "role": "admin"}, {"user_id": "bob", "role": "user"}
    ]  # fmt: skip
    assert told["updated_users"] == told["members_with_roles"]
    control.post("/team/member_add", {"team_id": team_id, "member": {"role": "user", "user_id": "cat"}})
    info = control.get("/user/info", user_id="bob")
    assert info["user_info"]["teams"] == [team_id] == [one["team_id"] for one in info["teams"]]
    asked = {"team_id": team_id, "user_email": "bob@example.com", "role": "admin"}
    assert control.post("/team/member_update", asked)["role"] == "admin"
    for member in ({"user_id": "a\0b"}, {"user_id": "x" * 300}, {"user_email": ""}):
        control.refused("/team/member_add", {"team_id": team_id, "member": member})
    assert control.post("/team/member_delete", {"team_id": team_id, "user_id": "ann"})
    assert control.post("/user/delete", {"user_ids": ["cat"]}) == 1
    members = control.get("/team/info", team_id=team_id)["team_info"]["members_with_roles"]
    assert members == [{"user_id": "bob", "role": "admin"}]
    assert [one["team_id"] for one in control.get("/team/list", user_id="bob")] == [team_id]
    assert control.get("/team/list", user_id="ann") == []
    assert "no member `ann`" in control.refused(
        "/team/member_delete", {"team_id": team_id, "user_id": "ann"}, 404
    )


def test_user_comes_with_a_key(control: Control) -> None:
    asked = {
        "user_id": "ann",
        "user_alias": "Ann",
        "user_email": "ann@example.com",
        "user_role": "internal_user",
        "max_budget": 3,
        "budget_duration": "7d",
        "models": ["claude-*"],
        "rpm_limit": 3,
    }
    user = control.post("/user/new", {**asked, "key_alias": "anns", "duration": "1d"})
    assert {name: user[name] for name in asked} == asked
    spec = control.key_spec(user["key"])
    assert spec is not None
    assert (spec.user_id, spec.alias, spec.models, spec.scopes) == (
        "ann", "anns", [["claude-*"]], ["user:ann"]
    )  # fmt: skip
    assert spec.expires_at is not None
    info = control.get("/user/info", user_id="ann")
    assert (info["user_id"], len(info["keys"]), info["user_info"]["user_alias"]) == ("ann", 1, "Ann")
    updated = control.post("/user/update", {"user_email": "ann@example.com", "max_budget": 4})
    assert (updated["user_id"], updated["data"]["max_budget"]) == ("ann", 4.0)
    page = control.get("/user/list", page_size=10)
    assert (page["total"], page["page"], page["total_pages"], page["users"][0]["key_count"]) == (1, 1, 1, 1)
    assert control.get("/user/list", user_email="nobody@example.com")["users"] == []
    assert "already" in control.refused("/user/new", {"user_id": "ann"})
    assert "another user has the address" in control.refused("/user/new", {"user_email": "ann@example.com"})
    assert control.post("/user/delete", {"user_ids": ["ann"]}) == 1
    assert control.key_spec(user["key"]) is None
    assert control.scope("user:ann") is None


def test_key_for_a_user_of_whom_nobody_has_heard_makes_them(control: Control) -> None:
    control.post("/key/generate", {"user_id": "zoe"})
    assert control.get("/user/info", user_id="zoe")["user_info"]["user_role"] == "internal_user"
    assert {one["kind"] for one in control.get("/audit")["audit"]} == {"user", "key"}


@pytest.mark.parametrize("prefix", ["/customer", "/end_user"])
def test_customer_has_a_budget_and_can_be_blocked(control: Control, prefix: str) -> None:
    made = control.post(f"{prefix}/new", {"user_id": "c", "alias": "C", "max_budget": 1})
    assert made.keys() >= {
        *("user_id", "blocked", "alias", "spend", "allowed_model_region", "default_model"),
        "litellm_budget_table",
    }
    scope = control.scope("customer:c")
    assert scope is not None
    assert (scope.shown, scope.budgets[0].cap_nanousd, scope.blocked) == ("customer `C`", 10**9, False)
    blocked = control.post(f"{prefix}/block", {"user_ids": ["c", "new"]})["blocked_users"]
    assert [(one["user_id"], one["blocked"]) for one in blocked] == [("c", True), ("new", True)]
    for name in ("c", "new"):
        scope = control.scope(f"customer:{name}")
        assert scope is not None
        assert scope.blocked
    control.post(f"{prefix}/unblock", {"user_ids": ["c", "new"]})
    assert control.scope("customer:new") is None
    assert control.get(f"{prefix}/info", end_user_id="c")["max_budget"] == 1
    updated = control.post(f"{prefix}/update", {"user_id": "c", "max_budget": 2})
    assert updated["max_budget"] == 2
    assert {one["user_id"] for one in control.get(f"{prefix}/list")} == {"c", "new"}
    assert control.post(f"{prefix}/delete", {"user_ids": ["c"]})["deleted_customers"] == 1
    assert control.scope("customer:c") is None


def test_customer_has_one_budget_at_most(lone: Control) -> None:
    lone.post("/budget/new", {"budget_id": "b", "max_budget": 1})
    both = {"user_id": "c", "max_budget": 1, "budget_id": "b"}
    assert "`max_budget` and `budget_id` exclude each other" in lone.refused("/customer/new", both)
    lone.post("/customer/new", {"user_id": "c", "budget_id": "b"})
    lone.post("/customer/update", {"user_id": "c", "models": []})
    assert "`models` is a field of LiteLLM that Ferryman does not serve" in lone.refused(
        "/customer/update", {"user_id": "c", "models": ["claude"]}
    )
    assert "exclude each other" in lone.refused("/customer/update", {"user_id": "c", "max_budget": 1})
    lone.post("/customer/update", {"user_id": "c", "max_budget": 1, "budget_id": None})


def test_budget_lends_its_terms(control: Control) -> None:
    asked = {"budget_id": "b", "max_budget": 5, "budget_duration": "1d", "rpm_limit": 7}
    made = control.post("/budget/new", asked)
    assert {name: made[name] for name in asked} == asked
    assert made.keys() >= {"soft_budget", "tpm_limit", "model_max_budget", "created_at", "updated_by"}
    keys = [control.post("/key/generate", {"budget_id": "b"}) for _ in range(3)]
    assert keys[0]["litellm_budget_table"]["max_budget"] == 5
    own = control.post("/key/generate", {"budget_id": "b", "max_budget": 1, "rpm_limit": 9})
    scope = control.scope(f"key:{own['token']}")
    assert scope is not None
    assert [(one.cap_nanousd, one.window) for one in scope.budgets] == [(10**9, "")]
    assert {one.what: one.amount for one in scope.limits} == {"requests": 9, "count_tokens": 90}
    control.post("/budget/update", {"budget_id": "b", "max_budget": 6})
    for key in keys:
        scope = control.scope(f"key:{key['token']}")
        assert scope is not None
        assert [(one.cap_nanousd, one.window) for one in scope.budgets] == [(6 * 10**9, "1d")]
        assert {one.what: one.amount for one in scope.limits} == {"requests": 7, "count_tokens": 70}
    assert [one["budget_id"] for one in control.post("/budget/info", {"budgets": ["b"]})] == ["b"]
    assert len(control.get("/budget/list")) == 1
    assert "is that of 4 keys" in control.refused("/budget/delete", {"id": "b"})
    control.post("/key/delete", {"keys": [one["key"] for one in (*keys, own)]})
    assert control.post("/budget/delete", {"id": "b"})["budget_id"] == "b"
    assert control.get("/budget/list") == []
    assert control.post("/budget/new")["budget_id"]


def test_tag_has_a_budget(control: Control) -> None:
    made = control.post("/tag/new", {"name": "nightly", "description": "by night", "max_budget": 1})
    assert made["message"] == "Tag nightly created successfully"
    assert (made["tag"]["name"], made["tag"]["description"]) == ("nightly", "by night")
    scope = control.scope("tag:nightly")
    assert scope is not None
    assert (scope.shown, scope.budgets[0].cap_nanousd) == ("tag `nightly`", 10**9)
    updated = control.post("/tag/update", {"name": "nightly", "max_budget": 2})
    assert updated["tag"]["max_budget"] == 2
    assert control.post("/tag/info", {"names": ["nightly"]})["nightly"]["max_budget"] == 2
    assert [one["name"] for one in control.get("/tag/list")] == ["nightly"]
    assert control.post("/tag/delete", {"name": "nightly"})["message"] == "Tag nightly deleted successfully"
    assert control.scope("tag:nightly") is None
    assert "there is no tag" in control.refused("/tag/info", {"names": ["nightly"]}, 404)


def test_spend_is_the_sum_of_the_ledger_until_it_is_reset(control: Control) -> None:
    team_id = control.post("/team/new")["team_id"]
    made = control.post("/key/generate", {"user_id": "ann", "team_id": team_id})
    key, key_id = made["key"], made["token"]
    told = [
        entry(1, principal=key_id, end_user="c", tags=["t"], cost=cost(1_500_000_000)),
        entry(2, principal=key_id, cost=cost(250_000_001)),
        entry(3, principal="other", cost=cost(7)),
    ]
    control.store.write.insert_entries(told)
    info = control.get("/key/info", key=key)["info"]
    assert (info["spend"], info["spend_nanousd"]) == (1.750000001, 1_750_000_001)
    assert control.get("/user/info", user_id="ann")["user_info"]["spend_nanousd"] == 1_750_000_001
    assert control.get("/team/info", team_id=team_id)["team_info"]["spend_nanousd"] == 1_750_000_001
    assert control.post("/customer/new", {"user_id": "c"})["spend"] == 1.5
    assert control.post("/tag/new", {"name": "t"})["tag"]["spend"] == 1.5
    assert "at most the `1.750000001`" in control.refused(f"/key/{key_id}/reset_spend", {"reset_to": 2})
    reset = control.post(f"/key/{key}/reset_spend", {"reset_to": 0.5})
    assert (reset["key_hash"], reset["spend"], reset["previous_spend"]) == (key_id, 0.5, 1.750000001)
    control.store.write.insert_entries([entry(4, principal=key_id, cost=cost(10**9))])
    assert control.get("/key/info", key=key)["info"]["spend"] == 1.5
    assert control.post(f"/key/{key}/reset_spend", {"reset_to": 0})["previous_spend"] == 1.5
    assert control.get("/key/info", key=key)["info"]["spend"] == 0
    assert control.get("/user/info", user_id="ann")["user_info"]["spend"] == 2.750000001
    control.post("/key/delete", {"keys": [key]})
    assert control.get("/team/info", team_id=team_id)["team_info"]["spend"] == 2.750000001


def test_nothing_is_told_of_those_without_limits(lone: Control, clock: HeldClock) -> None:
    assert clock.seconds
    for path, asked in (("/team/new", {}), ("/user/new", {"auto_create_key": False})):
        lone.post(path, asked)
    lone.post("/customer/new", {"user_id": "c"})
    lone.post("/tag/new", {"name": "t"})
    assert set(lone.parts()) == {"defaults"}
    assert lone.scope(GATEWAY) is None
