"""Pages of a list, by ids: `limit`, `after_id` and `before_id` (anthropic 2.12.0, pagination.py). Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ferryman.simulator.errors import invalid

DEFAULT_LIMIT = 20
MAX_LIMIT = 1_000


def page_of(
    ids: Sequence[str], query: Mapping[str, str], show: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """One page: `limit` (1 to 1,000, default 20) entries after `after_id` or before `before_id`.

    Args:
        ids: All of them, in the order of the list.
        query: Of the request.
        show: Makes the entry of an id.

    Raises:
        ApiError: 400, for a bad limit, an unknown id, or both ids at once.
    """
    limit = _limit(query)
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None and before is not None:
        raise invalid("Only one of before_id and after_id may be given")
    if before is not None:
        end = _position(ids, "before_id", before)
        start = max(0, end - limit)
        has_more = start > 0
    else:
        start = 0 if after is None else _position(ids, "after_id", after) + 1
        end = min(len(ids), start + limit)
        has_more = end < len(ids)
    page = ids[start:end]
    return {
        "data": [show(one) for one in page],
        "has_more": has_more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _limit(query: Mapping[str, str]) -> int:
    """How many entries a page may hold.

    Raises:
        ApiError: 400.
    """
    text = query.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit: Input should be an integer from 1 to {MAX_LIMIT}")
    return int(text)


def _position(ids: Sequence[str], name: str, wanted: str) -> int:
    if wanted not in ids:
        raise invalid(f"{name}: `{wanted}` is not in the list")
    return ids.index(wanted)
