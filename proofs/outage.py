"""The database away under load: nothing fails, nothing is lost, and whoever asks for it is told so."""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

from ferryman.settings import Settings
from ferryman.settings_store import database
from proofs.kill9.check import Check, Ledger, conclude
from proofs.kill9.client import Clients
from proofs.kill9.family import Family
from proofs.kill9.upstream import Upstream
from proofs.lost_answers import LostAnswers
from proofs.soak.process import Failed

THREADS = 8
QUIET_SECONDS = 1.0
"""Of load before the database goes, and after it is back."""

SLOWEST_SECONDS = 5.0
"""Until an answer begins, 0.2 s of which are the upstream's: the rest is a busy machine."""

REFUSED_SECONDS = 5.0
HANGING_SECONDS = 50.0
"""Until somebody who asks for the ledger has an answer. A server that hangs while it answers is given up
after 35 s (`ferryman.store.engine.ANSWER_SECONDS`), and may then be tried twice, for 5 s each."""

PATIENCE_SECONDS = 12.0
"""A server that hangs is waited for: somebody is told that it is away once two pings have had no answer."""

BACK_SECONDS = 50.0
"""Until the ledger is read and written again: a second or two; but what was begun just before the server
goes on is given the time that it takes to give it up."""

ASK_SECONDS = 0.5
MASTER_KEY = "sk-master-of-the-proof"


class Server(Protocol):
    """The database's server."""

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def stop(self, mode: str) -> None:
        """End it; `immediate` is without writing down what it has in memory."""

    def kill(self) -> None:
        """Kill all its processes at once."""

    def hang(self) -> None:
        """Let it answer nothing more."""

    def go_on(self) -> None:
        """Let it answer again."""


Change = tuple[Callable[[Server], None], Callable[[Server], None]]

WAYS: dict[str, Change] = {
    "stop": (lambda server: server.stop("immediate"), lambda server: server.start()),
    "kill": (lambda server: server.kill(), lambda server: server.start()),
    "hang": (lambda server: server.hang(), lambda server: server.go_on()),
}
"""How the database goes, and comes back."""

LOSES_ANSWERS = "lose-answers"
"""The database stays, but answers to commits do not arrive: what is sent again is there already."""


class Asked(NamedTuple):
    """One question for the ledger; `status` is 0 if there was no answer."""

    at: float
    seconds: float
    status: int
    told: str


class Reader:
    """Asks for `/spend/logs` now and then, over the port that clients use."""

    def __init__(self, port: int) -> None:
        self.asked: list[Asked] = []
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the last answer."""
        self._stopping.set()
        self._thread.join()

    def wait_answered(self, since: float, seconds: float) -> float:
        """Wait for an answer from the database to a question after `since`; how long after that it came.

        Raises:
            Failed: there is none within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for one in list(self.asked):
                if one.at >= since and one.status == 200:
                    return one.at + one.seconds - since
            time.sleep(ASK_SECONDS / 5)
        raise Failed(f"the ledger cannot be read {seconds:g} s after the database came back")

    def _run(self) -> None:
        while not self._stopping.wait(ASK_SECONDS):
            began = time.monotonic()
            status, told = self._ask()
            self.asked.append(Asked(began, time.monotonic() - began, status, told))

    def _ask(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2 * HANGING_SECONDS)
        try:
            connection.request("GET", "/spend/logs/v2?page_size=1", headers={"x-api-key": MASTER_KEY})
            response = connection.getresponse()
            body = json.loads(response.read())
            if response.status == 200:
                return 200, "data"
            return response.status, f"{body['type']} {body['error']['type']}: {body['error']['message']}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return 0, repr(error)
        finally:
            connection.close()


class Told(NamedTuple):
    """How one outage went."""

    way: str
    away_seconds: float
    back_seconds: float
    began: float
    ended: float


def prove(seconds: float, ways: list[str]) -> int:
    """Take the database away for `seconds`, in each of `ways`, and tell what came of it; the exit code."""
    away = [way for way in ways if way != LOSES_ANSWERS]
    codes = [_prove(seconds, some) for some in (away, [LOSES_ANSWERS] if away != ways else []) if some]
    return max(codes)


def _prove(seconds: float, ways: list[str]) -> int:
    from tests.support.postgres import Server  # noqa: PLC0415  # needs PostgreSQL's own programs

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferryman-outage-")))
        server = stack.enter_context(Server())
        url = way_url = server.database()
        line = None
        if ways == [LOSES_ANSWERS]:
            line = stack.enter_context(LostAnswers(directory, server.directory))
            way_url = url.replace(str(server.directory), str(directory))
        upstream = stack.enter_context(Upstream())
        family = stack.enter_context(Family(directory, upstream.url, way_url, master_key=MASTER_KEY))
        clients, reader = Clients(lambda: family.port, THREADS), Reader(family.port)
        problems: list[str] = []
        outages: list[Told] = []
        clients.start()
        reader.start()
        try:
            for way in ways:
                change = WAYS[way] if line is None else (lambda _: line.arm(True), lambda _: line.arm(False))
                outages.append(_outage(way, change, server, seconds, reader))
        except Failed as error:
            problems.append(str(error))
        finally:
            clients.stop()
            reader.stop()
        ledger, check, wrong = conclude(family, clients, upstream, database(Settings(database_url=url)))
        problems += [*wrong, *family.troubles(), *_failures(clients)]
        problems += [problem for told in outages for problem in _answers(told, reader.asked)]
        if line is not None and not line.lost:
            problems.append("no answer was lost")
        _print_tables(outages, clients, reader, ledger, check)
        if line is not None:
            print(f"commits whose answer was lost: {line.lost}")
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing failed, nothing lost, nothing doubled" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _outage(way: str, change: Change, server: Server, seconds: float, reader: Reader) -> Told:
    take, bring = change
    time.sleep(QUIET_SECONDS)
    began = time.monotonic()
    take(server)
    print(f"database away: {way}", flush=True)
    try:
        time.sleep(seconds)
    finally:
        bring(server)
    ended = time.monotonic()
    back = reader.wait_answered(ended, BACK_SECONDS)
    print(f"database back; read again {back:.1f} s later", flush=True)
    time.sleep(QUIET_SECONDS)
    return Told(way, ended - began, back, began, ended)


def _failures(clients: Clients) -> list[str]:
    """What clients saw of the outage, who should have seen nothing."""
    failed = [one for one in clients.answers if one.status != one.asked]
    problems = [f"not the answer of the upstream: {one}" for one in failed[:5]]
    if clients.cut:
        problems.append(f"requests without a whole answer: {dict(clients.cut)}")
    if clients.slowest_seconds > SLOWEST_SECONDS:
        problems.append(f"an answer took {clients.slowest_seconds:.1f} s")
    return problems


def _answers(told: Told, asked: list[Asked]) -> list[str]:
    """What is wrong with what was told to those who asked for the ledger meanwhile."""
    within = [one for one in asked if told.began <= one.at + one.seconds and one.at <= told.ended]
    allowed = HANGING_SECONDS if told.way == "hang" else REFUSED_SECONDS
    refusal = "error api_error: the ledger cannot be read for now"
    problems = [
        f"{told.way}: {one} in place of a 503"
        for one in within
        if one.status != 200 and not (one.status == 503 and one.told.startswith(refusal))
    ]
    waited = told.way == LOSES_ANSWERS or (told.way == "hang" and told.away_seconds < PATIENCE_SECONDS)
    if not waited and not any(one.status == 503 for one in within):
        problems.append(f"{told.way}: nobody was told that the database is away")
    slowest = max((one.seconds for one in within), default=0.0)
    if slowest > allowed:
        problems.append(f"{told.way}: an answer about the ledger took {slowest:.1f} s")
    return problems[:5]


def _print_tables(
    outages: list[Told], clients: Clients, reader: Reader, ledger: Ledger, check: Check
) -> None:
    print()
    for told in outages:
        within = [one for one in reader.asked if told.began <= one.at <= told.ended]
        waits = [one.seconds for one in within] or [0.0]
        statuses = dict(Counter(one.status for one in within))
        print(
            f"{told.way:<18} {told.away_seconds:.0f} s away, {told.back_seconds:.1f} s to recover; "
            f"/spend/logs meanwhile {statuses}, median {statistics.median(waits):.1f} s, "
            f"slowest {max(waits):.1f} s"
        )
    print(f"{'requests':<18} {clients.sent.total()}: {dict(clients.sent)}")
    print(f"{'slowest answer':<18} {clients.slowest_seconds:.2f} s")
    print(f"{'entries':<18} {len(ledger.rows)}: {dict(ledger.ended)}")
    check.print_table()
