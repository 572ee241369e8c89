"""The side of a process that the supervisor has started: what it is told, what it tells, when it ends."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from ferryman.errors import SettingsError
from ferryman.process.messages import (
    LENGTH_BYTES,
    Alive,
    Failed,
    Handover,
    ProcessState,
    Ready,
    framed,
    read_message,
)
from ferryman.tasks import TaskOwner
from ferryman.telemetry.log import configure
from ferryman.telemetry.writer import BackgroundWriter

log = structlog.get_logger("ferryman.process")

LIFELINE = 0
"""Standard input: the number needs no telling."""

HELD_BACK = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What the supervisor blocks in a process that it starts, until the process can take it: by default each of
them would end an interpreter that is still coming up, and what there was to store with it."""

BEAT_SECONDS = 1.0
"""How often a process tells that it lives: one message of 20 bytes, from its loop."""

THREADS_SECONDS = 2.0
"""For threads at the end, when all is done that could be: one that waits for a database that does not
answer would keep the process, and with it the journals from its successor."""

HANDOVER_SECONDS = 10.0
"""For the supervisor to hand over; it writes before the interpreter is up."""

ORPHAN_GRACE_SECONDS = 5.0
"""How long a process goes on whose supervisor was killed: nobody watches it, and its successor may be
waiting. After SIGTERM it is `shutdown_grace_seconds`."""

EXIT_FAILED = 1
EXIT_SETTINGS = 2

NOT_STARTED = "ferryman: this process is started by `ferryman serve`, whose settings did not come"


class Child:
    """This process, as a child of the supervisor.

    Attributes:
        handover: what it was given.
        stopping: it has been told to end, or the supervisor has gone.
        orphaned: the supervisor has gone.
    """

    def __init__(self, handover: Handover, lifeline: socket.socket) -> None:
        self.handover = handover
        self.stopping = asyncio.Event()
        self.orphaned = False
        self._lifeline = lifeline
        self._writer: asyncio.StreamWriter | None = None
        self._tasks = TaskOwner("child")

    def __repr__(self) -> str:
        return f"<Child {name_of(self.handover.role, self.handover.number)}>"

    @property
    def grace_seconds(self) -> float:
        """How long what runs may go on, once `stopping` is set."""
        grace_seconds = self.handover.settings.shutdown_grace_seconds
        return min(grace_seconds, ORPHAN_GRACE_SECONDS) if self.orphaned else grace_seconds

    async def begin(self, on_states: Callable[[list[ProcessState]], None] = lambda _: None) -> None:
        """Notice signals, and the end of the supervisor, and tell it from here on that we live.

        Args:
            on_states: takes what the supervisor tells of all processes; only the control plane is told.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        reader, self._writer = await asyncio.open_unix_connection(sock=self._lifeline)
        self._tasks.spawn(self._follow(reader, on_states), "lifeline")
        self._tasks.spawn(self._beat(self._writer), "beat")

    def on_hangup(self, reload: Callable[[], None]) -> None:
        """Call `reload` at SIGHUP, also at one that came before. Without this it is never noticed."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def ready(self) -> None:
        """Tell the supervisor that the work is done from here on."""
        if self._writer is not None and not self._writer.is_closing():  # the supervisor may have gone
            self._writer.write(framed(Ready()))

    async def close(self) -> None:
        """Let go of the supervisor."""
        await self._tasks.close()
        if self._writer is not None:
            self._writer.close()

    async def _follow(
        self, reader: asyncio.StreamReader, on_states: Callable[[list[ProcessState]], None]
    ) -> None:
        while (states := await read_message(reader, list[ProcessState])) is not None:
            on_states(states)
        self.orphaned = True
        if not self.stopping.is_set():
            log.warning("supervisor has gone", grace_seconds=self.grace_seconds)
            self.stopping.set()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            if not writer.transport.get_write_buffer_size():  # else the supervisor reads nothing now
                writer.write(framed(Alive()))
            await asyncio.sleep(BEAT_SECONDS)


def main(work: Callable[[Child], Coroutine[Any, Any, None]], loop_factory: Callable[[], Any] | None) -> None:
    """Run `work` as a child of the supervisor, with logging set up; the exit code tells how it ended.

    Args:
        work: begins the `Child`, does what this process is for, and returns when it is `stopping`.
        loop_factory: makes the event loop, `None` for asyncio's own.
    """
    try:
        lifeline = socket.socket(fileno=LIFELINE)
        lifeline.settimeout(HANDOVER_SECONDS)
        handover = _receive(lifeline)
    except OSError:
        sys.exit(NOT_STARTED)
    os.umask(0o077)  # what we make is for our user
    settings = handover.settings
    code = 0
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    with io.FileIO(sys.stderr.fileno(), "wb", closefd=False) as stderr:
        messages = BackgroundWriter(stderr, "ferryman.messages")
        name = name_of(handover.role, handover.number)
        configure(level=settings.log_level, text=text, writer=messages, process=name)
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                try:
                    runner.run(_run(work, handover, lifeline))
                finally:
                    waiting = _end_in_time(messages)
            waiting.cancel()
        except SettingsError as error:
            lifeline.setblocking(True)
            lifeline.sendall(framed(Failed(error.problems)))
            code = EXIT_SETTINGS
        except Exception:
            log.exception("process failed")
            code = EXIT_FAILED
        messages.close()
    _end_in_time(messages)
    sys.exit(code)


def _end_in_time(messages: BackgroundWriter) -> threading.Timer:
    """See to it that this process ends, whatever its threads wait for."""

    def end() -> None:
        log.warning("ended without its threads", seconds=THREADS_SECONDS)
        messages.close()
        os._exit(EXIT_FAILED)

    timer = threading.Timer(THREADS_SECONDS, end)
    timer.daemon = True
    timer.start()
    return timer


def name_of(role: str, number: int) -> str:
    """What a process is called in logs and tables."""
    return f"{role} {number}" if number else role


async def _run(
    work: Callable[[Child], Coroutine[Any, Any, None]], handover: Handover, lifeline: socket.socket
) -> None:
    # A copy: the loop closes its socket with itself, and a setting that fails is told after that.
    child = Child(handover, lifeline.dup())
    try:
        await work(child)
    finally:
        await child.close()


def _receive(lifeline: socket.socket) -> Handover:
    with lifeline.makefile("rb", buffering=0) as stream:
        length = int.from_bytes(_exactly(stream, LENGTH_BYTES), "big")
        return msgspec.json.decode(_exactly(stream, length), type=Handover)


def _exactly(stream: io.RawIOBase | Any, count: int) -> bytes:  # noqa: ANN401  # makefile's, which has no name
    data = b""
    while len(data) < count:
        part = stream.read(count - len(data))
        if not part:
            sys.exit(NOT_STARTED)
        data += part
    return data
