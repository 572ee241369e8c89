"""Mixed load with faults for as long as wanted, and what has to hold at its end."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from typing import NamedTuple

from ferryman.tasks import TaskOwner
from proofs.soak.client import Client
from proofs.soak.kinds import WEIGHTS, Kind
from proofs.soak.process import Failed, Gateway, Upstream

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

SETTINGS = {
    "client_idle_seconds": 5, "client_read_timeout_seconds": 2, "client_stall_timeout_seconds": 3,
    "first_byte_timeout_seconds": 3, "stream_idle_timeout_seconds": 3, "upstream_idle_seconds": 1,
    "drain_timeout_seconds": 5, "shutdown_grace_seconds": 5,
}  # fmt: skip


class Sample(NamedTuple):
    """What the gateway takes at one time."""

    at_seconds: float
    resident_bytes: int
    open_files: int


class Soak:
    """The load on one gateway."""

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self.gateway = gateway
        self.seconds = seconds
        self.results: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.samples: list[Sample] = []
        self.began = time.monotonic()
        self.idle_files = 0

    async def run(self) -> None:
        """Warm up, load, and wait until all of it is over."""
        await asyncio.gather(*(self._one(kind, random.Random(1)) for kind in WEIGHTS))  # dice
        self.idle_files = await self._settled(0)
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

    async def _settled(self, files: int) -> int:
        """Wait until no more than `files` are open, or their number stands still; that number."""
        deadline = time.monotonic() + DRAIN_SECONDS
        last, since = -1, 0.0
        while time.monotonic() < deadline:
            now = self.gateway.open_files()
            if now != last:
                last, since = now, time.monotonic()
            if (files and now <= files) or (not files and time.monotonic() - since > 4):
                break
            await asyncio.sleep(0.1)
        return last

    async def _watch(self) -> None:
        every = min(10.0, self.seconds / 20)
        while True:
            await asyncio.sleep(every)
            self.sample()
            print(self.progress(), flush=True)

    def sample(self) -> None:
        """Note what the gateway takes now."""
        at = time.monotonic() - self.began
        self.samples.append(Sample(at, self.gateway.resident_bytes(), self.gateway.open_files()))

    def progress(self) -> str:
        """One line about now."""
        log, last = self.gateway.log, self.samples[-1]
        ended = ", ".join(f"{count} {name}" for name, count in log.ended.most_common())
        return (
            f"{last.at_seconds:6.0f} s  {log.lines:>7} lines ({ended})  {len(log.missing(LATE_SECONDS))} late"
            f"  {last.resident_bytes / 1e6:6.1f} MB  {last.open_files:>3} files"
            f"  {len(self.wrong)} wrong"
        )

    def growth_bytes(self) -> int:
        """Resident memory at the end over that after the first fifth of the time."""

        def median(begin: float, end: float) -> float:
            part = [s for s in self.samples if begin <= s.at_seconds / self.seconds <= end]
            return statistics.median(s.resident_bytes for s in part)

        return int(median(0.9, 9.9) - median(0.15, 0.3))


def prove(seconds: float) -> int:
    """Soak for `seconds` and tell what came of it; the exit code."""
    with Upstream() as upstream, Gateway(upstream.url, **SETTINGS) as gateway:
        soak = Soak(gateway, seconds)
        asyncio.run(soak.run())
        files = gateway.open_files()
        gateway.stop()
        growth, allowed = soak.growth_bytes(), GROWTH_BYTES if seconds >= 300 else SHORT_GROWTH_BYTES
        missing, troubles = gateway.log.missing(), gateway.troubles()
        problems = [*soak.wrong, *gateway.log.wrong, *troubles]
        if missing:
            problems.append(f"{len(missing)} requests without a log line, such as {missing[:5]}")
        if files > soak.idle_files:
            problems.append(f"{files} open files, {soak.idle_files} before the load")
        if growth > allowed:
            problems.append(f"{growth / 1e6:.1f} MB more memory than after the first fifth")
        _print_table(soak, growth, allowed, files)
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing wrong" if not problems else f"{len(problems)} wrong")
    return 1 if problems else 0


def _print_table(soak: Soak, growth: int, allowed: int, files: int) -> None:
    log, samples = soak.gateway.log, soak.samples
    resident = [sample.resident_bytes for sample in samples]
    rows = [
        ("load", f"{soak.seconds:.0f} s, {sum(soak.results.values())} visits of {USERS} clients"),
        ("log lines", f"{log.lines}, {len(log.missing())} missing"),
        *[(f"  {name}", str(count)) for name, count in log.ended.most_common()],
        ("memory, first and last", f"{resident[0] / 1e6:.1f} MB, {resident[-1] / 1e6:.1f} MB"),
        ("memory, most", f"{max(resident) / 1e6:.1f} MB"),
        ("memory, growth", f"{growth / 1e6:.1f} MB; at most {allowed / 1e6:.0f} MB"),
        ("open files, most", str(max(sample.open_files for sample in samples))),
        ("open files, before and after", f"{soak.idle_files}, {files}"),
        *[(f"  {name}", str(count)) for name, count in sorted(soak.results.items())],
    ]
    print()
    for name, value in rows:
        print(f"{name:<30} {value}")
