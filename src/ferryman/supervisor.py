"""The parent: starts, watches, restarts and drains the workers and the control plane. It decides nothing.

Children are fresh interpreters, `python -m …`: a fork would take the state of threads and locks along,
and each child imports only what it needs. Their settings go over their lifelines, so that
no secret stands on a command line (see `ferryman.process`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace

import structlog

from ferryman.clock import Clock, SystemClock
from ferryman.errors import SettingsError, StartError
from ferryman.limits.table import CounterTable
from ferryman.process.child import HELD_BACK
from ferryman.process.directory import RuntimeDirectory, directory_of
from ferryman.process.messages import (
    Alive,
    Failed,
    Handover,
    ProcessState,
    Ready,
    Rereads,
    framed,
    read_message,
)
from ferryman.process.place import MAX_RESTART_SECONDS, RESTART_SECONDS, SILENT_TICKS, TICK_SECONDS, Process
from ferryman.relay.listen import Entrance
from ferryman.settings import Settings
from ferryman.tasks import TaskOwner

log = structlog.get_logger("ferryman.supervisor")

MODULES = {"worker": "ferryman.relay.process", "control": "ferryman.control.process"}

HEALTHY_SECONDS = 30.0
"""A process that has lived so long is started again after `RESTART_SECONDS`."""

WORKER_END_SECONDS = 10.0
"""What a worker may take beyond its grace: for clients to take what was written, and for the log."""

CONTROL_END_SECONDS = 20.0
"""What the control plane may take after the last worker has gone: ten seconds to store what is left, and a
few each for answers under way, its threads and its log."""

MAX_FIRST_DEATHS = 5
"""So often may a process die before all have run for the first time; then it is no accident."""


class Supervisor:
    """The processes of one `ferryman serve`."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_ready: Callable[[int], None],
        clock: Clock | None = None,
        silent_ticks: int = SILENT_TICKS,
        rereads: Rereads | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: in force.
            on_ready: is called once, with the port, when all processes do their work.
            clock: by default the machine's.
            silent_ticks: see `ferryman.process.place`.
            rereads: the settings file, which the control plane looks at again.
        """
        self._rereads = rereads
        self.settings = settings
        self.control = Process("control", 0, silent_ticks)
        self.workers = [Process("worker", number + 1, silent_ticks) for number in range(settings.workers)]
        self._clock = clock if clock is not None else SystemClock()
        self._on_ready = on_ready
        self._began_at = self._clock.now()
        self._told_ready = False
        self._stopping = asyncio.Event()
        self._failure: SettingsError | StartError | None = None
        self._entrance: Entrance | None = None
        self._directory: RuntimeDirectory | None = None
        self._tasks = TaskOwner("supervisor")

    def __repr__(self) -> str:
        return f"<Supervisor of {self._all}>"

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends all processes at once.

        Raises:
            SettingsError: a process cannot start because of a setting.
            StartError: one dies again and again before all have run.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_end_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._entrance = Entrance(self.settings)
        try:
            self._directory = directory_of(self.settings, self._entrance.port)
            self._directory.claim()
            self._make_counters(self._directory)
            self._tasks.spawn(self._watch(), "watch")
            for process in self._all:
                self._tasks.spawn(self._keep(process), process.name)
            await self._stopping.wait()
            await self._drain()
        finally:
            self._kill_all()
            await asyncio.gather(*(process.ended.wait() for process in self._all if process.running))
            await self._tasks.close()
            self._entrance.close()
            if self._directory is not None:
                self._directory.release()
        if self._failure is not None:
            raise self._failure

    def _make_counters(self, directory: RuntimeDirectory) -> None:
        """Make the table of counters, before there is anybody to open it.

        Raises:
            SettingsError: there is no room for it.
        """
        try:
            CounterTable.create(directory.counters, self.settings.workers).close()
        except OSError as error:
            problem = f"no table of counters can be made there: {error.strerror or error}"
            raise SettingsError([f"runtime_directory: {problem}."]) from error

    @property
    def _all(self) -> list[Process]:
        return [self.control, *self.workers]

    # ── signals ──

    def _on_end_signal(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            return
        self._kill_all()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _reload(self) -> None:
        for worker in self.workers:
            worker.send(signal.SIGHUP)

    def _kill_all(self) -> None:
        for process in self._all:
            process.wanted = False
            process.unwanted.set()
            process.send(signal.SIGKILL)

    # ── the life of a process ──

    async def _keep(self, process: Process) -> None:
        """Keep `process` running as long as it is wanted."""
        try:
            while process.wanted:
                began = self._clock.monotonic()
                cause = await self._live(process)
                if not process.wanted:
                    break
                if self._clock.monotonic() - began >= HEALTHY_SECONDS:
                    process.wait_seconds = RESTART_SECONDS
                log.error(
                    "process ended", name=process.name, cause=cause, again_in_seconds=process.wait_seconds
                )
                if not self._told_ready and process.restarts + 1 >= MAX_FIRST_DEATHS:
                    times = f"{MAX_FIRST_DEATHS} times at its start, at last with {cause}"
                    self._give_up(StartError(f"{process.name} has ended {times}; the log says why."))
                self._change(process, "waiting")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(process.wait_seconds):
                        await process.unwanted.wait()
                process.wait_seconds = min(2 * process.wait_seconds, MAX_RESTART_SECONDS)
                process.restarts += 1
        finally:
            process.ended.set()
            self._tell()

    async def _watch(self) -> None:
        """End what hangs, so that it is replaced."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for process in self._all:
                if process.tick():
                    log.error("process hangs", name=process.name, pid=process.pid, now="it is killed")
                    process.send(signal.SIGKILL)

    async def _live(self, process: Process) -> str:
        """One life of `process`, from its start to its end; why it ended."""
        try:
            reader = await self._start(process)
        except OSError as error:
            return f"it could not be started: {error.strerror or error}"
        assert process.running is not None  # noqa: S101  # just started
        try:
            while (message := await read_message(reader, Alive | Ready | Failed)) is not None:  # type: ignore[arg-type]  # a union is a type to msgspec
                process.heard()
                self._on_message(process, message)
        except ValueError as error:
            log.error("process speaks nonsense", name=process.name, reason=str(error))  # noqa: TRY400  # its words say it all
            process.send(signal.SIGKILL)
        code = await process.running.wait()
        process.running = process.started_at = None
        if process.lifeline is not None:
            process.lifeline.close()
            process.lifeline = None
        return cause_of(code)

    async def _start(self, process: Process) -> asyncio.StreamReader:
        assert self._entrance is not None  # noqa: S101  # taken at the start
        assert self._directory is not None  # noqa: S101  # the same
        shared = self._entrance.inherited if process.role == "worker" else None
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)  # it is inherited
        with theirs:
            try:
                # A group of its own: Ctrl-C in a terminal is for us, who end the others in their order.
                # `-P`: the working directory is no place for modules.
                process.running = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", MODULES[process.role], process.name),
                    stdin=theirs.fileno(),
                    pass_fds=() if shared is None else (shared.fileno(),),
                    process_group=0,
                )
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        process.begins()
        if not process.wanted:  # meanwhile
            process.send(signal.SIGTERM)
        process.started_at = self._clock.now()
        reader, process.lifeline = await asyncio.open_unix_connection(sock=ours)
        handover = Handover(
            process.role,
            process.number,
            replace(self.settings, port=self._entrance.port),
            str(self._directory.path),
            None if shared is None else shared.fileno(),
            self._rereads,
        )
        process.lifeline.write(framed(handover))
        self._change(process, "starting")
        return reader

    def _on_message(self, process: Process, message: Alive | Ready | Failed) -> None:
        if isinstance(message, Alive):
            return
        if isinstance(message, Failed):
            if self._told_ready:
                log.error("process cannot start", name=process.name, problems=message.problems)
            else:
                self._give_up(SettingsError(message.problems))
            return
        self._change(process, "running")
        if not self._told_ready and all(one.state == "running" for one in self._all):
            self._told_ready = True
            assert self._entrance is not None  # noqa: S101  # taken at the start
            self._on_ready(self._entrance.port)
        elif self._told_ready:
            log.info("process runs again", name=process.name, pid=process.pid, restarts=process.restarts)

    def _give_up(self, failure: SettingsError | StartError) -> None:
        """End all of it because of `failure`, if it is the first."""
        if self._failure is None:
            self._failure = failure
            self._stopping.set()

    def _change(self, process: Process, state: str) -> None:
        """`process` is in another state."""
        if process.wanted:
            process.state = state
        self._tell()

    def _tell(self) -> None:
        """Tell the control plane of all processes."""
        lifeline = self.control.lifeline
        if lifeline is not None and not lifeline.is_closing():
            pid, since = os.getpid(), self._began_at
            states = [ProcessState("supervisor", 0, "running", pid, since, 0)]
            lifeline.write(framed(states + [one.told() for one in self._all]))

    # ── the end ──

    async def _drain(self) -> None:
        """End the workers, then the control plane, which stores what they have written."""
        assert self._entrance is not None  # noqa: S101  # taken at the start
        self._entrance.close()
        for worker in self.workers:
            worker.end()
        self._tell()
        await self._ended(self.workers, self.settings.shutdown_grace_seconds + WORKER_END_SECONDS)
        self.control.end()
        await self._ended([self.control], CONTROL_END_SECONDS)

    async def _ended(self, processes: list[Process], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for process in processes:
                    await process.ended.wait()
        for process in processes:
            if not process.ended.is_set():
                log.error("process killed", name=process.name, reason=f"it did not end within {seconds:g} s")
                process.send(signal.SIGKILL)


def cause_of(code: int) -> str:
    """Why a process ended that ended with `code`, which is negative for a signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
