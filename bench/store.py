"""What the ledger costs: `python -m bench.store --rows N [--database URL]`.

Fills an empty database with N entries of one month, and times reports on it. They are written to a journal
and stored by the bookkeeper, as in the control plane, at first in batches as small as they are when there
is little to do. Of more than a million only the first day is stored so; the others are copies that the
database makes of it, with their roll-ups. A session goes on through all of them.
Without a database it makes a file of SQLite in a temporary directory. CPU time is this process's: with
SQLite all of the work, with PostgreSQL what the control plane pays.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from ferryman.clock import SystemClock
from ferryman.control.ledger import Bookkeeper
from ferryman.ids import Ids
from ferryman.ledger.records import Opened, encode
from ferryman.ledger.writer import JournalWriter
from ferryman.model import CacheCreation, Ended, Entry, Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.settings import Settings
from ferryman.settings_store import Postgres, SqliteFile, database
from ferryman.store import schema
from ferryman.store.engine import open_engines
from ferryman.store.place import MILLISECOND, RANDOM_BITS, first_place
from ferryman.store.read import Cursor, Filter
from ferryman.store.store import Store

MONTH_DAYS = 30
MAX_STORED = 1_000_000
"""With more entries only the first day's go all the way."""

SMALL = (25, 250, 1_000)
CHUNK = 20_000
"""Entries that wait in the journal for the bookkeeper, to see what it does when it is behind."""

START = datetime(2026, 10, 1, tzinfo=UTC)
MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4")
PRINCIPALS = 300
"""Of an organisation that needs a gateway; each has a session a day."""

READS = 7


def member(who: int) -> str:
    """Who calls, by a number below `PRINCIPALS`."""
    return f"member-{who}@example.com"


class Month(NamedTuple):
    """What a database is filled with.

    Attributes:
        rows: how many entries.
        start: midnight of its first day, in UTC.
        name_of: the principal with a number below `PRINCIPALS`.
    """

    rows: int
    start: datetime = START
    name_of: Callable[[int], str] = member

    @property
    def copies(self) -> int:
        """How many times the same: with more than `MAX_STORED` only the first day goes all the way."""
        return MONTH_DAYS if self.rows > MAX_STORED else 1


def session_of(number: int, rows: int, days: int, who: int) -> str:
    """The session of an entry: a new one each day."""
    return f"{number * days // rows:08x}-1111-4222-8333-{who:012x}"


def entries(month: Month, rows: int, days: int = MONTH_DAYS) -> Iterator[Entry]:
    """`rows` entries in the order of some days: one in fifty failed."""
    draw = random.Random(1)
    ids = Ids()
    catalog = load_catalog()
    start = month.start.timestamp()
    for number in range(rows):
        at_seconds = start + days * 86_400 * number / rows
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
        model, at = MODELS[draw.randrange(len(MODELS))], datetime.fromtimestamp(at_seconds, UTC)
        yield Entry(
            id=ids.next(at_seconds),
            started_at=at,
            method="POST",
            path="/v1/messages",
            ended=Ended.DONE,
            duration_seconds=4.2,
            request_bytes=48_000,
            response_bytes=3_400,
            usage_complete=True,
            attempts=1,
            stream=True,
            principal=month.name_of(who),
            credential="x-api-key",
            client_address=f"10.0.{who % 4}.{who % 250}",
            session_id=session_of(number, rows, days, who),
            model=model,
            status=529 if failed else 200,
            error="overloaded" if failed else None,
            upstream_request_id=f"req_011CSHoEeqs5C35K2UU{number:08x}",
            usage=None if failed else usage,
            cost=None if failed else cost_of(usage, model, Terms(at), catalog),
            time_to_first_byte_seconds=0.8,
            overhead_seconds=0.0002,
        )


class Office:
    """A journal, and the bookkeeper that stores it."""

    def __init__(self, store: Store, directory: Path) -> None:
        clock = SystemClock()
        self._writer = JournalWriter(directory / "journal" / "bench", clock)
        self._bookkeeper = Bookkeeper(directory / "journal", store, clock)
        self._work()

    def store(self, made: Iterator[Entry], rows: int, at_once: int, name: str) -> None:
        """Store `rows` entries, and print what it took."""
        cpu_seconds = wall_seconds = 0.0
        for start in range(0, rows, at_once):
            for _ in range(start, min(start + at_once, rows)):
                entry = next(made)
                known = {name: getattr(entry, name) for name in Opened.__struct_fields__}
                self._writer.opened(encode(Opened(**known)))
                self._writer.closed(encode(entry))
            cpu, wall = time.process_time(), time.perf_counter()
            self._work()
            cpu_seconds += time.process_time() - cpu
            wall_seconds += time.perf_counter() - wall
        each = f"{cpu_seconds / rows * 1e6:.1f} µs CPU for each"
        print(f"{rows:,} entries, {name}: {each}, {rows / wall_seconds:,.0f} a second", flush=True)

    def close(self) -> None:
        """End both; the store has to be opened anew."""
        self._writer.close()
        self._bookkeeper.close()

    def _work(self) -> None:
        while self._bookkeeper.work():
            pass


def fill(store: Store, directory: Path, month: Month) -> int:
    """Store the first entries of `month`; how many copies of these are wanted."""
    copies = month.copies
    left = month.rows // copies
    made = entries(month, left, MONTH_DAYS // copies)
    office = Office(store, directory)
    for size in SMALL:
        part = min(size * 100, left // 10)
        office.store(made, part, size, f"{size} at a time")
        left -= part
    half = left // 2
    office.store(made, half, CHUNK, "being behind")
    office.store(made, left - half, CHUNK, "the same, the second half")
    office.close()
    return copies - 1


def multiply(target: SqliteFile | Postgres, copies: int, start: datetime = START) -> None:
    """Let the database copy what is there, and look at it as its own housekeeping would."""
    engines = open_engines(target)
    begun = time.perf_counter()
    for number in range(1, copies + 1):
        with engines.write.begin() as connection:
            if not engines.is_sqlite:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            copy(connection, number, start)
    with engines.write.begin() as connection:
        go_on(connection, copies)
    if not engines.is_sqlite:
        with engines.write.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")
    engines.read.dispose()
    engines.write.dispose()
    print(f"{copies} copies made by the database in {time.perf_counter() - begun:.0f} s", flush=True)


def copy(connection: Connection, later: int, start: datetime) -> None:
    """Copy the entries and sums of the first day, which begins at `start`, `later` days later."""
    milliseconds = f"((place >> {RANDOM_BITS}) + {later * 86_400_000})"
    if connection.dialect.name == "sqlite":
        time_of_id = f"printf('%08x-%04x', {milliseconds} >> 16, {milliseconds} & 65535)"
        day = f"date(day, '+{later} days')"
    else:
        high, low = f"to_hex({milliseconds} >> 16)", f"to_hex({milliseconds} & 65535)"
        time_of_id = f"lpad({high}, 8, '0') || '-' || lpad({low}, 4, '0')"
        day = f"day + {later}"
    changed = {name: name for name in schema.COLUMNS} | {
        "place": f"place + {later * 86_400_000 * MILLISECOND}",
        "id": f"{time_of_id} || substr(id, 14)",
        "started_at_microseconds": f"started_at_microseconds + {later * 86_400_000_000}",
        **{f"{name}_key": f"{name}_key + {later * 24 << 32}" for name in schema.LOOKED_FOR},
    }
    end = start + timedelta(days=1)
    names, values = ", ".join(changed), ", ".join(changed.values())
    below = f"place < {first_place(end)} ORDER BY place"
    connection.exec_driver_sql(
        f"INSERT INTO entries ({names}) SELECT {values} FROM entries WHERE {below}"
    )  # names of our own
    measures = ", ".join(schema.MEASURES)
    sums = f"SELECT {day}, group_number, {measures} FROM rollups WHERE day < '{end.date()}'"  # the same
    connection.exec_driver_sql(f"INSERT INTO rollups (day, group_number, {measures}) {sums}")


def go_on(connection: Connection, days: int) -> None:
    """Let each session go on for some days, with the same requests on each."""
    longer = f"last_place = last_place + {days * 86_400_000 * MILLISECOND}"
    later = f"ended_at_microseconds = ended_at_microseconds + {days * 86_400_000_000}"
    more = ", ".join(f"{name} = {name} * {days + 1}" for name in ("requests", "errors", "cost_nanousd"))
    connection.exec_driver_sql(f"UPDATE session_sums SET {longer}, {later}, {more}")


def timed(name: str, work: Callable[[], object]) -> None:
    """Print the first and the median time of `work`."""
    times = []
    for _ in range(READS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    print(
        f"{name:<34}: first {times[0] * 1e3:.1f} ms, median {sorted(times)[READS // 2] * 1e3:.1f} ms",
        flush=True,
    )


def read(store: Store) -> None:
    """Time what the reports ask."""
    middle = START + timedelta(days=15)
    below = Cursor(first_place(middle))
    filters = {
        "newest": Filter(),
        "model": Filter(model=MODELS[0]),
        "principal": Filter(principal="member-7@example.com"),
        "session": Filter(session_id="00000001-1111-4222-8333-000000000007"),
        "failures": Filter(outcome="failure"),
        "success": Filter(outcome="success"),
        "5xx": Filter(status_class=5),
        "429, of which there are none": Filter(status=429),
        "interval": Filter(start=middle, end=middle + timedelta(hours=1)),
        "principal and model": Filter(principal="member-7@example.com", model=MODELS[1]),
        "principal and 5xx": Filter(principal="member-7@example.com", status_class=5),
        "session and success": Filter(session_id="00000001-1111-4222-8333-000000000007", outcome="success"),
        "nobody": Filter(principal="nobody"),
        "model and nobody": Filter(model=MODELS[0], principal="nobody"),
    }
    for name, wanted in filters.items():
        first = store.read.page(wanted)
        timed(f"page, {name}", lambda wanted=wanted: store.read.page(wanted))  # type: ignore[misc]  # its default is bound at once
        later = first.after or below
        timed("  a further one", lambda wanted=wanted, later=later: store.read.page(wanted, after=later))  # type: ignore[misc]  # the same
        timed("  its count", lambda wanted=wanted: store.read.count(wanted))  # type: ignore[misc]  # the same
    timed("page, from the middle", lambda: store.read.page(Filter(), after=below))
    day, last = date(2026, 10, 1), date(2026, 10, 31)
    timed("a month by day", lambda: store.read.sums(day, last))
    timed("a month by day and model", lambda: store.read.sums(day, last, by=("day", "model")))
    timed("a month by principal", lambda: store.read.sums(day, last, by=("principal",)))
    timed(
        "a month of one principal",
        lambda: store.read.sums(day, last, equal={"principal": "member-7@example.com"}),
    )
    timed("delete 1,000", lambda: store.delete_before(START + timedelta(days=1)))


def main() -> None:
    """Fill and read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", help="an empty one; postgresql://… or sqlite:///…")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        target = database(Settings(data_dir=directory, database_url=given.database))
        store = Store(target)
        store.migrate()
        print(f"{given.rows:,} entries in {store!r}", flush=True)
        copies = fill(store, Path(directory), Month(given.rows))
        if copies:
            multiply(target, copies)
        read(store)
        store.close()
        for file in sorted(Path(directory).glob("ferryman.db*")):
            print(f"{file.name}: {file.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
