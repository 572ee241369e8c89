"""Whatever happens to a journal: what was written comes once, and nothing else comes."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferryman.ledger.files import segment_numbers, segment_path
from ferryman.ledger.records import encode
from ferryman.ledger.segment import ProblemKind
from ferryman.ledger.writer import JournalWriter
from ferryman.model import Ended
from tests.support.gateway import HeldClock
from tests.support.journal import Store, entry, memory_directory, opened, seen

ROUNDS = 20
ROOT = Path(__file__).parent.parent

# Each process is forked from one that has all modules, which saves half a second for each.
WRITES_UNTIL_KILLED = """
import os, sys
from pathlib import Path
from ferryman.clock import SystemClock
from ferryman.ledger.records import encode
from ferryman.ledger.segment import ProblemKind
from ferryman.ledger.writer import JournalWriter
from tests.support.journal import entry, opened

def write(round_name):
    writer = JournalWriter(Path(sys.argv[1]), SystemClock(), segment_bytes=50_000, sync_seconds=0.01)
    number = 0
    while True:
        number += 1
        name = f"{round_name}-{number}"
        writer.opened(encode(opened(name)))
        if number % 7:
            assert writer.closed(encode(entry(name)))
            os.write(1, f"{name}\\n".encode())

for line in sys.stdin:
    if not (child := os.fork()):
        write(line.strip())
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


class Model:
    """A writer, a reader that stores, and what should be true of them."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.clock = HeldClock()
        self.store = Store(directory)
        self.names = itertools.count()
        self.open: list[str] = []
        self.returned: dict[str, tuple[int, int]] = {}  # where each close ends: segment, offset
        self.ever: set[str] = set()
        self.start()

    def start(self) -> None:
        self.writer = JournalWriter(
            self.directory, self.clock, segment_bytes=self.segment_bytes, sync_seconds=60.0
        )

    def write(self, kind: int, pad: int) -> None:
        if kind == 0:
            name = str(next(self.names))
            self.open.append(name)
            self.writer.opened(encode(opened(name)))
        elif self.open and kind == 1:
            self.writer.seen(encode(seen(self.open[pad % len(self.open)])))
        elif self.open:
            name = self.open.pop(pad % len(self.open))
            assert self.writer.closed(encode(entry(name, pad=pad)))
            self.returned[name] = (self.writer._segment, self.writer._size)

    def read(self, records: int) -> None:
        self.store.read(records)

    def restart_reader(self, _: int) -> None:
        self.store.restart()

    def kill(self, torn: int) -> None:
        """The process dies within a `write()`: a part of a record stands at the end."""
        self.writer.close()
        path = segment_path(self.directory, segment_numbers(self.directory)[-1])
        before = path.stat().st_size
        self.start()
        self.writer.closed(encode(entry("torn", pad=torn)))
        self.writer.close()
        # The new segment's record is what the dead process would have written next.
        new = segment_path(self.directory, segment_numbers(self.directory)[-1])
        record = new.read_bytes()[32:]
        new.unlink()
        with path.open("ab") as file:
            file.write(record[: torn % len(record)])
        assert path.stat().st_size >= before
        self.open.clear()
        self.start()

    def cut_power(self, length: int) -> None:
        """The end of the last file was not synced."""
        self.writer.close()
        number = segment_numbers(self.directory)[-1]
        path = segment_path(self.directory, number)
        length %= path.stat().st_size + 1
        os.truncate(path, length)
        self.returned = {name: at for name, at in self.returned.items() if at[0] != number or at[1] <= length}
        self.open.clear()
        self.start()


damage = st.tuples(st.integers(0, 1 << 30), st.integers(0, 7), st.integers(1, 30))


def run(steps: list[tuple[str, int, int]], segment_bytes: int) -> Model:
    """A journal with a history, read to its end."""
    with memory_directory() as directory:
        model = Model(Path(directory) / "w1", segment_bytes)
        for name, one, other in steps:
            if name == "write":
                model.write(one % 3, other)
            else:
                getattr(model, name)(other)
        model.writer.close()
        model.store.finish(7)
        return model


sizes = st.integers(40, 3000)
step = st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 300))
reading = st.tuples(st.sampled_from(["read", "restart_reader"]), st.just(0), st.integers(1, 8))
crash = st.tuples(st.just("kill"), st.just(0), st.integers(0, 1000))
power_cut = st.tuples(st.just("cut_power"), st.just(0), st.integers(0, 10_000))


@settings(max_examples=150)
@given(st.lists(st.one_of(step, step, step, reading, crash), max_size=60), sizes)
def test_each_written_entry_comes_once_over_all_crashes_and_restarts(
    steps: list[tuple[str, int, int]], segment_bytes: int
) -> None:
    model = run(steps, segment_bytes)
    stored = model.store.entries
    assert model.store.repeated == []
    closed = {name for name, one in stored.items() if one.ended is Ended.DONE}
    assert closed == set(model.returned)
    for name in closed:
        assert stored[name] == entry(name, pad=len(stored[name].path) - len("/v1/messages"))
    interrupted = set(stored) - closed
    assert all(stored[name].ended is Ended.INTERRUPTED for name in interrupted)
    assert closed | interrupted == {str(number) for number in range(next(model.names))}
    assert set(model.store.kinds()) <= {ProblemKind.TORN}


@settings(max_examples=150)
@given(st.lists(st.one_of(step, step, step, reading, crash, power_cut), max_size=60), sizes)
def test_power_cut_costs_what_it_cut_off_and_nothing_else(
    steps: list[tuple[str, int, int]], segment_bytes: int
) -> None:
    model = run(steps, segment_bytes)
    stored = model.store.entries
    assert set(model.returned) <= {name for name, one in stored.items() if one.ended is Ended.DONE}
    assert set(stored) <= {str(number) for number in range(next(model.names))}


@settings(max_examples=150)
@given(
    st.integers(1, 12),
    st.integers(400, 4000),
    st.lists(
        st.tuples(st.integers(0, 1 << 30), st.integers(0, 7), st.integers(1, 30)), min_size=1, max_size=4
    ),
    st.booleans(),
)
def test_damage_never_makes_a_wrong_entry_and_is_told(
    count: int, segment_bytes: int, damages: list[tuple[int, int, int]], live: bool
) -> None:
    with memory_directory() as name:
        directory = Path(name) / "w1"
        writer = JournalWriter(directory, HeldClock(), segment_bytes=segment_bytes, sync_seconds=60.0)
        for number in range(count):
            writer.opened(encode(opened(number)))
            writer.closed(encode(entry(number)))
        writer.close()
        paths = [segment_path(directory, number) for number in segment_numbers(directory)]
        before = [path.read_bytes() for path in paths]
        data = [bytearray(one) for one in before]
        for place, bit, length in damages:
            one = data[place % len(data)]
            at = (place >> 3) % len(one)
            for byte in range(at, min(at + (length if bit == 7 else 1), len(one))):
                one[byte] ^= 1 << bit
        for path, one in zip(paths, data, strict=True):
            path.write_bytes(one)
        store = Store(directory)
        if live:
            store.catch_up()
        store.finish()
    done = {key: one for key, one in store.entries.items() if one.ended is Ended.DONE}
    assert done == {key: entry(key) for key in done}
    assert set(store.entries) <= {str(number) for number in range(count)}
    assert bool(store.problems) == ([bytes(one) for one in data] != before)


@settings(max_examples=50)
@given(st.integers(1, 8), st.lists(st.integers(1, 900), min_size=1, max_size=20), st.integers(1, 5))
def test_file_that_grows_in_any_pieces_is_read_as_if_whole(
    count: int, pieces: list[int], records: int
) -> None:
    with memory_directory() as name:
        whole, grown = Path(name) / "whole" / "w1", Path(name) / "grown" / "w1"
        writer = JournalWriter(whole, HeldClock(), sync_seconds=60.0)
        for number in range(count):
            writer.opened(encode(opened(number)))
            writer.closed(encode(entry(number)))
        writer.close()
        data = segment_path(whole, 1).read_bytes()
        grown.mkdir(parents=True)
        store = Store(grown)
        at = 0
        for size in itertools.cycle(pieces):
            with segment_path(grown, 1).open("ab") as file:
                file.write(data[at : at + size])
            at += size
            store.read(records)
            if at % 3 == 0:
                store.restart()
            if at >= len(data):
                break
        store.catch_up()
    assert list(store.entries.values()) == [entry(number) for number in range(count)]
    assert (store.problems, store.repeated) == ([], [])


@pytest.mark.slow
def test_killed_process_loses_nothing_that_it_has_written(tmp_path: Path) -> None:
    directory = tmp_path / "journal" / "w1"
    store = Store(directory)
    chance = random.Random(20)
    printed: list[str] = []
    command = [sys.executable, "-c", WRITES_UNTIL_KILLED, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        for round_number in range(ROUNDS):
            printed += one_killed(parent, round_number, store, chance)
    store.finish()
    done = {name for name, one in store.entries.items() if one.ended is Ended.DONE}
    assert len(printed) > ROUNDS
    assert len(set(printed)) == len(printed)
    assert set(printed) <= done
    assert len(done - set(printed)) <= ROUNDS, "written, and killed before it was printed"
    assert store.repeated == []
    assert set(store.kinds()) <= {ProblemKind.TORN}
    assert all(store.entries[name] == entry(name) for name in done)


def one_killed(
    parent: subprocess.Popen[str], round_number: int, store: Store, chance: random.Random
) -> list[str]:
    """What a process had printed when it was killed, while `store` was reading what it wrote."""
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(f"{round_number}\n")
    parent.stdin.flush()
    names: list[str] = []
    child = 0
    kill_at = math.inf
    while (line := parent.stdout.readline().strip()) != "dead":
        assert line, "it ended by itself"
        if line.startswith("pid "):
            child = int(line.removeprefix("pid "))
        else:
            names.append(line)
        if child and names and kill_at == math.inf:
            kill_at = time.monotonic() + chance.random() * 0.05
        if child and time.monotonic() >= kill_at:
            os.kill(child, signal.SIGKILL)
            child, kill_at = 0, -math.inf
        elif names and kill_at > 0:  # then there is a directory
            store.read(chance.randrange(1, 200))
            if chance.random() < 0.05:
                store.restart()
    return names
