"""Virtual keys over HTTP with LiteLLM's names, on SQLite and on PostgreSQL, as far as to a worker's feed."""

from __future__ import annotations

import hashlib

import pytest

from ferryman.limits.spec import Budget, KeySpec, Limit
from ferryman.process.messages import MAX_SNAPSHOT_BYTES
from tests.support.control import MASTER, Control
from tests.support.gateway import HeldClock


def token(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


GENERATED = {
    *("key", "key_name", "key_alias", "token", "token_id", "expires", "duration", "models", "spend"),
    *("max_budget", "soft_budget", "budget_duration", "budget_id", "budget_limits", "user_id", "team_id"),
    *("max_parallel_requests", "tpm_limit", "rpm_limit", "model_rpm_limit", "model_tpm_limit"),
    *("model_max_budget", "metadata", "tags", "blocked", "allowed_routes", "permissions", "aliases"),
    *("config", "guardrails", "created_at", "created_by", "updated_at", "updated_by"),
    *("litellm_budget_table", "allowed_cache_controls"),
}
"""LiteLLM's fields in the answer of `/key/generate`."""


def test_key_is_made_of_nothing_and_told_once(control: Control) -> None:
    made = control.post("/key/generate")
    text = made["key"]
    assert text.startswith("sk-")
    assert len(text) == 27
    assert made["key_name"] == f"sk-...{text[-4:]}"
    assert made["token"] == made["token_id"] == token(text)
    assert made.keys() >= GENERATED
    assert (made["spend"], made["max_budget"], made["models"], made["blocked"]) == (0.0, None, [], False)
    told = control.get("/key/info", key=text)
    assert told["key"] == token(text)
    assert text not in str(told)
    assert control.get("/key/list")["keys"] == [token(text)]
    assert control.key_spec(text) == KeySpec(token=token(text), id=token(text))


ASKED: dict[str, object] = {
    "key_alias": "laptop",
    "duration": "1d",
    "models": ["claude-*", "anthropic/claude-haiku-5"],
    "max_budget": 10.000000001,
    "soft_budget": 5,
    "budget_duration": "30d",
    "budget_limits": [{"budget_duration": "1d", "max_budget": 1.5}],
    "budget_hold": "ceiling",
    "model_max_budget": {"claude-opus-*": {"budget_limit": 2, "time_period": "7d"}},
    "max_parallel_requests": 3,
    "tpm_limit": 1000,
    "rpm_limit": 10,
    "input_tpm_limit": 700,
    "output_tpm_limit": 300,
    "count_tokens_rpm_limit": 100,
    "model_rpm_limit": {"claude-opus-*": 5},
    "model_tpm_limit": {"claude-opus-*": 500},
    "metadata": {"note": [1, 2.50]},
    "tags": ["a"],
    "allowed_routes": ["/v1/messages"],
    "share": "all",
}


def test_key_has_the_fields_it_was_given(control: Control) -> None:
    made = control.post("/key/generate", ASKED)
    assert {name: made[name] for name in ASKED} == ASKED
    info = control.get("/key/info", key=made["token"])["info"]
    assert {name: info[name] for name in ASKED} == ASKED
    assert made["expires"] == "2027-01-16T08:16:40Z"
    key_id = made["token"]
    assert control.key_spec(made["key"]) == KeySpec(
        token=key_id,
        id=key_id,
        alias="laptop",
        expires_at=1_800_001_000.0 + 86_400,
        models=[["claude-*", "claude-haiku-5"]],
        routes=["/v1/messages"],
        tags=["a"],
        scopes=[f"key:{key_id}"],
        sees="all",
    )
    scope = control.scope(f"key:{key_id}")
    assert scope is not None
    assert scope.shown == "key `laptop`"
    day = "2027-01-15"
    budgets = {(one.model, one.window): one for one in scope.budgets}
    assert len({one.row for one in scope.budgets} | {one.row for one in scope.limits}) == 11
    assert budgets["", "30d"] == Budget(
        10_000_000_001, budgets["", "30d"].row, "30d", day, soft_nanousd=5 * 10**9, hold="ceiling"
    )
    assert budgets["", "1d"].cap_nanousd == 1_500_000_000
    assert budgets["claude-opus-*", "7d"].cap_nanousd == 2 * 10**9
    limits = {(one.what, one.model): one.amount for one in scope.limits}
    assert limits == {
        ("requests", ""): 10,
        ("tokens", ""): 1000,
        ("input_tokens", ""): 700,
        ("output_tokens", ""): 300,
        ("count_tokens", ""): 100,
        ("parallel", ""): 3,
        ("requests", "claude-opus-*"): 5,
        ("tokens", "claude-opus-*"): 500,
    }
    assert isinstance(scope.limits[0], Limit)


def test_update_changes_what_is_named_and_null_clears(control: Control) -> None:
    text = control.post("/key/generate", {"max_budget": 1, "rpm_limit": 5, "key_alias": "a"})["key"]
    updated = control.post("/key/update", {"key": text, "max_budget": None, "tpm_limit": 7})
    assert (updated["key"], updated["max_budget"], updated["tpm_limit"]) == (token(text), None, 7)
    assert (updated["rpm_limit"], updated["key_alias"]) == (5, "a")
    updated = control.post("/key/update", {"key": token(text), "duration": "60s", "rpm_limit": None})
    assert updated["expires"] == "2027-01-15T08:17:40Z"
    assert control.post("/key/update", {"key": text, "duration": "-1"})["expires"] is None
    updated = control.post("/key/update", {"key": text, "tpm_limit": None})
    spec = control.key_spec(text)
    assert spec is not None
    assert (spec.scopes, control.scope(f"key:{token(text)}")) == ([], None)


def test_blocked_key_is_told_so_and_back(control: Control) -> None:
    text = control.post("/key/generate", {"key_alias": "a"})["key"]
    assert control.post("/key/block", {"key": text})["blocked"] is True
    spec = control.key_spec(text)
    assert spec is not None
    assert spec.blocked == "The key `a` is blocked."
    assert control.get("/key/list", status="revoked")["keys"] == [token(text)]
    assert control.post("/key/unblock", {"key": token(text)})["blocked"] is False
    spec = control.key_spec(text)
    assert spec is not None
    assert spec.blocked == ""


def test_deleted_keys_are_gone_at_once_and_listed_as_such(control: Control) -> None:
    first, second, third = (
        control.post("/key/generate", {"key_alias": name})["key"] for name in ("a", "b", "c")
    )
    assert control.post("/key/delete", {"keys": [first]}) == {"deleted_keys": [token(first)]}
    assert control.post("/key/delete", {"key_aliases": ["b"]}) == {"deleted_keys": [token(second)]}
    assert control.key_spec(first) is None
    assert control.key_spec(second) is None
    assert control.key_spec(third) is not None
    assert control.refused("/key/delete", {"keys": [third, first]}, 404)
    assert control.key_spec(third) is not None, "all or none"
    assert set(control.get("/key/list", status="deleted")["keys"]) == {token(first), token(second)}
    again = control.post("/key/generate", {"key_alias": "a", "key": first})
    assert again["token"] == token(first)
    control.post("/key/delete", {"keys": [first]})


def test_regenerated_key_keeps_its_id_and_the_old_one_goes_on_for_its_grace(
    control: Control, clock: HeldClock
) -> None:
    first = control.post("/key/generate", {"rpm_limit": 5, "key_alias": "a"})["key"]
    made = control.post(f"/key/{token(first)}/regenerate", {"grace_period": "1h", "tpm_limit": 9})
    second = made["key"]
    assert second != first
    assert (made["token"], made["key_alias"], made["rpm_limit"], made["tpm_limit"]) == (
        token(first), "a", 5, 9
    )  # fmt: skip
    old, new = control.key_spec(first), control.key_spec(second)
    assert old is not None
    assert new is not None
    assert (old.id, new.id, old.expires_at, new.expires_at) == (
        token(first), token(first), clock.now() + 3600, None
    )  # fmt: skip
    for text in (first, second, token(first)):
        assert control.get("/key/info", key=text)["key"] == token(first)
    third = control.post("/key/regenerate", {"key": first, "new_key": "sk-0123456789abcdef"})
    assert third["key"] == "sk-0123456789abcdef"
    assert control.key_spec(first) is None
    assert control.key_spec(second) is None
    assert control.key_spec("sk-0123456789abcdef") is not None
    for text in (first, "sk-0123456789abcdef"):
        assert "is a key already" in control.refused("/key/generate", {"key": text})


def test_old_token_opens_the_management_paths_no_longer_than_its_grace(
    lone: Control, clock: HeldClock
) -> None:
    first = lone.post("/key/generate")["key"]
    lone.post(f"/key/{first}/regenerate", {"grace_period": "1h"})
    assert lone.get("/key/info", caller=first)["key"] == token(first)
    clock.seconds += 3600
    assert lone.send("GET", "/key/info", caller=first).status_code == 401


def test_bulk_update_does_what_it_can(control: Control) -> None:
    first, second = (control.post("/key/generate")["key"] for _ in range(2))
    asked = [
        {"key": first, "rpm_limit": 1},
        {"key": "sk-nobody-has-this-one", "rpm_limit": 1},
        {"key": second, "rpm_limit": -1},
    ]
    told = control.post("/key/bulk_update", {"keys": asked})
    assert told["total_requested"] == 3
    assert [one["key"] for one in told["successful_updates"]] == [token(first)]
    assert told["successful_updates"][0]["key_info"]["rpm_limit"] == 1
    assert [one["number"] for one in told["failed_updates"]] == [1, 2]
    assert "`rpm_limit`: `-1` cannot be used" in told["failed_updates"][1]["failed_reason"]
    assert "sk-nobody" not in str(told)


def test_lists_are_paged_filtered_and_sorted(control: Control, clock: HeldClock) -> None:
    texts = []
    for number in range(5):
        clock.seconds += 1
        more = {"user_id": "ann"} if number % 2 else {"key_alias": f"k{number}"}
        texts.append(control.post("/key/generate", more)["key"])
    tokens = [token(text) for text in texts]
    page = control.get("/key/list", page=1, size=2)
    assert page == {"keys": tokens[:2:-1], "total_count": 5, "current_page": 1, "total_pages": 3}
    assert control.get("/key/list", page=3, size=2)["keys"] == [tokens[0]]
    assert control.get("/key/list", user_id="ann")["keys"] == [tokens[3], tokens[1]]
    assert control.get("/key/list", key_alias="k2")["keys"] == [tokens[2]]
    assert control.get("/key/list", sort_order="asc", size=1)["keys"] == [tokens[0]]
    (full,) = control.get("/key/list", key_hash=tokens[4], return_full_object="true")["keys"]
    assert (full["token"], full["key_alias"], full["key_name"]) == (
        tokens[4], "k4", f"sk-...{texts[4][-4:]}"
    )  # fmt: skip
    assert control.get("/key/aliases")["aliases"] == ["k0", "k2", "k4"]
    both = control.post("/v2/key/info", {"keys": texts[:2]})
    assert both["key"] == tokens[:2]
    assert [one["key_alias"] for one in both["info"]] == ["k0", None]


def test_expired_keys_are_listed_as_such(lone: Control, clock: HeldClock) -> None:
    short = lone.post("/key/generate", {"duration": "30s"})["key"]
    long = lone.post("/key/generate", {"duration": "30h"})["key"]
    clock.seconds += 30
    assert lone.get("/key/list", status="expired")["keys"] == [token(short)]
    assert lone.get("/key/list", status="active")["keys"] == [token(long)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"key": "1234567890123456"}, "begins with `sk-` and has at least 16 characters"),
        ({"key": "sk-short"}, "`key`: this value cannot be used; wanted a text that begins with `sk-`"),
        ({"key": MASTER + "ä" * 20}, "this value cannot be used"),
        ({"max_budget": -0.01}, "`max_budget`: `-0.01` cannot be used; wanted dollars from 0"),
        ({"max_budget": "NaN"}, "`max_budget`: `NaN` cannot be used"),
        ({"max_budget": 1e10}, "`max_budget`: `10000000000.0` cannot be used"),
        ({"max_budget": [1]}, "`max_budget`: `[1]` cannot be used; wanted dollars, 0 or more"),
        ({"budget_duration": "1 month"}, "`budget_duration`: `1 month` cannot be used; wanted a duration"),
        ({"duration": "soon"}, "`duration`: `soon` cannot be used; wanted a duration"),
        ({"rpm_limit": -1}, "`rpm_limit`: `-1` cannot be used; wanted a whole number, 0 or more."),
        ({"rpm_limit": 1.5}, "`rpm_limit`: `1.5` cannot be used"),
        ({"models": "claude"}, '`models`: `"claude"` cannot be used; wanted a list'),
        ({"budget_hold": "none"}, "wanted `expected` or `ceiling`"),
        ({"budget_id": "none"}, "`budget_id`: there is no budget `none`."),
        ({"team_id": "none"}, "`team_id`: there is no team `none`."),
        ({"guardrails": ["pii"]}, "`guardrails` is a field of LiteLLM that Ferryman does not serve"),
        ({"permissions": {"a": True}}, "`permissions` is a field of LiteLLM that Ferryman does not serve"),
        ({"spend": 3}, "`spend` is a field of LiteLLM that Ferryman does not serve"),
        ({"key_alias": "a\x00"}, '`key_alias`: `"a\\u0000"` cannot be used; wanted a text of 1 to 256'),
        ({"user_id": "a\n"}, '`user_id`: `"a\\n"` cannot be used; wanted a text of 1 to 256'),
        ({"colour": "red"}, "`colour` is no field of this request; there are `max_budget`"),
        ({"allowed_routes": ["management_routes"]}, "`allowed_routes`: `management_routes` cannot be used"),
        ({"model_max_budget": {"a": {}}}, "`model_max_budget.a`: `budget_limit` is missing"),
    ],
)
def test_field_that_cannot_be_used_is_refused_by_name(
    lone: Control, asked: dict[str, object], message: str
) -> None:
    status = 404 if "there is no" in message else 400
    assert message in lone.refused("/key/generate", asked, status)
    assert lone.get("/key/list")["total_count"] == 0


def test_fields_of_litellm_without_a_value_are_taken(lone: Control) -> None:
    asked = {
        "guardrails": [],
        "permissions": {},
        "config": {},
        "aliases": {},
        "auto_rotate": False,
        "key_type": "default",
        "spend": 0,
        "organization_id": None,
        "rpm_limit_type": None,
        "models": [],
        "key_alias": None,
        "metadata": {},
        "max_budget": None,
    }
    assert lone.post("/key/generate", asked)["key_alias"] is None
    assert "`a` is no JSON" not in lone.refused("/key/generate", b"[1]")
    assert lone.refused("/key/generate", b"{").startswith("the body is no JSON object")


def test_alias_is_unique(control: Control) -> None:
    first = control.post("/key/generate", {"key_alias": "a"})["key"]
    assert "`key_alias`: another key has this alias already" in control.refused(
        "/key/generate", {"key_alias": "a"}
    )
    control.post("/key/update", {"key": first, "key_alias": "a", "rpm_limit": 1})


def test_key_that_nobody_has_is_never_told(lone: Control) -> None:
    for path in ("/key/update", "/key/block", "/key/sk-a-plain-text-of-a-key/regenerate"):
        said = lone.refused(path, {"key": "sk-a-plain-text-of-a-key"}, 404)
        assert "plain-text" not in said


def test_service_account_belongs_to_a_team_alone(lone: Control) -> None:
    team = lone.post("/team/new", {})["team_id"]
    assert "`team_id` is missing" in lone.refused("/key/service-account/generate", {})
    asked = {"team_id": team, "user_id": "ann"}
    assert "`user_id`" in lone.refused("/key/service-account/generate", asked)
    assert lone.post("/key/service-account/generate", {"team_id": team})["team_id"] == team


@pytest.mark.parametrize(
    ("asked", "amount"),
    [({"rpm_limit": 3}, 60), ({"rpm_limit": 50}, 500), ({"rpm_limit": 3, "count_tokens_rpm_limit": 2}, 2)],
)
def test_counting_tokens_has_a_looser_limit_unless_one_is_given(
    control: Control, asked: dict[str, int], amount: int
) -> None:
    made = control.post("/key/generate", asked)
    scope = control.scope(f"key:{made['token']}")
    assert scope is not None
    assert {one.what: one.amount for one in scope.limits}["count_tokens"] == amount


def test_no_key_is_made_that_workers_could_not_be_told_of(lone: Control) -> None:
    lone.feeds.size_bytes = MAX_SNAPSHOT_BYTES
    assert "there are as many keys, limits and budgets" in lone.refused("/key/generate", {})
    lone.feeds.size_bytes = 0
    lone.post("/key/generate")


def test_regenerating_does_not_lengthen_a_life(lone: Control, clock: HeldClock) -> None:
    made = lone.post("/key/generate", {"duration": "1d", "user_id": "ann"})
    clock.seconds += 3600
    assert lone.post("/key/regenerate", {}, made["key"])["expires"] == made["expires"]
