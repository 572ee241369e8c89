"""Limits and budgets as they are asked for → as they are kept → as they are shown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET

from ferryman.control.access.asked import AskedTerms
from ferryman.control.access.asked_types import BudgetLimit, ModelBudget
from ferryman.control.access.durations import is_duration
from ferryman.control.access.money import nanousd_of
from ferryman.control.access.reading import refused
from ferryman.control.spend_row import dollars_of
from ferryman.errors import InvalidRequest
from ferryman.store.access_rows import Terms, Window

MAX_METADATA_BYTES = 16_384

_DOLLARS = "dollars from 0 to 1,000,000,000, such as `12.5`"
_DURATION = "a duration such as `30s`, `15m`, `12h`, `7d`, `30d` or `1mo`"
_AS_THEY_ARE = (
    "budget_hold", "max_parallel_requests", "rpm_limit", "tpm_limit", "input_tpm_limit",
    "output_tpm_limit", "count_tokens_rpm_limit",
)  # fmt: skip
_RECORD = ("budget_id", "models", "metadata", "blocked")


def terms_in(asked: AskedTerms) -> dict[str, Any]:
    """The fields of `Terms` that `asked` sets; those that are not there are left out.

    Raises:
        InvalidRequest: an amount or a duration cannot be used.
    """
    fields: dict[str, Any] = {}
    for name in _AS_THEY_ARE:
        if (value := getattr(asked, name)) is not UNSET:
            fields[name] = value
    for name in ("max_budget", "soft_budget"):
        if (value := getattr(asked, name)) is not UNSET:
            fields[f"{name}_nanousd"] = None if value is None else amount(name, value)
    if asked.budget_duration is not UNSET:
        word = asked.budget_duration
        fields["budget_duration"] = None if word is None else duration("budget_duration", word)
    if asked.budget_limits is not UNSET:
        fields["budget_limits"] = [_window(one) for one in asked.budget_limits or []]
    if asked.model_max_budget is not UNSET:
        given = asked.model_max_budget or {}
        fields["model_max_budget"] = {model: _model_window(model, one) for model, one in given.items()}
    for name in ("model_rpm_limit", "model_tpm_limit"):
        if (value := getattr(asked, name)) is not UNSET:
            fields[name] = value or {}
    return fields


def record_in(asked: Any) -> dict[str, Any]:  # noqa: ANN401  # of several kinds
    """The same, with the fields that most kinds have beside those."""
    fields = terms_in(asked)
    for name in _RECORD:
        value = getattr(asked, name, UNSET)
        if value is UNSET:
            continue
        if name == "metadata":
            fields[name] = metadata(value)
        elif name == "blocked":
            fields[name] = bool(value)
        else:
            fields[name] = (value or []) if name == "models" else value
    return fields


def amount(name: str, dollars: Decimal) -> int:
    """Nano-dollars of the field `name`; InvalidRequest if it is no amount."""
    try:
        return nanousd_of(dollars)
    except ValueError as error:
        raise refused(name, str(dollars), _DOLLARS) from error


def duration(name: str, word: str) -> str:
    """The field `name`, a length of time; InvalidRequest if it is none."""
    if not is_duration(word):
        raise refused(name, word, _DURATION)
    return word


def metadata(members: dict[str, msgspec.Raw] | None) -> msgspec.Raw:
    """The operator's own object as it is kept.

    Raises:
        InvalidRequest: it is too large.
    """
    # Decoded once, so that spaces in it are no difference.
    text = msgspec.json.encode(members or {})
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidRequest(f"`metadata`: it has {len(text)} bytes; at most {MAX_METADATA_BYTES}.")
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text)))


def shown_terms(terms: Terms) -> dict[str, Any]:
    """LiteLLM's fields, and ours, of limits and budgets."""
    return {
        "max_budget": dollars_or_none(terms.max_budget_nanousd),
        "soft_budget": dollars_or_none(terms.soft_budget_nanousd),
        "budget_duration": terms.budget_duration,
        "budget_limits": [
            {"budget_duration": one.duration, "max_budget": dollars_of(one.nanousd)}
            for one in terms.budget_limits
        ] or None,
        "budget_hold": terms.budget_hold,
        "model_max_budget": {
            model: {"budget_limit": dollars_of(one.nanousd), "time_period": one.duration or None}
            for model, one in terms.model_max_budget.items()
        },
        "max_parallel_requests": terms.max_parallel_requests,
        "rpm_limit": terms.rpm_limit,
        "tpm_limit": terms.tpm_limit,
        "input_tpm_limit": terms.input_tpm_limit,
        "output_tpm_limit": terms.output_tpm_limit,
        "count_tokens_rpm_limit": terms.count_tokens_rpm_limit,
        "model_rpm_limit": terms.model_rpm_limit or None,
        "model_tpm_limit": terms.model_tpm_limit or None,
    }  # fmt: skip


def dollars_or_none(nanousd: int | None) -> float | None:
    """Dollars, `None` for none."""
    return None if nanousd is None else dollars_of(nanousd)


def _window(one: BudgetLimit) -> Window:
    word = duration("budget_limits.budget_duration", one.budget_duration)
    return Window(amount("budget_limits.max_budget", one.max_budget), word)


def _model_window(model: str, one: ModelBudget) -> Window:
    name = f"model_max_budget.{model}"
    dollars = one.budget_limit if one.budget_limit is not None else one.max_budget
    if dollars is None:
        raise InvalidRequest(f"`{name}`: `budget_limit` is missing; wanted {_DOLLARS}.")
    word = one.time_period if one.time_period is not None else one.budget_duration
    return Window(amount(name, dollars), "" if word is None else duration(name, word))
