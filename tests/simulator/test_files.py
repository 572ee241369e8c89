"""Files, by the official SDK where it can say it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx
import pytest

from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings

from .conftest import Client

NOON = datetime(2027, 1, 2, 12, tzinfo=UTC)
BYTES = bytes(range(256)) + b"\r\n--\r\n\r\n--x" * 3
FREE = {"x-simulator": "downloadable"}
BETA = ["files-api-2025-04-14"]


@pytest.fixture
def server() -> Iterator[Server]:
    """A simulator of its own, so that it has no files but those of the test; its clock stands."""
    with Server() as running:
        running.clock.hold(NOON)
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as made:
        yield made


@pytest.fixture
def sdk(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="key", max_retries=0) as made:
        yield made


def upload(sdk: anthropic.Anthropic, name: str = "a.bin", data: bytes = BYTES, **more: Any) -> Any:
    return sdk.files.upload(file=(name, data, "application/pdf"), extra_headers=FREE, **more)


def test_file_goes_up_and_comes_back(sdk: anthropic.Anthropic) -> None:
    made = upload(sdk)
    assert made.id.startswith("file_01")
    assert (made.filename, made.mime_type, made.size_bytes) == ("a.bin", "application/pdf", len(BYTES))
    assert (made.created_at, made.downloadable, made.expires_at, made.type) == (NOON, True, None, "file")
    assert sdk.files.retrieve_metadata(made.id) == made
    assert sdk.files.download(made.id).read() == BYTES
    deleted = sdk.files.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "file_deleted")
    for gone in (sdk.files.retrieve_metadata, sdk.files.download, sdk.files.delete):
        with pytest.raises(anthropic.NotFoundError):
            gone(made.id)


def test_beta_client_has_the_same_files(sdk: anthropic.Anthropic) -> None:
    made = sdk.beta.files.upload(file=("a.txt", b"", "text/plain"), betas=BETA)
    assert [file.id for file in sdk.beta.files.list(betas=BETA)] == [made.id]
    assert sdk.beta.files.retrieve_metadata(made.id, betas=BETA).size_bytes == 0
    assert sdk.beta.files.delete(made.id, betas=BETA).id == made.id


def test_uploaded_file_cannot_be_downloaded_unless_it_is_wished(sdk: anthropic.Anthropic) -> None:
    made = sdk.files.upload(file=("a.txt", b"hello", "text/plain"))
    assert made.downloadable is False
    with pytest.raises(anthropic.BadRequestError) as refused:
        sdk.files.download(made.id)
    assert refused.value.error_code == "file_not_downloadable"


def test_content_of_a_file_expires(sdk: anthropic.Anthropic, server: Server) -> None:
    made = upload(sdk, expires_in_seconds=3_600)
    assert made.expires_at == NOON + timedelta(hours=1)
    server.clock.advance(3_599)
    assert sdk.files.download(made.id).read() == BYTES
    server.clock.advance(1)
    with pytest.raises(anthropic.NotFoundError) as refused:
        sdk.files.download(made.id)
    assert refused.value.error_code == "file_expired"


def test_sdk_pages_through_all_files_newest_first(sdk: anthropic.Anthropic) -> None:
    made = [upload(sdk, f"{number}.txt").id for number in range(5)]
    assert [file.id for file in sdk.files.list(limit=2)] == made[::-1]
    assert [file.id for file in sdk.files.list(ids=[made[1], "file_gone", made[1]])] == [made[1]]
    assert sdk.files.list(limit=5).next_page is None


def test_files_are_paged_as_clients_of_the_beta_do(sdk: anthropic.Anthropic, client: Client) -> None:
    made = [upload(sdk, f"{number}.txt").id for number in range(3)]

    def page(query: str) -> tuple[list[str], bool]:
        found = client.request("GET", f"/v1/files?{query}").json()
        ids = [one["id"] for one in found["data"]]
        assert (found["first_id"], found["last_id"]) == (ids[0], ids[-1])
        return ids, found["has_more"]

    assert page("limit=2") == ([made[2], made[1]], True)
    assert page(f"limit=2&after_id={made[1]}") == ([made[0]], False)
    assert page(f"limit=1&before_id={made[0]}") == ([made[1]], True)


@pytest.mark.parametrize(
    "query",
    ["page=page_x", "page=page_x&after_id=y", "ids[]=a&limit=2", "&".join(f"ids={n}" for n in range(101))],
)
def test_page_that_makes_no_sense_is_refused(client: Client, query: str) -> None:
    assert client.request("GET", f"/v1/files?{query}").status_code == 400


@pytest.mark.parametrize(
    ("filename", "kept"),
    [("a/b/c.txt", "c.txt"), ("", "unnamed.txt"), ("ünï.txt", "ünï.txt")],
)
def test_name_of_a_file_is_its_last_part(sdk: anthropic.Anthropic, filename: str, kept: str) -> None:
    assert sdk.files.upload(file=(filename, b"x", "text/plain")).filename == kept


FORM = {"content-type": "multipart/form-data; boundary=b"}
PART = '--b\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
FILE = PART.format("file", '; filename="a"', "x")


@pytest.mark.parametrize(
    ("headers", "sent", "message"),
    [
        ({"content-type": "application/json"}, "{}", "multipart/form-data"),
        ({"content-type": "multipart/form-data"}, "{}", "boundary"),
        (FORM, "", "not a valid form"),
        (FORM, FILE, "not a valid form"),
        (FORM, "x" + FILE + "--b--", "not a valid form"),
        (FORM, FILE * 101 + "--b--", "not a valid form"),
        (FORM, "--b\r\n\r\nx\r\n--b--", "has no name"),
        (FORM, PART.format("x", "", "1") + FILE + "--b--", "x: Extra inputs"),
        (FORM, PART.format("expires_in_seconds", "", "3600") + "--b--", "file: Field required"),
        (FORM, PART.format("expires_in_seconds", "", "3599") + FILE + "--b--", "from 3600 to 7776000"),
        (FORM, PART.format("expires_in_seconds", "", "x") + FILE + "--b--", "from 3600 to 7776000"),
        (FORM, PART.format("file", '; filename="a|b"', "x") + "--b--", "forbidden character"),
    ],
)
def test_bad_upload_is_refused(client: Client, headers: dict[str, str], sent: str, message: str) -> None:
    answer = client.request("POST", "/v1/files", headers=headers, content=sent.encode())
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert message in answer.json()["error"]["message"]


def test_files_are_bounded_one_by_one_and_together() -> None:
    settings = SimulatorSettings(max_file_bytes=1_000, kept_file_bytes=1_500)
    with Server(settings) as server, anthropic.Anthropic(
        base_url=server.url, api_key="key", max_retries=0
    ) as sdk:  # fmt: skip
        with pytest.raises(anthropic.RequestTooLargeError):
            upload(sdk, data=bytes(1_001))
        with pytest.raises(anthropic.RequestTooLargeError):
            upload(sdk, data=bytes(200_000))
        first = upload(sdk, data=bytes(1_000))
        with pytest.raises(anthropic.BadRequestError) as refused:
            upload(sdk, data=bytes(501))
        assert refused.value.error_code == "storage_quota_exceeded"
        sdk.files.delete(first.id)
        assert upload(sdk, data=bytes(501)).size_bytes == 501
