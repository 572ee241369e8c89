"""`GET /control/processes`: what runs, since when, and how it fares."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.control.feed import FeedServer
from ferryman.process.messages import ProcessState, WorkerState
from ferryman.settings import Settings
from ferryman.settings_clients import clients_url

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Processes:
    """What the supervisor tells, beside what the workers tell.

    Attributes:
        settings: in force, with the port that was picked; `None` before they were handed over.
        states: as the supervisor told them last.
        workers_gone: no worker has a process, as far as it has told.
    """

    def __init__(self, feed: FeedServer, memory_of: Callable[[int], int | None] | None = None) -> None:
        """Begin with nothing; `memory_of` is the resident memory of a pid in bytes, `None` if unknown."""
        self.settings: Settings | None = None
        self.states: list[ProcessState] = []
        self.workers_gone = asyncio.Event()
        self._feed = feed
        self._memory_of = memory_of if memory_of is not None else resident_bytes

    def __repr__(self) -> str:
        return f"<Processes {len(self.states)}>"

    def take(self, states: list[ProcessState]) -> None:
        """The supervisor's word."""
        self.states = states
        if any(state.role == "worker" and state.pid is not None for state in states):
            self.workers_gone.clear()
        else:
            self.workers_gone.set()

    def worker(self, number: int) -> WorkerState | None:
        """What the worker with this number told last, `None` if it is not connected."""
        return self._feed.states.get(number)

    def rows(self) -> list[dict[str, Any]]:
        """One a process, for JSON."""
        return [self._row(state) for state in self.states]

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [Route("/control/processes", self._get, methods=["GET"])]

    async def _get(self, _request: Request) -> Response:
        told: dict[str, Any] = {"processes": self.rows(), "url": None, "auth": None}
        if (settings := self.settings) is not None:
            told |= {"url": clients_url(settings, settings.port), "auth": settings.effective_auth}
        body = msgspec.json.encode(told)
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    def _row(self, state: ProcessState) -> dict[str, Any]:
        row: dict[str, Any] = msgspec.to_builtins(state)
        row["memory_bytes"] = None if state.pid is None else self._memory_of(state.pid)
        if state.role == "worker":
            own = self._feed.states.get(state.number)
            known = own if own is not None and own.pid == state.pid else None
            for name in ("live", "pool_open", "held_bytes", "snapshot_version"):
                row[name] = None if known is None else getattr(known, name)
        return row


def resident_bytes(pid: int) -> int | None:
    """The resident memory of a process; `None` if it has gone, or where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES
    except OSError:
        return None
