"""Message batches: what a creation may hold, and what becomes of it as time passes. Pure but for its store.

A batch ends when somebody looks: the first look after `polls` others that have found it in progress and
`batch-seconds` after its creation, or, whatever these say, 24 hours after its creation. A test decides
both, the time by the simulator's clock. Sources: anthropic 2.12.0, types/messages/message_batch.py and
resources/messages/batches.py, and the platform documentation of batch processing.
"""

import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from ferryman.simulator.clock import rfc3339
from ferryman.simulator.control import Control
from ferryman.simulator.errors import ApiError, invalid

MAX_REQUESTS = 100_000  # platform documentation, batch processing, limits
LIFE_SECONDS = 24 * 3_600
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # platform documentation, custom_id

_Fields = dict[str, msgspec.Raw]


class Fate(StrEnum):
    """How a request of a batch ends; the value is the type of its result."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Item(msgspec.Struct, frozen=True, gc=False):
    """One request of a batch.

    Attributes:
        params: The JSON of its message, which is read anew whenever it is needed: decoded, a hundred
            thousand of them would take ten times the room.
    """

    custom_id: str
    params: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an item from its creation on.

    Attributes:
        fate: Its end, unless the batch is canceled or expires before.
        is_uninterruptible: Whether it ends so even if the batch is canceled.
    """

    fate: Fate
    is_uninterruptible: bool = False


def read_items(body: bytes, *, has_beta: bool) -> tuple[Item, ...]:
    """Check a body of `POST /v1/messages/batches`, as far as it is checked before the batch is processed.

    Raises:
        ApiError: 400.
    """
    try:
        fields = msgspec.json.decode(body, type=_Fields)
    except msgspec.ValidationError as error:
        raise invalid("The request body must be a JSON object") from error
    except (ValueError, RecursionError) as error:
        raise invalid("The request body is not valid JSON") from error
    for name in fields:
        if name != "requests" and not has_beta:
            raise invalid(f"{name}: Extra inputs are not permitted")
    if "requests" not in fields:
        raise invalid("requests: Field required")
    requests = _decoded(fields["requests"], list[msgspec.Raw], "requests: Input should be a valid list")
    if not 1 <= len(requests) <= MAX_REQUESTS:
        bound = "at least 1 item" if not requests else f"at most {MAX_REQUESTS} items"
        raise invalid(f"requests: List should have {bound} after validation, not {len(requests)}")
    seen: set[str] = set()
    return tuple(_item(f"requests.{index}", raw, seen) for index, raw in enumerate(requests))


def _item(place: str, raw: msgspec.Raw, seen: set[str]) -> Item:
    fields = _decoded(raw, _Fields, f"{place}: Input should be a valid dictionary")
    for name in ("custom_id", "params"):
        if name not in fields:
            raise invalid(f"{place}.{name}: Field required")
    for name in fields:
        if name not in {"custom_id", "params"}:
            raise invalid(f"{place}.{name}: Extra inputs are not permitted")
    custom_id = _decoded(fields["custom_id"], str, f"{place}.custom_id: Input should be a valid string")
    if _CUSTOM_ID.fullmatch(custom_id) is None:
        raise invalid(f"{place}.custom_id: String should match pattern '^{_CUSTOM_ID.pattern}$'")
    if custom_id in seen:
        raise invalid(f"{place}.custom_id: `{custom_id}` is given twice; it must be unique within the batch")
    seen.add(custom_id)
    if not bytes(fields["params"]).startswith(b"{"):
        raise invalid(f"{place}.params: Input should be a valid dictionary")
    return Item(custom_id, fields["params"])


def _decoded(raw: msgspec.Raw, kind: Any, complaint: str) -> Any:  # noqa: ANN401 - a type, and its value
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError) as error:
        raise invalid(complaint) from error


@dataclass(slots=True)
class Batch:
    """One batch.

    Attributes:
        wishes: The control text of the request that has created it, which holds for each of its items.
        control: The same, read.
        version: The `anthropic-version` of that request, by which its items are read.
        size_bytes: What it costs to keep.
        polls_seen: How often it was found in progress, since its cancellation if there was one.
    """

    id: str
    created_at: datetime
    items: tuple[Item, ...]
    verdicts: tuple[Verdict, ...]
    wishes: str
    control: Control
    version: str
    has_beta: bool
    size_bytes: int
    polls_seen: int = 0
    cancel_initiated_at: datetime | None = None
    ended_at: datetime | None = None
    has_expired: bool = False
    _counts: Counter[Fate] = field(default_factory=Counter)

    @property
    def expires_at(self) -> datetime:
        """When it ends at the latest."""
        return self.created_at + timedelta(seconds=LIFE_SECONDS)

    @property
    def processing_status(self) -> str:
        """`in_progress`, `canceling` or `ended`."""
        if self.ended_at is not None:
            return "ended"
        return "in_progress" if self.cancel_initiated_at is None else "canceling"

    def look(self, now: datetime, *, is_poll: bool = False) -> None:
        """End it if it is time; if not, a poll counts towards its end."""
        if self.ended_at is not None:
            return
        if now >= self.expires_at:
            self.has_expired = True
            self._end(self.expires_at)
            return
        is_canceled = self.cancel_initiated_at is not None
        ends_at = self.created_at + timedelta(seconds=0 if is_canceled else self.control.batch_seconds)
        if self.polls_seen >= self.control.polls and now >= ends_at:
            self._end(now)
        else:
            self.polls_seen += is_poll

    def cancel(self, now: datetime) -> None:
        """Begin to cancel it; again changes nothing.

        Raises:
            ApiError: 400, when it has ended.
        """
        if self.ended_at is not None:
            raise invalid(f"Message batch `{self.id}` has ended and cannot be canceled.")
        if self.cancel_initiated_at is None:
            self.cancel_initiated_at = now
            self.polls_seen = 0

    def fate(self, index: int) -> Fate:
        """How the request at this place has ended."""
        verdict = self.verdicts[index]
        if self.has_expired:
            return Fate.EXPIRED
        if self.cancel_initiated_at is not None and not verdict.is_uninterruptible:
            return Fate.CANCELED
        return verdict.fate

    def as_json(self, origin: str) -> dict[str, Any]:
        """The batch as the API shows it.

        Args:
            origin: Scheme and host of the address that the client has asked, for `results_url`.
        """
        is_over = self.ended_at is not None
        counts = {fate.value: self._counts[fate] for fate in Fate}
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.processing_status,
            "request_counts": {"processing": 0 if is_over else len(self.items), **counts},
            "ended_at": rfc3339(self.ended_at),
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "archived_at": None,
            "cancel_initiated_at": rfc3339(self.cancel_initiated_at),
            "results_url": f"{origin}/v1/messages/batches/{self.id}/results" if is_over else None,
        }

    def _end(self, at: datetime) -> None:
        self.ended_at = at
        self._counts.update(self.fate(index) for index in range(len(self.items)))


class BatchStore:
    """The batches of one simulator, bounded in number and bytes."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._batches: OrderedDict[str, Batch] = OrderedDict()
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._kept_bytes = 0
        self.created = 0

    def __repr__(self) -> str:
        return f"BatchStore({len(self._batches)} of {self.created} batches, {self._kept_bytes} bytes)"

    @property
    def ids(self) -> list[str]:
        """Of all batches, newest first."""
        return list(reversed(self._batches))

    def add(self, batch: Batch) -> None:
        """Keep a batch; the oldest ones make room."""
        self.created += 1
        self._batches[batch.id] = batch
        self._kept_bytes += batch.size_bytes
        while len(self._batches) > self._limit or (
            self._kept_bytes > self._limit_bytes and len(self._batches) > 1
        ):
            self._forget(next(iter(self._batches)))

    def get(self, batch_id: str) -> Batch:
        """A batch.

        Raises:
            ApiError: 404.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            raise ApiError(404, f"message batch: {batch_id}")
        return batch

    def delete(self, batch_id: str) -> None:
        """Forget a batch that has ended.

        Raises:
            ApiError: 404, or 400 while it goes on.
        """
        if self.get(batch_id).ended_at is None:
            raise invalid(f"Message batch `{batch_id}` has not ended; cancel it before you delete it.")
        self._forget(batch_id)

    def _forget(self, batch_id: str) -> None:
        self._kept_bytes -= self._batches.pop(batch_id).size_bytes
