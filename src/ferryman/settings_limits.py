"""What the settings say about budgets and limits of the gateway as a whole.

`ferryman.settings_load` checks them with what is here; the control plane makes scopes of them.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from typing import NamedTuple

from ferryman.errors import SettingsError
from ferryman.settings import Settings

MAX_DOLLARS = 10**9
MAX_COUNT = 2**53

COUNTS = ("rpm_limit", "tpm_limit", "max_parallel_requests")
"""What `model_budgets` may hold beside `max_budget` and `budget_duration`."""

DURATION = "wanted a duration such as `30s`, `15m`, `12h`, `1d`, `7d`, `30d` or `1mo`"

_DOLLARS = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?", re.ASCII)
_DURATION = re.compile(r"(\d{1,10})(mo|[smhdw])", re.ASCII)
_DAYS = {"s": 1 / 86_400, "m": 1 / 1_440, "h": 1 / 24, "d": 1, "w": 7, "mo": 30}
MAX_DAYS = 36_500
"""Of a duration, as for all others (`ferryman.limits.windows`), which stand above the settings."""


class ModelLimits(NamedTuple):
    """What one line of `model_budgets` says; `None` is no such.

    Attributes:
        model: its name; `*` stands for anything.
        budget_duration: empty is without end.
    """

    model: str
    max_budget_nanousd: int | None
    budget_duration: str
    rpm_limit: int | None
    tpm_limit: int | None
    max_parallel_requests: int | None


class GatewayLimits(NamedTuple):
    """What holds for all, and for those that are not known one by one; `None` is no such.

    Attributes:
        names_users: callers give the names of users, not keys.
    """

    max_budget_nanousd: int | None
    budget_duration: str
    models: tuple[ModelLimits, ...]
    max_session_nanousd: int | None
    max_end_user_nanousd: int | None
    end_user_duration: str
    hold: str
    time_zone: str
    share: str
    names_users: bool = False


def gateway_limits(settings: Settings) -> GatewayLimits:
    """What `settings` say of budgets and limits.

    Raises:
        SettingsError: with a sentence for each that cannot be used.
    """
    if problems := [f"{max(names)}: {problem}" for names, problem in limit_problems(settings)]:
        raise SettingsError(problems)
    models = tuple(
        ModelLimits(
            model,
            _amount(values.get("max_budget")),
            values.get("budget_duration", ""),
            *(int(values[name]) if name in values else None for name in COUNTS),
        )
        for model, values in (settings.model_budgets or {}).items()
    )
    return GatewayLimits(
        _amount(settings.max_budget),
        settings.budget_duration or "",
        models,
        _amount(settings.max_session_budget),
        _amount(settings.max_end_user_budget),
        settings.end_user_budget_duration or "",
        settings.budget_hold,
        settings.time_zone,
        settings.share,
        settings.effective_auth == "identity",
    )


def limit_problems(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """What is wrong with the settings of limits: the setting each problem is about, and the problem."""
    for name in ("max_budget", "max_session_budget", "max_end_user_budget"):
        text = getattr(settings, name)
        if text is not None and nanousd_of(text) is None:
            yield {name}, _no_dollars(text)
    for name, about in (
        ("budget_duration", "max_budget"),
        ("end_user_budget_duration", "max_end_user_budget"),
    ):
        word = getattr(settings, name)
        if word is not None and duration_parts(word) is None:
            yield {name}, f"{_shown(word)} is no duration; {DURATION}."
        elif word is not None and getattr(settings, about) is None:
            yield {name}, f"it is the window of `{about}`, and there is none; set that too."
    for problem in _model_problems(settings):
        yield {"model_budgets"}, problem
    if not _is_zone(settings.time_zone):
        problem = "is no time zone of this machine; wanted a name such as `Europe/Berlin` or `UTC`"
        yield {"time_zone"}, f"{_shown(settings.time_zone)} {problem}."


def duration_parts(word: str) -> tuple[int, str] | None:
    """The number and the unit of a duration as LiteLLM spells it, `None` if it is none."""
    found = _DURATION.fullmatch(word)
    if found is None or not 0 < int(found[1]) * _DAYS[found[2]] <= MAX_DAYS:
        return None
    return int(found[1]), found[2]


def nanousd_of(text: str) -> int | None:
    """Dollars in nano-dollars, `None` if `text` is no amount up to `MAX_DOLLARS`."""
    found = _DOLLARS.fullmatch(text.strip())
    if found is None:
        return None
    nanousd = int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))
    return nanousd if nanousd <= MAX_DOLLARS * 10**9 else None


def _model_problems(settings: Settings) -> Iterator[str]:
    for model, values in (settings.model_budgets or {}).items():
        for name, text in values.items():
            what = f"{_shown(model)} has {_shown(text)} as {_shown(name)}"
            if name not in {"max_budget", "budget_duration", *COUNTS}:
                known = ", ".join(f"`{each}`" for each in ("max_budget", "budget_duration", *COUNTS))
                yield f"{_shown(model)} has {_shown(name)}, which is no limit; wanted {known}."
            elif name == "max_budget" and nanousd_of(text) is None:
                yield f"{_shown(model)}: {_no_dollars(text)}"
            elif name == "budget_duration" and duration_parts(text) is None:
                yield f"{what}, which is no duration; {DURATION}."
            elif name in COUNTS and not (text.isdecimal() and text.isascii() and int(text) <= MAX_COUNT):
                yield f"{what}; wanted a whole number, 0 or more."
        if not values:
            yield f"{_shown(model)} has no limit; leave it out."
        if "budget_duration" in values and "max_budget" not in values:
            yield f"{_shown(model)} has a `budget_duration` and no `max_budget`; set that too."


def _amount(text: str | None) -> int | None:
    return None if text is None else nanousd_of(text)


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _no_dollars(text: str) -> str:
    return (
        f"{_shown(text)} is no amount; wanted dollars, 0 or more, such as `12.5`, with at most nine decimals."
    )


def _shown(text: str) -> str:
    short = text if len(text) <= 100 else f"{text[:100]}…"
    return f"`{short.encode('unicode_escape').decode() if not short.isprintable() else short}`"
