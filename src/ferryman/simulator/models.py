"""The catalogue behind `GET /v1/models`. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ferryman.simulator.errors import ApiError, invalid

DEFAULT_LIMIT = 20
MAX_LIMIT = 1_000
# What the API itself gives for an unknown day (anthropic 2.12.0, types/model_info.py).
UNKNOWN_DAY = "1970-01-01T00:00:00Z"


def model_info(model: str) -> dict[str, Any]:
    """One entry. The day of creation is that in the name, else unknown."""
    bare, _, day = model.rpartition("-")
    if not re.fullmatch(r"\d{8}", day):
        bare, day = model, ""
    words = bare.split("-")
    numbers = [word for word in words if word.isdigit()]
    names = [word.capitalize() for word in words if not word.isdigit()]
    return {
        "type": "model",
        "id": model,
        "display_name": " ".join([*names, *([".".join(numbers)] if numbers else [])]),
        "created_at": f"{day[:4]}-{day[4:6]}-{day[6:]}T00:00:00Z" if day else UNKNOWN_DAY,
        "lifecycle": "active",
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }


def model_page(models: Sequence[str], query: Mapping[str, str]) -> dict[str, Any]:
    """One page: `limit` (1 to 1,000, default 20) entries after `after_id` or before `before_id`.

    Raises:
        ApiError: 400, for a bad limit, an unknown id, or both ids at once.
    """
    limit = _limit(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise invalid("Only one of before_id and after_id may be given")
    if before is not None:
        end = _position(models, "before_id", before)
        start = max(0, end - limit)
        has_more = start > 0
    else:
        start = 0 if after is None else _position(models, "after_id", after) + 1
        end = min(len(models), start + limit)
        has_more = end < len(models)
    page = models[start:end]
    return {
        "data": [model_info(model) for model in page],
        "has_more": has_more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def check_model(model: str, models: Sequence[str], *, is_strict: bool) -> None:
    """Refuse a model that the API would not know.

    Raises:
        ApiError: 404.
    """
    if model not in models and (is_strict or not model.startswith("claude")):
        raise ApiError(404, f"model: {model}")


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit: Input should be an integer from 1 to {MAX_LIMIT}")
    return int(text)


def _position(models: Sequence[str], name: str, model: str) -> int:
    if model not in models:
        raise invalid(f"{name}: `{model}` is not in the list")
    return models.index(model)
