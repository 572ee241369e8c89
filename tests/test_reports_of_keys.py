"""What keys and teams have spent, as reports call them."""

from __future__ import annotations

from ferryman.model import Cost
from tests.support.control import Control
from tests.support.stores import entry

DAYS = {"start_date": "2026-11-20", "end_date": "2026-11-22"}


class Spent:
    """Two teams with two keys, one of them deleted, and a key in none; each has spent ten times the last."""

    def __init__(self, control: Control) -> None:
        self.control = control
        control.post("/team/new", {"team_id": "crew", "team_alias": "The crew"})
        control.post("/team/new", {"team_id": "dock"})
        asked = [
            {"key_alias": "first", "team_id": "crew"},
            {"team_id": "crew"},
            {"team_id": "dock"},
            {"key_alias": "alone"},
        ]
        self.texts = [control.post("/key/generate", one)["key"] for one in asked]
        self.ids = [control.get("/key/info", key=text)["key"] for text in self.texts]
        control.store.write.insert_entries(
            [
                entry(number, principal=key_id, model="opus", cost=Cost(10**number, "catalog", "r", []))
                for number, key_id in enumerate(self.ids)
            ]
        )
        control.post("/key/delete", {"keys": [self.texts[1]]})


def test_team_has_what_its_keys_have_spent_deleted_ones_too(control: Control) -> None:
    spent = Spent(control)
    (day,) = control.get("/global/spend/report", group_by="team", **DAYS)
    crew, dock, nobodys = day["teams"]
    assert [one["team_name"] for one in day["teams"]] == ["The crew", "dock", None]
    assert [one["cost_nanousd"] for one in day["teams"]] == [11, 100, 1_000]
    assert (crew["team_id"], dock["team_id"], nobodys["team_id"]) == ("crew", "dock", None)
    assert {one["api_key"]: one["cost_nanousd"] for one in crew["metadata"]} == {
        spent.ids[0]: 1, spent.ids[1]: 10
    }  # fmt: skip


def test_keys_are_called_by_their_names(control: Control) -> None:
    spent = Spent(control)
    alone, dock, gone, first = control.get("/spend/keys")
    assert (alone["token"], alone["key_alias"]) == (spent.ids[3], "alone")
    assert alone["key_name"] == f"sk-...{spent.texts[3][-4:]}"
    assert (dock["key_alias"], gone["key_name"]) == (None, f"sk-...{spent.texts[1][-4:]}")
    assert first["key_alias"] == "first"
    assert control.get("/global/spend/keys", limit=1, **DAYS)[0]["key_alias"] == "alone"
    by_key = control.get("/global/spend/report", group_by="api_key", api_key=spent.ids[0], **DAYS)
    assert [(one["api_key"], one["key_alias"]) for one in by_key] == [(spent.ids[0], "first")]
    (day,) = control.get("/user/daily/activity", **DAYS)["results"]
    metadata = day["breakdown"]["api_keys"][spent.ids[0]]["metadata"]
    assert (metadata["key_alias"], metadata["team_id"]) == ("first", "crew")


def test_reports_find_a_key_by_the_text_that_it_has_now(control: Control) -> None:
    spent = Spent(control)
    new = control.post(f"/key/{spent.ids[0]}/regenerate")["key"]
    for named in (new, spent.ids[0], spent.texts[0]):
        (row,) = control.get("/spend/logs", api_key=named)
        assert row["api_key"] == spent.ids[0]
        assert control.get("/spend/logs/v2", api_key=named)["total"] == 1
        (key,) = control.get("/global/spend/report", group_by="api_key", api_key=named, **DAYS)
        assert key["cost_nanousd"] == 1
        activity = control.get("/user/daily/activity", api_key=named, **DAYS)
        assert activity["metadata"]["total_cost_nanousd"] == 1
        asked = {"api_key": named, "startTime": "2026-11-20", "endTime": "2026-11-22"}
        (user,) = control.post("/global/spend/end_users", asked)
        assert user["cost_nanousd"] == 1
