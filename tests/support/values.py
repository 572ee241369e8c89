"""Texts that a setting takes, and texts that it refuses."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import Field
from typing import Any

from ferryman.settings_table import type_of
from ferryman.settings_telemetry import END_USERS_OFF, END_USERS_ON

SPECIAL = {
    "unix_socket_mode": ("600", "666", "0660", "777"),
    "trusted_proxies": ("10.0.0.1", "10.0.0.0/8, unix", "::1", "fd00::/8,"),
    "upstream_proxy": tuple(f"http://text-{step}:3128" for step in (1, 2, 3, 4)),
    "database_url": (
        "sqlite:///a.db",
        "sqlite:////srv/a.db",
        "postgres://h/d",
        "postgresql://h:5432/d?sslmode=require",
    ),
    **dict.fromkeys(
        ("max_budget", "max_session_budget", "max_end_user_budget"), ("0", "1", "12.50", "0.000000001")
    ),
    **dict.fromkeys(("budget_duration", "end_user_budget_duration"), ("1d", "30s", "12h", "1mo")),
    "image_hosts": ("img.internal", "10.0.0.5:9000", "[::1]:80, img.internal", "a.b,"),
    "time_zone": ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Etc/GMT+1"),
    "callbacks": ("a.b", "a.b,c.d.e", "a.c", "b.c"),
    "otlp_logs_headers": ("a=1", "a=1,b=%20", "b=2", "c=3", "d=4"),  # it has one name more
    **dict.fromkeys(
        ("webhook_url", "otlp_logs_url"), tuple(f"https://text-{step}/path" for step in (1, 2, 3, 4))
    ),
    "public_url": tuple(f"https://text-{step}/path" for step in (1, 2, 3, 4)),
}
"""Texts for settings that do not take every text."""

LITELLM = [{name: text} for name in (END_USERS_OFF, END_USERS_ON) for text in ("true", "false")]


def examples(row: Field[Any]) -> list[tuple[str, object]]:
    """Four texts for `row` with their values; a row of a known kind needs nothing new here."""
    kind = type_of(row)
    if typing.get_origin(kind) is typing.Literal:
        return [(choice, choice) for choice in typing.get_args(kind) * 4][:4]
    if kind is bool:
        return [("true", True), ("off", False), ("YES", True), ("0", False)]
    if kind in {int, float}:
        low = row.metadata["at_least"] or 0
        return [(str(low + step), kind(low + step)) for step in (1, 2, 3, 4)]
    if typing.get_origin(kind) is Mapping:
        return [(json.dumps(block), block) for block in _blocks(row, kind)]
    texts = [*SPECIAL.get(row.name, [f"text-{step}" for step in (1, 2, 3, 4)])]
    if str(row.default).startswith("https://"):
        texts = [f"https://{text}/path" for text in texts]
    return [(text, text) for text in texts]


def _blocks(row: Field[Any], kind: object) -> list[dict[str, Any]]:
    if row.name == "litellm_settings":
        return list(LITELLM)
    if row.name == "upstreams":
        return [{f"m{step}": {"base_url": "https://m", "api_key": f"{step}"}} for step in (1, 2, 3, 4)]
    nested = kind == Mapping[str, Mapping[str, str]]
    inner = "input" if row.name == "prices" else "rpm_limit"
    return [{f"m{step}": {inner: f"{step}"} if nested else f"0.{step}"} for step in (1, 2, 3, 4)]


def unusable(row: Field[Any]) -> list[str]:
    """Texts that `row` cannot take."""
    kind = type_of(row)
    if typing.get_origin(kind) is typing.Literal:
        return ["none-of-these", typing.get_args(kind)[0].upper()]
    if kind is bool:
        return ["maybe", "2", "truefalse"]
    if kind is str:
        return ["schlüssel", "a\x00b", "line\nbreak"]
    if typing.get_origin(kind) is Mapping:
        deep = "{m: {a: {b: c}}}" if row.name != "upstreams" else "{m: {a: {b: {c: d}}}}"
        return ["m", "{}", "[a, b]", "{m: [1]}", deep, "{m: {", "{? [a]: b}"]
    low, high = row.metadata["at_least"], row.metadata["at_most"]
    bounds = [str(low - 1)] if low is not None else []
    bounds += [str(high + 1)] if high is not None else []
    return ["many", "1 2", "nan", "inf", "-inf", "0x10", *(["1.5", "1e3"] if kind is int else []), *bounds]
