"""The table of counters: a sparse file that finds its rows and columns again."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ferryman.limits.layout import CHUNK_ROWS, ROW_BITS, ROWS, USED, epoch_of
from ferryman.limits.table import Column, CounterTable, TableFull, TableUnusable

SHARED = Path("/dev/shm")


@pytest.fixture
def table(tmp_path: Path) -> CounterTable:
    return CounterTable.create(tmp_path / "counters", 4)


def test_file_is_private_and_sparse(table: CounterTable) -> None:
    status = table.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size > 50 << 20
    assert status.st_blocks * 512 <= 64 << 10
    for number in range(2_000):
        table.row_of(f"row {number}")
    assert table.path.stat().st_blocks * 512 <= 1 << 20


def test_a_million_bytes_of_rows_are_a_million_of_memory(table: CounterTable) -> None:
    before = resident_kb()
    rows = [table.row_of(f"row {number}") for number in range(2_000)]
    for row in rows:
        table.words[table.cell(row, 0)] = 1
    assert resident_kb() - before < 8_000


def resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() // 1_024


@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no /dev/shm")
def test_memory_serves_as_well_as_a_disk() -> None:
    path = SHARED / f"ferryman-test-{os.getpid()}"
    try:
        table = CounterTable.create(path, 1)
        table.words[table.head(table.row_of("a"))] = 7
        assert CounterTable.open(path).words[table.head(0)] == 7
    finally:
        path.unlink(missing_ok=True)


def test_names_keep_their_rows_when_the_control_plane_comes_anew(table: CounterTable) -> None:
    names = [f"key:{number}|30d" for number in range(3 * CHUNK_ROWS)]
    rows = [table.row_of(name) for name in names]
    assert len(set(rows)) == len(rows)
    again = CounterTable.open(table.path)
    assert [again.row_of(name) for name in names] == rows
    assert again.rows_in_use == len(names)


def test_freed_rows_are_used_again_under_another_handle(table: CounterTable) -> None:
    rows = [table.row_of(name) for name in "abc"]
    assert table.free_row("b")
    assert not table.free_row("b")
    assert table.free_rows(["a"]) == 1
    again = CounterTable.open(table.path)
    new = {again.row_of("d"), again.row_of("e")}
    assert {row & ROWS - 1 for row in new} == {row & ROWS - 1 for row in rows[1:]}
    assert not new & set(rows)
    assert {epoch_of(row, 5) for row in new} == {1 << 40 | 5}
    assert again.row_of("b") >> ROW_BITS == 0
    assert again.row_of("a") == rows[0]


def test_churn_does_not_fill_it(table: CounterTable) -> None:
    for number in range(5_000):
        table.row_of(f"key {number}")
        table.free_row(f"key {number}")
    assert table.words[USED] == 1


def test_full_table_says_so(table: CounterTable) -> None:
    table.row_of("the first")
    table.words[USED] = ROWS
    with pytest.raises(TableFull, match="delete keys"):
        table.row_of("one more")
    assert table.rows_in_use == 1


def test_columns_are_claimed_released_and_told(table: CounterTable) -> None:
    other = CounterTable.open(table.path)
    assert [other.claim(f"journal {number}") for number in range(10)] == [*range(10)]
    assert table.claim("one more") is None
    assert table.claim("journal 3") == 3
    assert table.columns()[3] == Column(3, "journal 3", os.getpid())
    table.release(3)
    assert [column.number for column in other.columns()] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert other.claim("one more") == 3


@pytest.mark.parametrize("name", ["", "x" * 65, "ä" * 33])
def test_journal_has_a_name_of_at_most_64_bytes(table: CounterTable, name: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        table.claim(name)


def test_released_column_has_nothing_in_it(table: CounterTable) -> None:
    rows = [table.row_of(name) for name in "abc"]
    column = table.claim("journal")
    assert column is not None
    at = table.cell(rows[1], column)
    table.words[at : at + 4] = memoryview(bytes(range(1, 33))).cast("q")
    assert table.touched(column) == [rows[1]]
    table.release(column)
    assert table.touched(column) == []
    assert not any(table.words[at : at + 4])


def test_table_that_fits_is_kept_and_another_is_replaced(table: CounterTable) -> None:
    row = table.row_of("a")
    assert CounterTable.create(table.path, 4).row_of("a") == row
    assert CounterTable.create(table.path, 5).columns_count == 12
    assert CounterTable.open(table.path).rows_in_use == 0
    table.path.write_bytes(b"something else")
    with pytest.raises(TableUnusable, match="no table"):
        CounterTable.open(table.path)
    assert CounterTable.create(table.path, 4).columns_count == 10
    os.truncate(table.path, 8_192)
    with pytest.raises(TableUnusable, match="as long"):
        CounterTable.open(table.path)


def test_closed_table_leaves_its_file(table: CounterTable) -> None:
    table.close()
    CounterTable.open(table.path).close()


FULL = """
import sys
from pathlib import Path
from ferryman.limits.table import CounterTable
table = CounterTable.create(Path(sys.argv[1]) / "counters", 1)
try:
    for number in range(100_000):
        row = table.row_of(str(number))
        table.words[table.cell(row, 3)] = 1
except OSError as error:
    print(error.errno, number == table.rows_in_use > 1_000, table.row_of("0"))
"""

SMALL_DISK = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" -c "$3" "$1"'


def test_row_without_room_on_the_disk_is_an_error_and_no_signal(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.call([unshare, "-rm", "true"], stderr=subprocess.DEVNULL):
        pytest.skip("no disk can be made here")
    words = [unshare, "-rm", "sh", "-c", SMALL_DISK, "sh", str(tmp_path), sys.executable, FULL]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [str(errno.ENOSPC), "True", "0"]), done.stderr
