"""What the database costs: `python -m bench.store --rows N [--database URL]`.

Fills an empty database with N entries of one month through the store itself, and times reports on it.
Without a database it makes a file of SQLite in a temporary directory. CPU time is this process's: with
SQLite all of the work, with PostgreSQL what the control plane pays.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ferryman.model import CacheCreation, Ended, Entry, Ids, Usage
from ferryman.settings import Settings
from ferryman.settings_store import database
from ferryman.store.read import Cursor, Filter
from ferryman.store.store import Store
from ferryman.store.write import MAX_BATCH, Checkpoint

MONTH_SECONDS = 30 * 86_400
START = datetime(2026, 10, 1, tzinfo=UTC)
MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4")
PRINCIPALS = 300
"""Of an organisation that needs a gateway; each has a session a day."""

READS = 7


def entries(rows: int) -> Iterator[Entry]:
    """`rows` entries in the order of a month: one in fifty failed."""
    draw = random.Random(1)
    ids = Ids()
    start = START.timestamp()
    for number in range(rows):
        at_seconds = start + MONTH_SECONDS * number / rows
        who = draw.randrange(PRINCIPALS)
        failed = number % 50 == 0
        usage = Usage(
            input_tokens=draw.randrange(2_000),
            output_tokens=draw.randrange(1_000),
            cache_creation_input_tokens=1_200,
            cache_read_input_tokens=45_000,
            cache_creation=CacheCreation(1_200, 0),
            service_tier="standard",
        )
        yield Entry(
            id=ids.next(at_seconds),
            started_at=datetime.fromtimestamp(at_seconds, UTC),
            method="POST",
            path="/v1/messages",
            ended=Ended.DONE,
            duration_seconds=4.2,
            request_bytes=48_000,
            response_bytes=3_400,
            usage_complete=True,
            attempts=1,
            stream=True,
            principal=f"member-{who}@example.com",
            credential="x-api-key",
            client_address=f"10.0.{who % 4}.{who % 250}",
            session_id=f"{number * 30 // rows:08x}-1111-4222-8333-{who:012x}",
            model=MODELS[draw.randrange(len(MODELS))],
            status=529 if failed else 200,
            error="overloaded" if failed else None,
            upstream_request_id=f"req_011CSHoEeqs5C35K2UU{number:08x}",
            usage=None if failed else usage,
            time_to_first_byte_seconds=0.8,
            overhead_seconds=0.0002,
        )


def fill(store: Store, rows: int) -> None:
    """Insert `rows` entries and print what it took."""
    made = entries(rows)
    cpu_seconds, wall_seconds = [], []
    for number in range(rows // MAX_BATCH):
        batch = [next(made) for _ in range(MAX_BATCH)]
        checkpoint = Checkpoint("bench", "1", number, batch[-1].started_at)
        cpu, wall = time.process_time(), time.perf_counter()
        store.write.insert_entries(batch, checkpoint)
        cpu_seconds.append(time.process_time() - cpu)
        wall_seconds.append(time.perf_counter() - wall)
    last = slice(-max(len(cpu_seconds) // 10, 1), None)
    for name, part in (("all", slice(None)), ("the last tenth", last)):
        cpu_each = sum(cpu_seconds[part]) / len(cpu_seconds[part]) / MAX_BATCH
        wall_each = sum(wall_seconds[part]) / len(wall_seconds[part]) / MAX_BATCH
        print(f"insert, {name}: {cpu_each * 1e6:.1f} µs CPU per entry, {1 / wall_each:,.0f} entries/s")
    slow = sorted(wall_seconds)[int(len(wall_seconds) * 0.99)]
    print(f"insert: a batch of {MAX_BATCH}: median {statistics.median(wall_seconds) * 1e3:.1f} ms, ", end="")
    print(f"99th percentile {slow * 1e3:.1f} ms")


def timed(name: str, work: Callable[[], object]) -> None:
    """Print the first and the median time of `work`."""
    times = []
    for _ in range(READS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    print(f"{name}: first {times[0] * 1e3:.1f} ms, median {statistics.median(times) * 1e3:.1f} ms")


def read(store: Store) -> None:
    """Time what the reports ask."""
    middle = START + timedelta(days=15)
    below = Cursor(round(middle.timestamp() * 1e6), "")
    filters = {
        "newest": Filter(),
        "model": Filter(model=MODELS[0]),
        "principal": Filter(principal="member-7@example.com"),
        "session": Filter(session_id="0000000f-1111-4222-8333-000000000007"),
        "failures": Filter(outcome="failure"),
        "success": Filter(outcome="success"),
        "5xx": Filter(status_class=5),
        "429, of which there are none": Filter(status=429),
        "interval": Filter(start=middle, end=middle + timedelta(hours=1)),
        "principal and model": Filter(principal="member-7@example.com", model=MODELS[1]),
        "nobody": Filter(principal="nobody"),
    }
    for name, wanted in filters.items():
        timed(f"page, {name}", lambda wanted=wanted: store.read.page(wanted))  # type: ignore[misc]  # its default is bound at once
    timed("page, from the middle", lambda: store.read.page(Filter(), after=below))
    timed("count, bounded", lambda: store.read.count(Filter()))
    first, last = date(2026, 10, 1), date(2026, 10, 31)
    timed("a month by day", lambda: store.read.sums(first, last))
    timed("a month by day and model", lambda: store.read.sums(first, last, by=("day", "model")))
    timed("a month by principal", lambda: store.read.sums(first, last, by=("principal",)))
    timed("a month of one principal", lambda: store.read.sums(first, last, principal="member-7@example.com"))
    timed("delete 1,000", lambda: store.delete_before(START + timedelta(days=1)))


def main() -> None:
    """Fill and read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", help="an empty one; postgresql://… or sqlite:///…")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data_dir=directory, database_url=given.database)
        store = Store(database(settings))
        store.migrate()
        print(f"{given.rows:,} entries in {store!r}")
        fill(store, given.rows)
        read(store)
        store.close()
        for file in sorted(Path(directory).iterdir()):
            print(f"{file.name}: {file.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
