"""What is done on the console's pages, as the management API then tells it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ferryman.store.access_look import token_of
from tests.console.visitor import Visitor, foreseen, held
from tests.support.control import Control
from tests.support.stores import entry


def test_the_text_of_a_key_is_told_once(lone: Control, visitor: Visitor) -> None:
    visitor.sign_in()
    fields = {
        "key_alias": "laptop",
        "max_budget": "$1,000.50",
        "budget_duration": "30d",
        "models": "claude-*, x",
    }
    made = visitor.post("/ui/keys/new", fields, page="/ui/keys/new")
    text = re.search(r'id="secret">(sk-[\w-]+)<', made.text)
    assert text is not None
    assert made.headers["cache-control"] == "no-store"
    assert made.text.count(text[1]) == 6  # itself, and in the snippets for four clients
    token = token_of(text[1])
    told = lone.get("/key/info", key=token)["info"]
    assert (told["max_budget"], told["models"]) == (1000.5, ["claude-*", "x"])
    for path in ("/ui/keys", f"/ui/keys/{token}", "/ui/audit"):
        assert text[1] not in visitor.get(path).text
    assert lone.get("/audit")["audit"][0]["actor"] == "master key"


def test_an_error_of_the_api_stands_above_the_form_as_it_was_filled_in(
    lone: Control, visitor: Visitor
) -> None:
    lone.post("/key/generate", {"key_alias": "laptop"})
    visitor.sign_in()
    answer = visitor.post("/ui/keys/new", {"key_alias": "laptop", "max_budget": "7"}, page="/ui/keys/new")
    assert answer.status_code == 400
    assert "another key has this alias already" in answer.text
    assert 'value="7"' in answer.text
    wrong = visitor.post("/ui/keys/new", {"rpm_limit": "many"}, page="/ui/keys/new")
    assert "`rpm_limit`: `&#34;many&#34;` cannot be used" in wrong.text


def test_a_key_is_changed_blocked_and_deleted(lone: Control, visitor: Visitor) -> None:
    token = lone.post("/key/generate", {"key_alias": "a", "max_budget": 5, "tags": ["x"]})["token"]
    visitor.sign_in()
    here = f"/ui/keys/{token}"
    fields = {"key_alias": "b", "max_budget": "", "tags": "", "rpm_limit": "1,000"}
    saved = visitor.post(here, fields, page=here, follow_redirects=True)
    assert "Saved. The workers have been told." in saved.text
    told = lone.get("/key/info", key=token)["info"]
    assert [told[name] for name in ("key_alias", "max_budget", "tags", "rpm_limit")] == [
        "b",
        None,
        None,
        1000,
    ]
    visitor.post(f"{here}/block", page=here)
    assert lone.get("/key/info", key=token)["info"]["blocked"] is True
    visitor.post(f"{here}/unblock", page=here)
    assert lone.get("/key/info", key=token)["info"]["blocked"] is False
    visitor.post(f"{here}/delete", page=here)
    assert visitor.get(here).status_code == 404
    assert "b" in visitor.get("/ui/keys?status=deleted").text


def test_teams_users_and_budgets_are_made_changed_and_deleted(lone: Control, visitor: Visitor) -> None:
    visitor.sign_in()
    for kind, name, fields in (
        ("budgets", "small", {"budget_id": "small", "max_budget": "3"}),
        ("teams", "core", {"team_id": "core", "budget_id": "small"}),
        ("users", "ann", {"user_id": "ann", "user_email": "ann@example.org"}),
    ):
        page = f"/ui/{kind}/new"
        made = visitor.post(page, fields, page=page)
        assert (made.status_code, made.headers.get("location")) == (303, f"/ui/{kind}/{name}?done=created")
        here = f"/ui/{kind}/{name}"
        assert visitor.post(here, {"rpm_limit": "9"}, page=here).status_code == 303
        assert 'value="9"' in visitor.get(here).text
        twice = visitor.post(page, fields, page=page)
        assert twice.status_code == 400
        assert "already" in twice.text
    members = {"user_id": "ann", "role": "admin"}
    visitor.post("/ui/teams/core/members", members, page="/ui/teams/core")
    assert lone.get("/team/info", team_id="core")["team_info"]["members_with_roles"] == [members]
    visitor.post("/ui/teams/core/members", {"user_id": "ann", "deed": "remove"}, page="/ui/teams/core")
    assert lone.get("/team/info", team_id="core")["team_info"]["members_with_roles"] == []
    visitor.post("/ui/teams/core/block", page="/ui/teams/core")
    assert lone.get("/team/info", team_id="core")["team_info"]["blocked"] is True
    refused = visitor.post("/ui/budgets/small/delete", page="/ui/budgets/small")
    assert "would be without limits" in refused.text
    for here in ("/ui/teams/core", "/ui/users/ann", "/ui/budgets/small"):
        assert visitor.post(f"{here}/delete", page=here).status_code == 303
        assert visitor.get(here).status_code == 404


def test_requests_go_page_by_page_and_as_a_file(lone: Control, visitor: Visitor) -> None:
    lone.store.write.insert_entries([entry(number, model="=cmd()") for number in range(120)])
    visitor.sign_in()
    seen: list[str] = []
    path: str | None = "/ui/requests?model=%3Dcmd%28%29"
    while path is not None:
        page = visitor.get(path).text
        seen += re.findall(r'data-id="([^"]+)"', page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        path = None if older is None else older[1].replace("&amp;", "&")
    assert seen == [entry(number).id for number in reversed(range(120))]
    table = visitor.get("/ui/requests.csv").text.splitlines()
    assert len(table) == 121
    assert "'=cmd()" in table[1]
    wrong = visitor.get("/ui/requests?min_spend=much")
    assert wrong.status_code == 400
    assert "`min_spend`" in wrong.text


def test_a_model_without_a_price_is_priced_anew(lone: Control, visitor: Visitor) -> None:
    held(lone).seconds -= 1_800_000_000 - 1_795_300_000  # some days after the entries
    visitor.sign_in()
    lone.store.write.insert_entries([entry(number, model="claude-nightly-9") for number in range(3)])
    assert "claude-nightly-9" in visitor.get("/ui/models").text
    done = visitor.post("/ui/models/reprice", {"model": "claude-nightly-9"}, page="/ui/models")
    assert "3 entries of claude-nightly-9 looked at, 3 changed" in done.text
    again = visitor.post("/ui/models/reprice", {"model": "claude-nightly-9"}, page="/ui/models")
    assert "0 changed" in again.text
    (told,) = lone.get("/audit", kind="model")["audit"]
    assert (told["action"], told["object_id"], told["actor"]) == (
        "repriced",
        "claude-nightly-9",
        "master key",
    )
    assert told["after"]["cost_nanousd"] > told["before"]["cost_nanousd"]
    page = visitor.get("/ui/audit?kind=model").text
    assert "repriced model" in page
    assert '<option value="model" selected' in page


def test_who_may_not_ask_for_spend_prices_nothing_anew(lone: Control, visitor: Visitor) -> None:
    held(lone).seconds -= 1_800_000_000 - 1_795_300_000
    lone.post("/user/new", {"user_id": "eve", "user_role": "proxy_admin", "auto_create_key": False})
    key = lone.post("/key/generate", {"user_id": "eve", "allowed_routes": ["/v1/messages"]})
    made = entry(1, model="claude-nightly-9")
    lone.store.write.insert_entries([made])
    visitor.sign_in(key["key"])
    asked = visitor.post("/ui/models/reprice", {"model": "claude-nightly-9"}, page="/ui/setup")
    assert asked.status_code == 403
    assert lone.store.read.entry(made.id).cost is None  # type: ignore[union-attr]  # it is there
    assert not lone.get("/audit", kind="model")["audit"]


def test_a_page_without_its_database_says_so(lone: Control, visitor: Visitor, tmp_path: Path) -> None:
    visitor.sign_in()
    foreseen(lone)  # what is asked after the first answer holds no connection any more
    lone.store.close()
    for path in tmp_path.glob("test.db*"):
        path.unlink()
    (tmp_path / "test.db").mkdir()
    answer = visitor.get("/ui/requests")
    assert answer.status_code == 503
    assert "The database is away" in answer.text
    health = visitor.get("/ui/health")
    assert health.status_code == 200
    assert ">away<" in health.text


@pytest.mark.parametrize("page", ["9" * 4_301, "0", "one"])
@pytest.mark.parametrize("path", ["/ui/keys", "/ui/teams", "/ui/users", "/ui/budgets", "/ui/audit"])
def test_a_page_with_a_number_that_none_has_is_refused(visitor: Visitor, path: str, page: str) -> None:
    visitor.sign_in()
    answer = visitor.get(path, params={"page": page})
    assert answer.status_code == 400
    assert "wanted a number from 1 on" in answer.text


def test_an_id_with_signs_of_addresses_leads_to_its_own_page(visitor: Visitor) -> None:
    visitor.sign_in()
    made = visitor.post("/ui/users/new", {"user_id": "what?#%78"}, page="/ui/users/new")
    here = "/ui/users/what%3F%23%2578"
    assert made.headers["location"] == f"{here}?done=created"
    assert visitor.post(f"{here}/block", page=here).headers["location"] == f"{here}?done=blocked"
    assert "what?#%78" in visitor.get(made.headers["location"]).text


@pytest.mark.parametrize("name", ["principal", "tag", "model"])
def test_a_filter_that_no_database_can_look_for_is_refused(control: Control, name: str) -> None:
    visitor = Visitor(control)
    with visitor.http:
        visitor.sign_in()
        for path in ("/ui/requests", "/ui/requests.csv"):
            answer = visitor.get(path, params={name: "a\0b"})
            assert answer.status_code == 400
            assert f"`{name}` has no value that can be looked for" in answer.text
