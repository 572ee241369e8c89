"""The settings about what is seen from outside: metrics, and where entries are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ferryman.settings_row import setting

END_USERS_OFF = "disable_end_user_cost_tracking_prometheus_only"
END_USERS_ON = "enable_end_user_cost_tracking_prometheus_only"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TelemetrySettings:
    """The part of `ferryman.settings.Settings` that is about them."""

    metrics_port: int | None = setting(
        None,
        "Port at `host` where `/metrics` is served as well, to anybody, without a key.",
        at_least=1,
        at_most=65535,
    )
    metrics_end_user: bool = setting(
        False, "Count requests and spend by end user in `/metrics`; of the first 1,000 end users."
    )
    litellm_settings: Mapping[str, str] | None = setting(
        None,
        "LiteLLM's block. Of its settings `disable_end_user_cost_tracking_prometheus_only` and "
        "`enable_end_user_cost_tracking_prometheus_only` are known here; the first decides.",
        example="{disable_end_user_cost_tracking_prometheus_only: true}",
    )

    @property
    def counts_end_users(self) -> bool:
        """Whether end users are told apart in metrics; who switches it off has the last word."""
        block = self.litellm_settings or {}
        on = self.metrics_end_user or _is_true(block.get(END_USERS_ON, ""))
        return on and not _is_true(block.get(END_USERS_OFF, ""))


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def telemetry_problems(settings: TelemetrySettings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with them: the settings it is about, and a sentence without its full stop."""
    for name, text in (settings.litellm_settings or {}).items():
        if name not in {END_USERS_OFF, END_USERS_ON}:
            known = f"`{END_USERS_OFF}` and `{END_USERS_ON}`"
            yield {"litellm_settings"}, f"`{name}` is not known here; of LiteLLM's settings {known} are"
        elif text.strip().lower() not in {"true", "false"}:
            yield {"litellm_settings"}, f"`{name}` has to be `true` or `false`"
