"""The collector that traces are sent to."""

from __future__ import annotations

from ferryman.doctor.finding import Finding, ok, problem, warning
from ferryman.settings import Settings

_VARIABLES = "check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS; OTLP over HTTP is spoken"


def collector_check(settings: Settings) -> Finding | None:
    """Whether the collector takes what it is sent, `None` where traces are off."""
    if settings.otel_traces_exporter == "none":
        return None
    try:
        from ferryman.telemetry.otel import trial  # noqa: PLC0415  # an extra
    except ImportError:
        return problem(
            "traces", "their libraries are missing", "install them: `pip install 'ferryman[otel]'`"
        )
    try:
        reason = trial()
    except ValueError as error:
        return problem("traces", f"an `OTEL_*` variable cannot be used: {error}", "mend it")
    if reason is None:
        return ok("traces", "the collector takes what it is sent")
    return warning("traces", f"the collector does not take spans ({reason.rstrip('.')})", _VARIABLES)
