"""The settings of traces: whether there are any. All else about them is in the standard variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ferryman.settings_bodies import BodySettings
from ferryman.settings_row import setting


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TraceSettings(BodySettings):
    """A part of `ferryman.settings.Settings`."""

    otel_traces_exporter: Literal["none", "otlp"] = setting(
        "none",
        "`otlp` sends a span of each exchange to an OpenTelemetry collector, by OTLP over HTTP; the `OTEL_*` "
        "variables say where to, and how. It needs the extra `otel`.",
        env=("OTEL_TRACES_EXPORTER",),
    )
