"""Kill processes of a gateway under load, in rounds, and compare its ledger with what was seen outside."""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ferryman.settings import Settings
from ferryman.settings_store import database
from proofs.kill9.check import Check, Ledger, conclude
from proofs.kill9.client import Clients
from proofs.kill9.family import Database, Family, Killer
from proofs.kill9.upstream import Upstream
from proofs.lost_answers import LostAnswers
from proofs.soak.process import Failed

THREADS = 8
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 1.2
"""Of a round, from the last process that runs to the next that dies."""


def prove(rounds: int, kind: str, database_url: str | None = None) -> int:
    """Kill `rounds` times and tell what came of it; the exit code.

    Args:
        rounds: as many each for workers, control plane, supervisor and all of them at once; and if the
            database's server is our own for it, and for the control plane where a commit is just done.
        kind: `sqlite` or `postgresql`.
        database_url: an empty database of PostgreSQL; without it a server is made, used and removed.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ferryman-kill9-")))
        server: Database | None = None
        line: LostAnswers | None = None
        way_url = database_url
        if kind == "postgresql" and database_url is None:
            from tests.support.postgres import Server  # noqa: PLC0415  # needs PostgreSQL's own programs

            own = server = stack.enter_context(Server())
            database_url = own.database()
            line = stack.enter_context(LostAnswers(directory, own.directory))
            way_url = database_url.replace(str(own.directory), str(directory))
        upstream = stack.enter_context(Upstream())
        family = stack.enter_context(Family(directory, upstream.url, way_url))
        killer = Killer(family, server, line)
        began = time.monotonic()
        clients = Clients(lambda: family.port, THREADS)
        problems = []
        clients.start()
        try:
            _rounds(killer, rounds)
        except Failed as error:
            problems.append(str(error))
        finally:
            clients.stop()
        settings = Settings(data_dir=str(directory / "data"), database_url=database_url)
        ledger, check, wrong = conclude(family, clients, upstream, database(settings))
        problems += [*wrong, *family.troubles()]
        _print_tables(time.monotonic() - began, killer, clients, ledger, check)
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing lost, nothing doubled" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _rounds(killer: Killer, rounds: int) -> None:
    dice = random.Random()
    names: list[str] = []
    for number in range(rounds):
        if not names:
            names = killer.round(dice)
        time.sleep(dice.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        name = names.pop()
        killer.strike(name)
        if (number + 1) % 10 == 0:
            print(f"{number + 1:>4} of {rounds} killed", flush=True)


def _print_tables(seconds: float, killer: Killer, clients: Clients, ledger: Ledger, check: Check) -> None:
    rows = [
        ("time", f"{seconds:.0f} s, {THREADS} clients"),
        ("killed", ", ".join(f"{name} {count}" for name, count in sorted(killer.killed.items()))),
        ("requests", f"{clients.sent.total()}: " + _told(clients.sent)),
        ("cut off", f"{clients.cut.total()}: " + _told(clients.cut)),
        ("entries", f"{len(ledger.rows)}: " + _told(ledger.ended)),
        ("checkpoints left", str(ledger.checkpoints)),
    ]
    print()
    for name, value in rows:
        print(f"{name:<18} {value}")
    check.print_table()


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
