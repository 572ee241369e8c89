"""What the pages of the console cost: `python -m bench.console [--rows 10000000] [--database URL]`.

Makes keys, people, teams and budgets over the API, fills the ledger with a month that ends today (see
`bench.store`), and asks for each page of a running `ferryman serve`: as the first one after a start, with no
part of a SQLite file in memory, and then again and again. What is timed is all of an answer as a client on
this machine gets it, through a worker, which is a little more than what the page costs. Exit code 1 if one
took longer than it may.

With PostgreSQL the database has its own memory, which is not emptied; name an empty one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from demo.servers import Server

from bench.store import MODELS, MONTH_DAYS, PRINCIPALS, Month, fill, multiply, session_of
from ferryman.console.pages import every_page
from ferryman.settings import Settings
from ferryman.settings_store import Postgres, SqliteFile, database
from ferryman.store.read import Filter
from ferryman.store.store import Store

MASTER_KEY = "sk-master-of-the-bench"
TEAMS, USERS = 20, 100
BAR_SECONDS = 0.150
READS = 7
TIMEOUT_SECONDS = 120.0

SIGN_IN_SECONDS = 2.0
"""Nobody signs in faster; the console compiles its templates meanwhile."""

MORE = (
    "/ui?days=1",
    "/ui?days=90",
    f"/ui/requests?model={MODELS[0]}",
    "/ui/requests?outcome=failure",
    "/ui/requests?principal={token}",
    "/ui/requests?principal={token}&outcome=failure",
    "/ui/requests?start_date={day}&end_date={day}",
)
"""Pages with what is asked for most."""

LEFT_OUT = frozenset({"/ui/requests.csv"})
"""As long as it is, not as a page is."""


class Took(NamedTuple):
    """How long a page took.

    Attributes:
        cold_seconds: as the first one after a start.
        warm_seconds: then, the median.
        most_seconds: then, the slowest.
    """

    path: str
    cold_seconds: float
    warm_seconds: float
    most_seconds: float
    size_bytes: int


class Place(NamedTuple):
    """Where Ferryman runs."""

    directory: str
    database_url: str | None

    @property
    def target(self) -> SqliteFile | Postgres:
        """Its database."""
        return database(Settings(data_dir=self.directory, database_url=self.database_url))

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """`ferryman serve`, and a client of it."""
        environment = {"FERRYMAN_MASTER_KEY": MASTER_KEY, "ANTHROPIC_API_KEY": "k"}
        if self.database_url is not None:
            environment["FERRYMAN_DATABASE_URL"] = self.database_url
        words = ("serve", "--port", "0", "--upstream-url", "http://127.0.0.1:9")  # nobody asks it
        with Server("gateway", *words, directory=self.directory, **environment) as server:
            url = server.line(r"(http://127\.0\.0\.1:\d+)", TIMEOUT_SECONDS)[1]
            with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
                yield client

    def forget(self) -> None:
        """Take the files of SQLite out of memory."""
        os.sync()
        for path in Path(self.directory).glob("ferryman.db*"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def manage(client: httpx.Client, path: str, **members: Any) -> Any:  # noqa: ANN401  # JSON
    """What the management API answers."""
    answer = client.post(path, json=members, headers={"authorization": f"Bearer {MASTER_KEY}"})
    answer.raise_for_status()
    return answer.json()


def people(client: httpx.Client) -> list[str]:
    """Make teams, users and keys with budgets; the ids of the keys."""
    manage(client, "/budget/new", budget_id="bench", max_budget=50, budget_duration="30d")
    for number in range(TEAMS):
        manage(client, "/team/new", team_id=f"team-{number}", max_budget=5_000, budget_duration="30d")
    for number in range(USERS):
        team = f"team-{number % TEAMS}"
        manage(client, "/user/new", user_id=f"user-{number}", team_id=team, auto_create_key=False)
    budget = {"max_budget": 1_000, "budget_duration": "30d"}
    return [
        str(
            manage(
                client,
                "/key/generate",
                key_alias=f"key-{number}",
                user_id=f"user-{number % USERS}",
                **(budget if number % 2 else {}),
            )["token_id"]
        )
        for number in range(PRINCIPALS)
    ]


def sign_in(client: httpx.Client) -> dict[str, str]:
    """Sign in; the cookies, which are good for any process with the same master key."""
    token = re.search(r'name="form_token" value="(\w+)"', client.get("/ui/sign-in").text)
    assert token is not None
    answer = client.post("/ui/sign-in", data={"form_token": token[1], "key": MASTER_KEY})
    assert answer.status_code == 303, answer.text
    return dict(client.cookies)


def paths(values: Mapping[str, str]) -> list[str]:
    """Each page of the console, and some of what can be asked of them."""
    pages = [page.path for page in every_page() if page.method == "GET" and page.path not in LEFT_OUT]
    found = []
    for path in (*pages, *MORE):
        record = values.get(path.removeprefix("/ui/").split("/")[0], "")  # such as `teams`
        found.append(path.replace("{record_id:path}", record).format(**values))
    return found


def measure(place: Place, path: str, cookies: dict[str, str]) -> Took:
    """Time one page."""
    place.forget()
    with place.running() as client:
        client.cookies.update(cookies)
        assert client.get("/ui/setup").status_code == 200  # what the console itself is made of is there
        time.sleep(SIGN_IN_SECONDS)
        took = []
        size_bytes = 0
        for _ in range(1 + READS):
            begin = time.perf_counter()
            answer = client.get(path)
            took.append(time.perf_counter() - begin)
            assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
            size_bytes = len(answer.content)
    return Took(path, took[0], sorted(took[1:])[READS // 2], max(took[1:]), size_bytes)


def filled(place: Place, rows: int) -> dict[str, str]:
    """Fill the database; what stands for the variables in the paths of pages."""
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start -= timedelta(days=MONTH_DAYS - 1)
    with place.running() as client:
        tokens = people(client)
    month = Month(rows, start, lambda who: tokens[who])
    store = Store(place.target)
    with tempfile.TemporaryDirectory() as journal:
        copies = fill(store, Path(journal), month)
    if copies:
        multiply(place.target, copies, start)
    entry = store.read.page(Filter(), limit=1).entries[0]
    store.close()
    assert entry.principal is not None
    return {
        "token": entry.principal,
        "entry_id": entry.id,
        "session_id": entry.session_id or session_of(0, rows, MONTH_DAYS, 0),
        "teams": "team-0",
        "users": "user-0",
        "budgets": "bench",
        "day": f"{start + timedelta(days=3):%Y-%m-%d}",
    }


def main() -> int:
    """Fill and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="entries; 10000000 for a busy year")
    parser.add_argument("--database", help="an empty one; postgresql://…")
    parser.add_argument("--only", help="only paths with this in them")
    parser.add_argument("--directory", type=Path, help="where what is made is kept, for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ferryman-bench-") as temporary:
        place = Place(str(given.directory or temporary), given.database)
        kept = Path(place.directory) / "bench.json"
        if not kept.exists():
            kept.write_text(json.dumps(filled(place, given.rows)))
        wanted = [path for path in paths(json.loads(kept.read_text())) if (given.only or "") in path]
        slow = report(place, wanted)
    print(f"\n{slow} of {len(wanted)} above {BAR_SECONDS * 1e3:.0f} ms")
    return 1 if slow else 0


def report(place: Place, wanted: Sequence[str]) -> int:
    """Measure these pages, and print what they took; how many took too long."""
    with place.running() as client:
        cookies = sign_in(client)
    print(f"\n{'page':<66} {'first':>9} {'then':>9} {'most':>9} {'size':>9}", flush=True)
    slow = 0
    for path in wanted:
        took = measure(place, path, cookies)
        is_slow = max(took.cold_seconds, took.warm_seconds) > BAR_SECONDS
        slow += is_slow
        milliseconds = " ".join(f"{one * 1e3:6.0f} ms" for one in took[1:4])
        mark = "  TOO SLOW" if is_slow else ""
        print(f"{shortened(path):<66} {milliseconds} {took.size_bytes / 1e3:6.0f} kB{mark}", flush=True)
    return slow


def shortened(path: str) -> str:
    """A path with the long ids in it cut."""
    return re.sub(r"([0-9a-f]{8})[0-9a-f-]{20,}", r"\1…", path)


if __name__ == "__main__":
    sys.exit(main())
