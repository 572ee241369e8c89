"""The files that were fetched, shared by the workers of one machine.

What stands behind a URL may change; a conversation that was answered may not: Anthropic signs thinking to
its exact content. So what was sent with one turn is kept and sent with the turns that follow.

Only for threads: everything here waits for the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import structlog

from ferryman.relay.fetch.values import Inlined
from ferryman.wire.images import Wanted

log = structlog.get_logger("ferryman.relay")

MAX_STORE_BYTES = 268_435_456
"""Some hundred images of a few megabytes; the directory may be one in memory."""

MAX_STORE_ENTRIES = 4_096
"""Looked through with each new file, which takes some milliseconds."""

_MAGIC = b"FMI1"
_HEAD_BYTES = len(_MAGIC) + 32 + 8
"""What stands before the text: a mark of the format, SHA-256 of what follows, the file's own size."""


class Store:
    """A private directory with a file for each conversation and URL.

    The first file that is written under a name stays, so that workers which fetch the same at once agree.
    Whatever fails here costs only that: what was fetched is then sent, and not kept.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = MAX_STORE_BYTES,
        max_entries: int = MAX_STORE_ENTRIES,
    ) -> None:
        """Keep files in `directory`, which is made when there is one to keep."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._warned = False

    def __repr__(self) -> str:
        return f"<Store {self._directory}>"

    def read(self, name: str) -> Inlined | None:
        """The file `name`, `None` if there is none or it is damaged."""
        try:
            descriptor = os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            with open(descriptor, "rb") as file:  # noqa: PTH123  # opened without following links
                data = file.read()
                os.utime(descriptor)  # it was used just now
        except OSError:
            return None
        return _unpacked(data)

    def keep(self, name: str, fetched: Inlined) -> Inlined:
        """Write `fetched` under `name`; what is there now, which another worker may have written first."""
        spare = self._directory / f".{secrets.token_hex(16)}"
        path = self._directory / name
        try:
            self._directory.mkdir(0o700, exist_ok=True)
            _write(spare, _packed(fetched))
            try:
                os.link(spare, path)
            except FileExistsError:
                if (first := self.read(name)) is not None:
                    return first
                spare.replace(path)  # it was damaged
            spare.unlink(missing_ok=True)  # a second name, which would count as a second file
            self._make_room()
            self._warned = False
        except OSError as error:
            self._warn(error)
        finally:
            with contextlib.suppress(OSError):
                spare.unlink(missing_ok=True)
        return fetched

    def _make_room(self) -> None:
        """Delete what was not used for longest, as far as there is too much."""
        found: list[tuple[int, int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another worker makes room as well
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
        total, count = sum(size for _, size, _ in found), len(found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes and count <= self._max_entries:
                break
            Path(path).unlink(missing_ok=True)
            total, count = total - size, count - 1

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "fetched images cannot be kept; later turns may send others",
                directory=str(self._directory),
                reason=error.strerror or str(error),
            )


def name_of(wanted: Wanted, conversation: str) -> str:
    """The name of the file for `wanted` in `conversation`, from which neither can be told."""
    texts = (text.encode("utf-8", "replace") for text in (conversation, wanted.kind, wanted.url))
    data = b"".join(b"%d:%b" % (len(text), text) for text in texts)
    return hashlib.sha256(data).hexdigest()


def _packed(fetched: Inlined) -> bytes:
    body = fetched.size_bytes.to_bytes(8) + fetched.text
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(data: bytes) -> Inlined | None:
    body = memoryview(data)[len(_MAGIC) + 32 :]
    digest = hashlib.sha256(body).digest()
    if len(data) < _HEAD_BYTES or not data.startswith(_MAGIC + digest):
        return None
    return Inlined(bytes(body[8:]), int.from_bytes(body[:8]))


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # opened for us alone
        file.write(data)
