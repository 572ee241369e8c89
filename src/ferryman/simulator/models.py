"""The catalogue behind `GET /v1/models`. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ferryman.simulator.errors import ApiError
from ferryman.simulator.paging import page_of

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
    """One page of the list, as `paging.page_of` divides it.

    Raises:
        ApiError: 400.
    """
    return page_of(models, query, model_info)


def argo_list(models: Sequence[str]) -> dict[str, Any]:
    """The list as Argo's gateway gives it, with display names as ids (argo-proxy 2.8.9, models.py)."""
    rows = [
        {
            "id": model_info(model)["display_name"],
            "internal_id": model,
            "object": "model",
            "created": 1_700_000_000,
            "owned_by": "anthropic",
        }
        for model in models
    ]
    return {"object": "list", "data": rows}


def check_model(model: str, models: Sequence[str], *, is_strict: bool) -> None:
    """Refuse a model that the API would not know.

    Raises:
        ApiError: 404.
    """
    if model not in models and (is_strict or not model.startswith("claude")):
        raise ApiError(404, f"model: {model}")
