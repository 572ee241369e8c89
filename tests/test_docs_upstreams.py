"""The pages about upstreams and Argo tell what the code does."""

from __future__ import annotations

import pytest

from ferryman.control.models import FIRST_SECONDS
from ferryman.relay.manners import IDENTITY
from ferryman.settings import Settings
from ferryman.settings_table import env_names, rows
from ferryman.settings_targets import ARGO_PORT, CHOICES, IDENTITY_KEYS, KEYS, PROFILES
from tests.test_docs import ROOT, first_cells, rows_of

PAGE = ROOT / "docs" / "upstreams.md"
ARGO = ROOT / "docs" / "argo.md"


def test_every_key_of_an_upstream_stands_with_its_choices() -> None:
    shown = {row[0]: row[1] for row in rows_of(PAGE, "## Keys of an upstream")}
    shown |= {row[0]: row[1] for row in rows_of(PAGE, "## Identity")}
    assert shown.keys() == KEYS | set(IDENTITY_KEYS)
    for key, choices in CHOICES.items():
        assert shown[key] == "`, `".join(choices)


def test_every_profile_stands_with_what_it_chooses() -> None:
    table = rows_of(PAGE, "## Profiles")
    for column, profile in enumerate(PROFILES, start=1):
        assert {row[0]: row[column] for row in table} == PROFILES[profile]


def test_every_credential_stands() -> None:
    assert first_cells(PAGE, "## Credentials") == set(CHOICES["credential"])


def test_edits_have_the_names_of_the_header() -> None:
    assert f"`{IDENTITY}`" in PAGE.read_text("utf-8").rpartition("`x-ferryman-mutations` lists")[2]


@pytest.mark.parametrize("row", rows_of(ARGO, "## Start it"), ids=lambda row: str(row[0]))
def test_settings_for_argo_are_those_that_there_are(row: list[str]) -> None:
    setting = next(one for one in rows() if one.name == row[0])
    assert row[1] in env_names(setting)


def test_numbers_and_addresses_of_argo_are_those_of_the_code() -> None:
    text = ARGO.read_text("utf-8")
    assert f"`http://127.0.0.1:{ARGO_PORT}` then, and asks `{Settings().argo_base_url}`" in text


def test_wait_of_a_start_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert f"A start waits for it, for {FIRST_SECONDS:g} seconds at most" in text
