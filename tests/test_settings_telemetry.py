"""Settings about what is seen from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.settings_load import load
from ferryman.settings_telemetry import END_USERS_OFF, END_USERS_ON


def loaded(directory: Path, text: str) -> Settings:
    (directory / "ferryman.yaml").write_text(text, "utf-8")
    return load({}, environ={"HOME": str(directory)}, directory=directory).settings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("metrics_port: 4000", "that is `port` already"),
        ("litellm_settings: {drop_params: true}", "`drop_params` is not known here"),
        (f"litellm_settings: {{{END_USERS_OFF}: perhaps}}", "has to be `true` or `false`"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", False),
        ("metrics_end_user: true", True),
        (f"litellm_settings: {{{END_USERS_ON}: true}}", True),
        (f"litellm_settings: {{{END_USERS_OFF}: false}}", False),
        (f"metrics_end_user: true\nlitellm_settings: {{{END_USERS_OFF}: True}}", False),
    ],
)
def test_who_switches_end_users_off_has_the_last_word(tmp_path: Path, text: str, *, counts: bool) -> None:
    assert loaded(tmp_path, text).counts_end_users is counts
