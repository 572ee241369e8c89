"""The management API in this process, on the database: for keys that are made before the first start.

The paths are answered by the same functions as in the control plane. One that runs elsewhere on the same
database finds what was changed within a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from ferryman.cli.ledger import open_ledger
from ferryman.cli.options import complain
from ferryman.clock import SystemClock
from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.settings_limits import gateway_limits
from ferryman.settings_store import SqliteFile, database

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

    from ferryman.store.store import Store


class Direct:
    """Answers requests in this process."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def ask(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        return asyncio.run(self._answer(method, target, body))

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [],
            "client": None,
        }
        status, answer = 500, bytearray()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer.extend(message.get("body", b""))

        await self._app(scope, receive, send)
        return status, bytes(answer)


@contextmanager
def opened(settings: Settings, *, make: bool) -> Iterator[Direct]:
    """The management API on the database of `settings`; exit code 2 if that cannot be used.

    Args:
        settings: tell which database.
        make: it may be made if it is not there.

    Raises:
        StoreError: the database cannot be read.
    """
    # 30 MB that few commands need.
    from ferryman.control.access.counters import LedgerSpends, Rows  # noqa: PLC0415
    from ferryman.control.access.desk import Desk  # noqa: PLC0415
    from ferryman.control.access.publish import Publisher  # noqa: PLC0415
    from ferryman.control.app import create_app  # noqa: PLC0415
    from ferryman.control.feed import FeedServer  # noqa: PLC0415

    clock = SystemClock()
    with closing(_opened_store(settings, make=make)) as store:
        nobody = FeedServer(clock)  # it is never started: there are no workers to be told
        limits = gateway_limits(settings)
        publisher = Publisher(store, nobody, limits, Rows())
        spends = LedgerSpends(store, clock, limits.time_zone)
        with closing(Desk(store, publisher, spends, clock, settings.master_key)) as desk:
            yield Direct(create_app(desk.routes(), clock))


def _opened_store(settings: Settings, *, make: bool) -> Store:
    if make:
        _make(settings)
    return open_ledger(settings)


def _make(settings: Settings) -> None:
    """Make the tables if there are none; those of another version are left for `ferryman serve`."""
    from ferryman.store.store import Store  # noqa: PLC0415  # see above

    try:
        target = database(settings)
        with closing(Store(target)) as store:
            missing = isinstance(target, SqliteFile) and not target.path.is_file()
            if missing or store.revision() is None:
                store.migrate()
    except SettingsError as error:
        complain(error)
