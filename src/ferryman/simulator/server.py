"""Runs the simulator: in the foreground for the command line, on a thread for tests."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from ferryman.simulator.app import create_app
from ferryman.simulator.clock import Clock
from ferryman.simulator.connection import connection_class
from ferryman.simulator.recorder import Recorder
from ferryman.simulator.settings import SimulatorSettings

KEEP_ALIVE_SECONDS = (
    600  # longer than any client's pool keeps a connection, so that it is never ours that ends
)
BACKLOG = 2_048
START_TIMEOUT_SECONDS = 10.0
TICK_SECONDS = 0.02  # how soon a stop is noticed
GRACE_SECONDS = 1  # for answers under way when the foreground server is asked to stop


def run(
    settings: SimulatorSettings,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: The simulator's.
        host: A name or address to listen on.
        port: 0 takes a free one.
        on_ready: Called with the base URL once connections are accepted.

    Raises:
        OSError: When the address cannot be listened on.
    """
    app = create_app(settings)
    listener = _listen(host, port)
    server = _Uvicorn(_config(app), grace_seconds=GRACE_SECONDS)
    server.on_ready = lambda: on_ready(_url(listener)) if on_ready else None
    with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn once it has stopped
        server.run(sockets=[listener])


class Server:
    """A simulator on a thread of this process, for tests.

        with Server(SimulatorSettings(api_keys=("secret",))) as simulator:
            httpx.get(f"{simulator.url}/v1/models", ...)
            assert simulator.recorder.last.method == "GET"

    It can be started again after it was stopped, on the same port, but then records anew.
    """

    def __init__(
        self, settings: SimulatorSettings | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.settings = settings or SimulatorSettings()
        self.host = host
        self.port = port
        self._recorder: Recorder | None = None
        self._clock: Clock | None = None
        self._server: _Uvicorn | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Server({self.url!r}, {'running' if self._thread else 'stopped'})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def recorder(self) -> Recorder:
        """What the server has received since it was started."""
        if self._recorder is None:
            raise RuntimeError("the simulator has not been started")
        return self._recorder

    @property
    def clock(self) -> Clock:
        """By which its batches end and its files expire."""
        if self._clock is None:
            raise RuntimeError("the simulator has not been started")
        return self._clock

    def start(self) -> None:
        """Listen, and return when connections are accepted.

        Raises:
            OSError: When the address cannot be listened on.
        """
        app = create_app(self.settings)
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._recorder, self._clock = app.state.recorder, app.state.clock
        server = self._server = _Uvicorn(_config(app), grace_seconds=0)
        server.on_ready = ready.set
        self._thread = threading.Thread(
            target=lambda: server.run(sockets=[listener]), name="ferryman-simulator", daemon=True
        )
        self._thread.start()
        if not ready.wait(START_TIMEOUT_SECONDS):
            raise RuntimeError(f"the simulator did not start within {START_TIMEOUT_SECONDS} s")

    def stop(self) -> None:
        """Break off what is under way, close every connection, and wait for the thread to end."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._thread = None


class _Uvicorn(uvicorn.Server):
    """uvicorn, without its long waits at the end."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float) -> None:
        super().__init__(config)
        self.grace_seconds = grace_seconds
        self.on_ready: Callable[[], None] = lambda: None

    async def main_loop(self) -> None:
        self.on_ready()
        while not self.should_exit:  # noqa: ASYNC110 - set by signal handlers and other threads
            await asyncio.sleep(TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self.grace_seconds and self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=self.grace_seconds)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connection_class(app.state.recorder),
        loop="asyncio",  # resets need a real socket object, and the same loop everywhere is one surprise less
        ws="none",
        lifespan="off",
        log_config=None,  # tests have a logging configuration of their own
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Not socket.create_server(): asyncio sets TCP_NODELAY only where the protocol is named, and without
    # it each answer waits 40 ms for the client's delayed acknowledgement of its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
