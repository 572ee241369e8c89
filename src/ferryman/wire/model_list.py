"""Lists of models, as upstreams give them.

Anthropic's: anthropic 2.12.0, types/model_info.py, in pages. Argo's, of which argo-proxy 2.8.9 (models.py,
`Model`) knows two: `{"id": "Claude Sonnet 4.5", "internal_id": "claudesonnet45"}` and, older,
`{"id": "claudesonnet45", "model_name": "Claude Sonnet 4.5"}`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ferryman.aliases import MAX_NAME_CHARACTERS, NO_DATA, Model
from ferryman.wire.usage import UNREADABLE

MAX_DATA_BYTES = 8_192
"""Of Anthropic's object of one model; it has about 1.5 kB. A larger one is told by its names only."""


class _Listed(msgspec.Struct, gc=False):
    id: str
    type: str | None = None
    display_name: str | None = None
    created_at: str | None = None
    internal_id: str | None = None
    model_name: str | None = None
    created: int | None = None


class _Page(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    has_more: bool | None = None
    last_id: str | None = None


class Page(NamedTuple):
    """A page of a list.

    Attributes:
        models: in its order.
        after: the id behind which the next page begins, `None` if there is none.
    """

    models: list[Model]
    after: str | None


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_listed = msgspec.json.Decoder(_Listed).decode


def page_in(body: bytes, upstream: str = "") -> Page:
    """The models in an answer; what of it is no model is passed over.

    Args:
        body: the JSON.
        upstream: the name of who has answered.

    Raises:
        ValueError: it is no list of models.
    """
    try:
        page = _decode_page(body)
    except UNREADABLE as error:
        raise ValueError("the answer is no list of models") from error
    models = []
    for raw in page.data:
        try:
            listed = _decode_listed(raw)
        except UNREADABLE:
            continue
        if (model := _model(listed, bytes(raw), upstream)) is not None:
            models.append(model)
    if page.data and not models:
        raise ValueError("the answer lists something else than models")
    return Page(models, page.last_id if page.has_more else None)


def _model(listed: _Listed, raw: bytes, upstream: str) -> Model | None:
    model_id, name, data = listed.id, listed.display_name or listed.model_name or "", NO_DATA
    if listed.internal_id:  # Argo's list of today
        model_id, name = listed.internal_id, listed.id
    elif listed.type == "model" and len(raw) <= MAX_DATA_BYTES:
        data = msgspec.Raw(raw)
    created_at = listed.created_at or ""
    if not created_at and listed.created is not None and 0 <= listed.created < 1 << 32:
        created_at = f"{datetime.fromtimestamp(listed.created, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if not all(_fits(text) for text in (model_id, name, created_at)) or not model_id:
        return None
    return Model(model_id, name, created_at, upstream, data)


def _fits(text: str) -> bool:
    return len(text) <= MAX_NAME_CHARACTERS and text.isprintable()
