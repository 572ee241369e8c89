"""What a path does: a function in one transaction, and what is told of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import msgspec

from ferryman.control.callers import Caller
from ferryman.store.access import Change
from ferryman.store.access_look import Look
from ferryman.store.grants import Machine


class Spends(Protocol):
    """What was spent: the one truth for what is shown and for what is enforced."""

    def for_one_answer(self, *, only_counted: bool = False) -> Self:
        """The same, to make one answer with: what many records of a list ask of the ledger is read once.

        Args:
            only_counted: where budgets count, whoever has none is said to have spent nothing, which takes no
                time. For those who ask for names or for budgets.
        """

    def expect(self, scope_ids: Sequence[str]) -> None:
        """These users and teams will be asked for, so that one question to the database does for all."""

    def spent(self, scope_id: str, window: str, model: str = "") -> int:
        """Nano-dollars in the window that runs now; an empty one is without end."""

    def resets_at(self, window: str, anchor: str) -> float | None:
        """Unix time at which the window ends that runs now, `None` for never, or where that is not known."""

    def counts(self, scope_id: str, window: str, model: str = "") -> bool:
        """Whether a budget counts that."""

    def reset(self, scope_id: str, window: str, to_nanousd: int, model: str = "") -> None:
        """Let the window that runs count as having spent so much. Not within a change of the database."""

    def machines(self) -> list[Machine]:
        """Those that share the database; see `ferryman.store.grants`."""

    def forfeit(self, machine: str) -> int:
        """Take back what one has not spent; how much that is. Not within a change of the database."""


class Context(NamedTuple):
    """In what a request is answered.

    Attributes:
        caller: who asks.
        now_microseconds: since 1970.
        is_master: whether a text is the master key.
        spends: for what cannot be decided without.
        is_full: no more keys fit into a snapshot.
        asks_for_keys: whoever calls is asked for a virtual key; otherwise none is to be made.
    """

    caller: Caller
    now_microseconds: int
    is_master: Callable[[str], bool]
    spends: Spends
    is_full: bool
    asks_for_keys: bool = True


Told = Callable[[Spends], Any]
"""Makes what is answered, when the transaction is over: what was spent is asked for beside it."""


class Operation(NamedTuple):
    """A path of the API.

    Attributes:
        method: `GET` or `POST`.
        path: what stands in braces is a field of `asks`.
        asks: the struct that body or query are read into.
        work: given a `Look`, or the `Change` that it is to make.
        summary: one sentence for the OpenAPI document.
        changes: whether it makes a change.
        answer: for the OpenAPI document, in a few words.
    """

    method: str
    path: str
    asks: type[msgspec.Struct]
    work: Callable[[Any, Context, Any], Told]
    summary: str
    changes: bool = False
    answer: str = "As LiteLLM answers."


def reading(
    method: str,
    path: str,
    asks: type[msgspec.Struct],
    work: Callable[[Look, Context, Any], Told],
    summary: str,
) -> Operation:
    """An operation that changes nothing."""
    return Operation(method, path, asks, work, summary)


def changing(
    path: str, asks: type[msgspec.Struct], work: Callable[[Change, Context, Any], Told], summary: str
) -> Operation:
    """An operation that makes one change, by POST."""
    return Operation("POST", path, asks, work, summary, changes=True)
