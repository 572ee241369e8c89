"""A worker's directory of the journal: its segments, and whether the worker lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

SUFFIX = ".jnl"


def segment_path(directory: Path, number: int) -> Path:
    """The file of segment `number`."""
    return directory / f"{number:08d}{SUFFIX}"


def segment_numbers(directory: Path) -> list[int]:
    """The segments that are there, in order.

    Raises:
        OSError: the directory cannot be read.
    """
    names = (name.removesuffix(SUFFIX) for name in os.listdir(directory) if name.endswith(SUFFIX))  # noqa: PTH208  # a third of the time; this is asked at every turn
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def lock(directory: int) -> bool:
    """Take the directory (a descriptor) for this process; false if another has it.

    The kernel gives it back when the process ends, however it does.
    """
    return _flock(directory, fcntl.LOCK_EX)


def is_written(directory: Path) -> bool:
    """Whether a writer has the directory: whether its worker lives.

    Raises:
        OSError: the directory cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
