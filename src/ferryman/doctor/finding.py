"""What a check has found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How bad it is; only a problem keeps Ferryman from its work."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One line for people.

    Attributes:
        check: what was looked at, a word or two.
        state: how bad it is.
        detail: what was found, with the value in question; never a credential. Without a full stop.
        advice: what to do, an imperative; empty where there is nothing to be done.
    """

    check: str
    state: State
    detail: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """Detail and advice."""
        return f"{self.detail}; {self.advice}" if self.advice else self.detail


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, State.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """Ferryman works, and not as well as it could, or not for long."""
    return Finding(check, State.WARNING, detail, advice)


def problem(check: str, detail: str, advice: str) -> Finding:
    """Ferryman does not start, or its callers are not served."""
    return Finding(check, State.PROBLEM, detail, advice)


def skipped(check: str, detail: str) -> Finding:
    """It was not looked at."""
    return Finding(check, State.SKIPPED, detail)


def refused(check: str, text: str) -> Finding:
    """A problem whose sentence, by another part of Ferryman, has its advice in it."""
    return Finding(check, State.PROBLEM, text.rstrip("."))
