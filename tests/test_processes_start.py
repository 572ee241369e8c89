"""Signals while processes still start, processes that never come up, and processes that hang."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ferryman.ledger.records import encode
from ferryman.ledger.writer import JournalWriter
from ferryman.process.messages import Handover, framed
from ferryman.process.place import FIRST_TICKS, SILENT_TICKS
from ferryman.process.place import Process as Place
from ferryman.settings import Settings
from ferryman.supervisor import Supervisor
from tests.support.gateway import HeldClock
from tests.support.journal import entry
from tests.support.processes import Family, alive, children, until
from tests.test_cli import Process

DEADLINE_SECONDS = 20.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a gateway that was killed has left."""
    journal = JournalWriter(tmp_path / "data" / "journal" / "1-dead", HeldClock())
    assert journal.closed(encode(entry("one")))
    journal.close()
    return tmp_path / "data"


def stored(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / "ferryman.db")) as database:
        return [row[0] for row in database.execute("SELECT id FROM entries")]


def starting(tmp_path: Path, **more: tuple[str, ...]) -> Process:
    words = ("-p", "0", "--runtime-directory", str(tmp_path / "run"), "--data-dir", str(tmp_path / "data"))
    return Process(tmp_path, *words, **more)


def begun(process: Process) -> dict[str, int]:
    """Its processes, as soon as they are there."""

    def all_there() -> dict[str, int]:
        found = children(process.popen.pid)
        return found if len(found) == 2 else {}

    return until(all_there)


@pytest.mark.parametrize("everybody", [True, False], ids=["to-all", "to-the-supervisor"])
def test_sigterm_at_the_start_stores_what_was_left_before(
    everybody: bool, tmp_path: Path, data: Path
) -> None:
    """By default the signal would end an interpreter that is still coming up."""
    with starting(tmp_path) as process:
        found = begun(process)
        for pid in found.values() if everybody else []:
            os.kill(pid, signal.SIGTERM)
        code, _, err = process.end(signal.SIGTERM)
    assert code == 0, err
    assert stored(data) == ["one"]
    assert list((data / "journal").glob("*-*")) == []
    assert {json.loads(text)["level"] for text in err.splitlines()} <= {"info"}, err


def test_hangup_ends_nobody_at_the_start_or_later(tmp_path: Path) -> None:
    with starting(tmp_path) as process:
        found = begun(process)
        for pid in found.values():
            os.kill(pid, signal.SIGHUP)
        events = []
        while "ready" not in events:
            events.append(json.loads(process.line(2))["event"])
        assert "process ended" not in events
        os.kill(found["control"], signal.SIGHUP)
        os.kill(found["worker 1"], signal.SIGHUP)
        assert process.event("nothing to reload")["process"] == "worker 1"
        assert children(process.popen.pid) == found
        code, _, err = process.end(signal.SIGTERM)
    assert (code, "process ended" in err) == (0, False)


def test_process_that_never_comes_up_ends_it_all(tmp_path: Path) -> None:
    """`ferryman serve` would go on for ever without serving anybody."""
    with starting(tmp_path, without=("starlette",)) as process:
        code, _, err = process.end()
    assert code == 1
    lines = err.splitlines()
    why = "control has ended 5 times at its start, at last with exit code 1; the log says why."
    assert lines[-1] == f"ferryman: {why}"
    assert err.count("ModuleNotFoundError: no starlette") == 5
    assert not list((tmp_path / "run").iterdir())


def test_status_tells_a_gateway_without_its_control_plane_from_none(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        control = family.pid("control")
        words = ["status", "-p", str(family.port), "--runtime-directory", str(tmp_path / "run")]
        (family.runtime / "control.sock").rename(family.runtime / "away")
        with Process(tmp_path, *words) as status:
            code, out, err = status.end()
        assert (code, out) == (3, "")
        told = (
            f"Ferryman runs on port {family.port} (supervisor {family.popen.pid}), but its control plane does"
        )
        assert err.startswith(f"ferryman: {told} not answer: No such file or directory; ")
        (family.runtime / "away").rename(family.runtime / "control.sock")
        family.popen.kill()
        until(lambda: not alive(control))
        with Process(tmp_path, *words) as status:
            code, out, err = status.end()
        assert (code, out) == (1, "")
        assert err.startswith(f"ferryman: nothing runs on port {family.port}: ")


def test_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ferryman.db").write_bytes(b"this is no database" * 100)
    with starting(tmp_path) as process:
        code, _, err = process.end()
    assert code == 2
    told = [text for text in err.splitlines() if not text.startswith("{")]
    assert told == ["ferryman: database_url: the database refused: file is not a database."]


WAITS = """
import asyncio, time
from ferryman.process.child import main

async def work(child):
    await child.begin()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)

main(work, None)
"""


def test_thread_that_waits_for_ever_does_not_keep_a_process(tmp_path: Path) -> None:
    """A database that does not answer: the process would keep the journals from its successor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(framed(Handover("control", 0, Settings(), str(tmp_path))))
        done = subprocess.run(
            [sys.executable, "-c", WAITS],
            stdin=theirs.fileno(),
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    assert json.loads(done.stderr)["event"] == "ended without its threads"


# ── processes that hang ──


async def until_so(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("which", ["worker", "control"])
def test_process_that_hangs_is_replaced(which: str, tmp_path: Path) -> None:
    settings = Settings(
        port=0,
        data_dir=str(tmp_path / "data"),
        runtime_directory=str(tmp_path / "run"),
        upstream_url="http://127.0.0.1:9",
    )

    async def work() -> None:
        ports: list[int] = []
        supervisor = Supervisor(settings, on_ready=ports.append, silent_ticks=3)
        running = asyncio.create_task(supervisor.run())  # it is what is tested
        await until_so(lambda: ports)
        place, other = supervisor.control, supervisor.workers[0]
        if which == "worker":
            place, other = other, place
        before, untouched = place.pid, other.pid
        assert before is not None
        os.kill(before, signal.SIGSTOP)
        await until_so(lambda: place.state == "running" and place.pid not in {None, before})
        assert not alive(before)
        assert (place.restarts, other.pid, other.restarts) == (1, untouched, 0)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{ports[0]}/health")).status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await running

    asyncio.run(work())


def test_silence_is_counted_in_looks_from_the_last_word_on() -> None:
    async def work() -> None:
        place = Place("worker", 1)
        assert not any(place.tick() for _ in range(1000)), "nobody is there"
        place.running = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            place.begins()
            assert not any(place.tick() for _ in range(FIRST_TICKS - 1))
            place.heard()
            assert not any(place.tick() for _ in range(SILENT_TICKS - 1))
            place.heard()
            hangs = [place.tick() for _ in range(SILENT_TICKS + 1)]
            assert [number for number, hung in enumerate(hangs, 1) if hung] == [SILENT_TICKS]
        finally:
            place.send(signal.SIGKILL)
            await place.running.wait()

    asyncio.run(work())
