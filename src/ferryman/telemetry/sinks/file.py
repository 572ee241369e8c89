"""A sink that appends entries to a file, a line of JSON each, and rotates it by size."""

from __future__ import annotations

import os
from pathlib import Path

from ferryman.errors import SinkFailed
from ferryman.telemetry.lines import json_line
from ferryman.telemetry.sinks.sink import Batch

MODE = 0o600
"""Entries tell who asked for what."""


class FileSink:
    """Appends to `path`; what others move away is made anew, so that logrotate may do it as well."""

    name = "file"

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """Open nothing yet.

        Args:
            path: of the file.
            max_bytes: with which it is rotated; one batch may make it larger.
            keep: how many rotated files stay: `<path>.1` is the newest.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._file = -1

    def __repr__(self) -> str:
        return f"<FileSink {self._path}>"

    def deliver(self, batch: Batch) -> None:
        """See `Sink`; the lines survive a power cut when it returns."""
        try:
            self._write(b"".join(map(json_line, batch.records)))
        except OSError as error:
            self.close()
            raise SinkFailed(f"{self._path} cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """See `Sink`."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, lines: bytes) -> None:
        self._open()
        size = os.fstat(self._file).st_size
        if size and size + len(lines) > self._max_bytes:
            self._rotate()
            self._open()
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fsync(self._file)

    def _open(self) -> None:
        if self._file >= 0 and not self._is_there():
            self.close()
        if self._file < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._path, flags, MODE)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # a line that was broken off; its entry comes again

    def _is_there(self) -> bool:
        """Whether the file that is open is still the one at the path."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 1, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
