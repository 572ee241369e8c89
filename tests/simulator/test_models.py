"""The list of models."""

import anthropic
import httpx
import pytest

from ferryman.simulator.models import model_info
from ferryman.simulator.server import Server
from ferryman.simulator.settings import MODELS, SimulatorSettings

from .conftest import Client, body


def test_sdk_pages_through_all_models(sdk: anthropic.Anthropic) -> None:
    assert [model.id for model in sdk.models.list(limit=5)] == list(MODELS)


def test_pages_go_backwards_before_an_id(client: Client) -> None:
    page = client.request("GET", "/v1/models?limit=2", params={"before_id": MODELS[3], "limit": 2}).json()
    assert [model["id"] for model in page["data"]] == list(MODELS[1:3])
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, MODELS[1], MODELS[2])
    first = client.request("GET", "/v1/models", params={"before_id": MODELS[1]}).json()
    assert first["has_more"] is False


def test_page_holds_twenty_by_default_and_can_be_empty(client: Client) -> None:
    page = client.request("GET", "/v1/models").json()
    assert (len(page["data"]), page["has_more"]) == (20, True)
    empty = client.request("GET", "/v1/models", params={"after_id": MODELS[-1]}).json()
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_models_with_claude_codes_limit_come_on_one_page(client: Client) -> None:
    page = client.request("GET", "/v1/models?limit=1000").json()
    assert len(page["data"]) == len(MODELS)
    assert page["has_more"] is False


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "after_id=x", "before_id=x", "after_id=a&before_id=b"],
)
def test_bad_paging_is_refused(client: Client, query: str) -> None:
    answer = client.request("GET", f"/v1/models?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_one_model_is_found_by_id(sdk: anthropic.Anthropic) -> None:
    model = sdk.models.retrieve("claude-haiku-4-5-20251001")
    assert (model.type, model.display_name) == ("model", "Claude Haiku 4.5")
    assert model.created_at.isoformat() == "2025-10-01T00:00:00+00:00"
    with pytest.raises(anthropic.NotFoundError, match="model: claude-none"):
        sdk.models.retrieve("claude-none")


@pytest.mark.parametrize(
    ("model", "name", "created_at"),
    [
        ("claude-opus-5-5", "Claude Opus 5.5", "1970-01-01T00:00:00Z"),
        ("claude-mythos-preview", "Claude Mythos Preview", "1970-01-01T00:00:00Z"),
        ("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-01T00:00:00Z"),
    ],
)
def test_display_name_and_day_follow_from_the_id(model: str, name: str, created_at: str) -> None:
    info = model_info(model)
    assert (info["display_name"], info["created_at"]) == (name, created_at)


def test_argo_lists_models_for_everybody_and_takes_a_user() -> None:
    headers = {"x-api-key": "ann", "anthropic-version": "2023-06-01"}
    with (
        Server(SimulatorSettings(profile="argo", models=("claude-sonnet-4-5",))) as argo,
        httpx.Client(base_url=argo.url) as http,
    ):
        (row,) = http.get("/api/v1/models/").json()["data"]
        assert (row["id"], row["internal_id"]) == ("Claude Sonnet 4.5", "claude-sonnet-4-5")
        assert http.get("/v1/models", headers=headers).json()["data"] == [row]
        assert http.post("/v1/messages", json=body(user="ann"), headers=headers).status_code == 200
        assert http.post("/v1/messages", json=body(usr="ann"), headers=headers).status_code == 400


def test_what_only_argo_has_is_not_there(client: Client) -> None:
    assert client.request("GET", "/api/v1/models/").status_code == 404
    assert client.ask(user="ann").status_code == 400
