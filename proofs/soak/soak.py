"""Mixed load with faults for as long as wanted, and what has to hold at its end."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.store.engine import CACHE_KIBIBYTES, open_engines
from ferryman.tasks import TaskOwner
from proofs.soak.client import Client
from proofs.soak.kinds import WEIGHTS, Kind
from proofs.soak.process import Failed, Gateway, Upstream, open_files, resident_bytes

USERS = 24
PAUSE_SECONDS = 0.1
ONE_SECONDS = 60.0
DRAIN_SECONDS = 30.0
LATE_SECONDS = 30.0
"""A line may come later than its answer: a drained call has its line at its own end."""

GROWTH_BYTES = 5_000_000
"""What resident memory may gain between the first fifth and the end, both as medians over a tenth of the
time. A leak of 100 bytes an exchange would pass it within some minutes; the medians of a run without a
leak lie within 2 MB of each other (freed blocks of large bodies between those in use)."""

SHORT_GROWTH_BYTES = 10_000_000
"""The same below five minutes: the allocator still collects the largest bodies that it has seen at once."""

CACHE_BYTES = CACHE_KIBIBYTES * 1024
"""What the control plane may gain beside: SQLite fills its cache with the pages that it writes. Measured, it
is full after 60,000 entries, and from there on memory stands still."""

SETTINGS = {
    "client_idle_seconds": 5, "client_read_timeout_seconds": 2, "client_stall_timeout_seconds": 3,
    "first_byte_timeout_seconds": 3, "stream_idle_timeout_seconds": 3, "upstream_idle_seconds": 1,
    "drain_timeout_seconds": 5, "shutdown_grace_seconds": 5, "workers": 2,
}  # fmt: skip


class Sample(NamedTuple):
    """What the gateway's processes take at one time, by their names."""

    at_seconds: float
    resident_bytes: dict[str, int]
    open_files: dict[str, int]


class Soak:
    """The load on one gateway."""

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self.gateway = gateway
        self.seconds = seconds
        self.results: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self.idle_files: dict[str, int] = {}

    async def run(self) -> None:
        """Warm up, load, and wait until all of it is over."""
        await asyncio.gather(*(self._one(kind, random.Random(1)) for kind in WEIGHTS))  # dice
        self.idle_files = await self._settled(None)
        self.results.clear()
        self.began = time.monotonic()
        owner = TaskOwner("soak")
        owner.spawn(self._watch(), "watch")
        try:
            await asyncio.gather(*(self._user(number) for number in range(USERS)))
        finally:
            await owner.close()
        self.sample()
        await self._settled(self.idle_files)

    async def _user(self, number: int) -> None:
        dice = random.Random(number)  # dice
        while time.monotonic() - self.began < self.seconds:
            (kind,) = dice.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
            await self._one(kind, dice)
            await asyncio.sleep(dice.random() * 2 * PAUSE_SECONDS)

    async def _one(self, kind: Kind, dice: random.Random) -> None:
        name = getattr(kind, "__name__", "?")
        try:
            async with asyncio.timeout(ONE_SECONDS), Client(self.gateway.log, self.gateway.port) as client:
                await kind(client, dice)
        except (Failed, OSError, EOFError, TimeoutError) as error:
            self.results[f"{name} went wrong"] += 1
            if len(self.wrong) < 20:
                self.wrong.append(f"{name}: {type(error).__name__}: {error}")
        else:
            self.results[name] += 1

    async def _settled(self, files: dict[str, int] | None) -> dict[str, int]:
        """Wait until no process has more than `files` open, or their numbers stand still; those numbers."""
        deadline = time.monotonic() + DRAIN_SECONDS
        last: dict[str, int] = {}
        since = 0.0
        while time.monotonic() < deadline:
            now = self.open_files()
            if now != last:
                last, since = now, time.monotonic()
            if files is not None and not more_than(files, now):
                break
            if files is None and time.monotonic() - since > 4:
                break
            await asyncio.sleep(0.1)
        return last

    def open_files(self) -> dict[str, int]:
        """The file descriptors of each process now."""
        return {name: open_files(pid) for name, pid in self.gateway.processes().items()}

    async def _watch(self) -> None:
        every = min(10.0, self.seconds / 20)
        while True:
            await asyncio.sleep(every)
            self.sample()
            print(self.progress(), flush=True)

    def sample(self) -> None:
        """Note what the gateway takes now."""
        at = time.monotonic() - self.began
        memory = {name: resident_bytes(pid) for name, pid in self.gateway.processes().items()}
        self.samples.append(Sample(at, memory, self.open_files()))

    def progress(self) -> str:
        """One line about now."""
        log, last = self.gateway.log, self.samples[-1]
        ended = ", ".join(f"{count} {name}" for name, count in log.ended.most_common())
        return (
            f"{last.at_seconds:6.0f} s  {log.lines:>7} lines ({ended})  {len(log.missing(LATE_SECONDS))} late"
            f"  {told(last.resident_bytes, 1e6)} MB  {told(last.open_files)} files"
            f"  {len(self.wrong)} wrong"
        )

    def growth_bytes(self, name: str) -> int:
        """Resident memory of a process at the end over that after the first fifth of the time."""

        def median(begin: float, end: float) -> float:
            part = [s for s in self.samples if begin <= s.at_seconds / self.seconds <= end]
            return statistics.median(s.resident_bytes[name] for s in part)

        return int(median(0.9, 9.9) - median(0.15, 0.3))


def more_than(allowed: dict[str, int], now: dict[str, int]) -> list[str]:
    """The processes that have more than they are allowed."""
    return [name for name, count in now.items() if count > allowed.get(name, 0)]


def told(values: dict[str, int], unit: float = 1) -> str:
    """The values of all processes in one word."""
    return "/".join(f"{value / unit:.0f}" for _, value in sorted(values.items()))


def entries_of(directory: Path) -> int:
    """How many entries the ledger has."""
    engines = open_engines(database(Settings(data_dir=str(directory))))
    with engines.read.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM entries").scalar_one()
    engines.read.dispose()
    engines.write.dispose()
    return int(count)


def prove(seconds: float) -> int:
    """Soak for `seconds` and tell what came of it; the exit code."""
    with Upstream() as upstream, Gateway(upstream.url, **SETTINGS) as gateway:
        soak = Soak(gateway, seconds)
        asyncio.run(soak.run())
        files = soak.open_files()
        gateway.stop()
        allowed = GROWTH_BYTES if seconds >= 300 else SHORT_GROWTH_BYTES
        growth = {name: soak.growth_bytes(name) for name in soak.idle_files}
        missing, entries = gateway.log.missing(), entries_of(gateway.data_directory)
        problems = [*soak.wrong, *gateway.log.wrong, *gateway.troubles()]
        if missing:
            problems.append(f"{len(missing)} requests without a log line, such as {missing[:5]}")
        if entries != gateway.log.lines:
            problems.append(f"{entries} entries in the ledger for {gateway.log.lines} log lines")
        if names := more_than(soak.idle_files, files):
            problems.append(f"open files of {names}: {files}; {soak.idle_files} before the load")
        bounds = dict.fromkeys(growth, allowed) | {"control": allowed + CACHE_BYTES}
        problems += [
            f"{name}: {growth[name] / 1e6:.1f} MB more memory than after the first fifth"
            for name in more_than(bounds, growth)
        ]
        _print_table(soak, growth, bounds, files, entries)
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing wrong" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _print_table(
    soak: Soak, growth: dict[str, int], bounds: dict[str, int], files: dict[str, int], entries: int
) -> None:
    log, samples = soak.gateway.log, soak.samples
    rows = [
        ("load", f"{soak.seconds:.0f} s, {sum(soak.results.values())} visits of {USERS} clients"),
        ("log lines", f"{log.lines}, {len(log.missing())} missing"),
        *[(f"  {name}", str(count)) for name, count in log.ended.most_common()],
        ("entries in the ledger", str(entries)),
        ("", " | ".join(f"{name:>10}" for name in growth)),
    ]
    figures: list[tuple[str, Callable[[str], float]]] = [
        ("memory, first (MB)", lambda name: samples[0].resident_bytes[name] / 1e6),
        ("memory, last (MB)", lambda name: samples[-1].resident_bytes[name] / 1e6),
        ("memory, most (MB)", lambda name: max(one.resident_bytes[name] for one in samples) / 1e6),
        ("memory, growth (MB)", lambda name: growth[name] / 1e6),
        ("memory, growth allowed (MB)", lambda name: bounds[name] / 1e6),
        ("open files, most", lambda name: max(one.open_files[name] for one in samples)),
        ("open files, before", lambda name: soak.idle_files[name]),
        ("open files, after", lambda name: files[name]),
    ]
    rows += [(what, " | ".join(f"{figure(name):>10.4g}" for name in growth)) for what, figure in figures]
    rows += [(f"  {name}", str(count)) for name, count in sorted(soak.results.items())]
    print()
    for name, value in rows:
        print(f"{name:<30} {value}")
