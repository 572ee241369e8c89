"""uvicorn within our own loop: it takes no signals and does not tick."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger("ferryman.control")

BACKLOG = 512
GRACE_SECONDS = 3
"""For answers under way when it is stopped: whoever waits for them has been drained before."""

KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """An application on sockets that listen already."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,  # the worker adds it
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
        super().__init__(config)

    def __repr__(self) -> str:
        return f"<Server {len(self.server_state.connections)} connections>"

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Take connections on `sockets`, which are closed with us."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=sockets)

    async def stop(self) -> None:
        """Let what is under way finish within `GRACE_SECONDS`."""
        await self.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


class LogHandler(logging.Handler):
    """Takes what uvicorn has to say into our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass `record` on."""
        log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
