"""What was fetched is kept for later turns: privately, within bounds, the same for all workers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from structlog.testing import capture_logs

from ferryman.relay.fetch.store import Store, name_of
from ferryman.relay.fetch.values import Inlined
from ferryman.wire.images import Wanted

FILE = Inlined(b'{"type":"base64"}', 5)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "images"


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_file_is_kept_for_whoever_asks_next(directory: Path) -> None:
    assert Store(directory).read("a") is None
    assert Store(directory).keep("a", FILE) == FILE
    assert Store(directory).read("a") == FILE
    assert names_in(directory) == {"a"}
    assert repr(Store(directory)) == f"<Store {directory}>"


def test_nobody_else_can_read_it(directory: Path) -> None:
    before = os.umask(0)
    try:
        Store(directory).keep("a", FILE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "a").stat().st_mode) == 0o600


def test_first_writer_wins(directory: Path) -> None:
    assert Store(directory).keep("a", FILE) == FILE
    assert Store(directory).keep("a", Inlined(b"other", 1)) == FILE
    assert Store(directory).read("a") == FILE


def test_writers_that_meet_agree_on_one(directory: Path) -> None:
    writers = 8
    barrier = Barrier(writers)

    def write(number: int) -> Inlined:
        barrier.wait()
        return Store(directory).keep("a", Inlined(b"%d" % number * 100_000, number))

    with ThreadPoolExecutor(writers) as threads:
        kept = set(threads.map(write, range(writers)))
    assert len(kept) == 1
    assert kept == {Store(directory).read("a")}
    assert names_in(directory) == {"a"}


def test_processes_that_meet_agree_on_one(directory: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from ferryman.relay.fetch.store import Store
        from ferryman.relay.fetch.values import Inlined
        sys.stdin.readline()
        for name in "abcdefgh":
            mine = Inlined(sys.argv[2].encode() * 100_000, 1)
            print(Store(Path(sys.argv[1])).keep(name, mine).text[:1].decode())
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory), mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mark in "xy"
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    first, second = (process.communicate(timeout=30)[0] for process in started)
    assert first == second
    assert len(first.split()) == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: b"FMI2" + data[4:],
        lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
    ],
    ids=range(6),
)
def test_damaged_file_is_a_miss_and_is_replaced(directory: Path, damage: object) -> None:
    store = Store(directory)
    store.keep("a", FILE)
    path = directory / "a"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert store.read("a") is None
    other = Inlined(b"other", 1)
    assert store.keep("a", other) == other
    assert store.read("a") == other


def test_what_was_not_used_for_longest_goes(directory: Path) -> None:
    store = Store(directory, max_entries=3)
    for age, name in enumerate("cba", 1):
        store.keep(name, FILE)
        os.utime(directory / name, (1_000 - age, 1_000 - age))
    assert store.read("a") == FILE  # it is used, though it is the oldest
    store.keep("d", FILE)
    assert names_in(directory) == {"a", "c", "d"}
    size = (directory / "a").stat().st_size
    Store(directory, max_bytes=2 * size).keep("e", FILE)
    assert len(names_in(directory)) == 2
    assert "e" in names_in(directory)


def test_what_a_killed_worker_left_half_written_goes_as_well(directory: Path) -> None:
    directory.mkdir()
    (directory / ".half").write_bytes(b"x" * 100)
    os.utime(directory / ".half", (1, 1))
    Store(directory, max_bytes=150).keep("a", FILE)
    assert names_in(directory) == {"a"}


def test_link_in_the_place_of_a_file_is_not_followed(directory: Path, tmp_path: Path) -> None:
    store = Store(directory)
    store.keep("a", FILE)
    (directory / "a").rename(tmp_path / "elsewhere")
    (directory / "a").symlink_to(tmp_path / "elsewhere")
    assert store.read("a") is None
    assert store.keep("a", FILE) == FILE
    assert not (directory / "a").is_symlink()


def test_directory_that_cannot_be_written_costs_only_the_keeping(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file")
    store = Store(tmp_path / "images")
    with capture_logs() as logged:
        assert store.keep("a", FILE) == FILE
        assert store.keep("b", FILE) == FILE
    assert [line["event"] for line in logged] == [
        "fetched images cannot be kept; later turns may send others"
    ]
    assert store.read("a") is None


def test_name_tells_neither_conversation_nor_url() -> None:
    wanted = Wanted("image", "https://h/a")
    name = name_of(wanted, "session")
    assert len(name) == 64
    assert "session" not in name
    others = [
        name_of(wanted, "session2"),
        name_of(Wanted("document", wanted.url), "session"),
        name_of(Wanted("image", "https://h/b"), "session"),
        name_of(Wanted("image", "\ud800"), ""),
    ]
    assert len({name, *others}) == 5
