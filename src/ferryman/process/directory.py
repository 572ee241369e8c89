"""The private directory in which the processes of one `ferryman serve` meet."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
from pathlib import Path

from ferryman.errors import SettingsError
from ferryman.settings import Settings
from ferryman.wording import shown

MAX_SOCKET_BYTES = 107
"""Of the path of a Unix socket (unix(7): 108 with the byte that ends it)."""

LOCK_TRIES = 5  # of 20 ms each: who asks for the `holder` has the lock for microseconds

MAX_OTHERS = 5
"""Of other Ferrymen that a sentence names."""

MODE = 0o700
"""Whoever reaches the sockets needs no key: nobody else may."""


class RuntimeDirectory:
    """Paths of the sockets, all of which are the control plane's, and of what the processes share.

    Attributes:
        path: the directory.
        control: for this machine's operator, who needs no key: `ferryman status`.
        relayed: takes the requests that came to the workers.
        feed: where workers report and are told what changes.
        counters: the file of the table that all processes count limits and budgets in.
        images: where workers keep what they have fetched for requests; made when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = path / "control.sock"
        self.relayed = path / "relayed.sock"
        self.feed = path / "feed.sock"
        self.counters = path / "counters"
        self.images = path / "images"
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<RuntimeDirectory {self.path}>"

    def claim(self) -> None:
        """Make the directory, and keep it for this process until `release` or its end.

        Raises:
            SettingsError: it cannot be made, its path is too long for sockets, others could reach into it,
                or another Ferryman has it.
        """
        longest = max(self.control, self.relayed, self.feed, key=lambda path: len(os.fsencode(path)))
        if (size := len(os.fsencode(longest))) > MAX_SOCKET_BYTES:
            what = f"is too long: the path of a socket in it would have {size} bytes, and may have"
            raise self._problem(f"{what} {MAX_SOCKET_BYTES}")
        try:
            self.path.parent.mkdir(MODE, parents=True, exist_ok=True)
            self.path.mkdir(MODE, exist_ok=True)
            status = os.lstat(self.path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                raise self._problem("is no directory of this user")
            if stat.S_IMODE(status.st_mode) != MODE:
                self.path.chmod(MODE)
            self._lock = _locked(self.path / "lock")
            os.ftruncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())
        except BlockingIOError as error:
            raise self._problem("is in use by another Ferryman of this user on this port") from error
        except OSError as error:
            raise self._problem(f"cannot be used: {error.strerror or error}") from error

    def release(self) -> None:
        """Remove the directory, if `claim` has got it."""
        if self._lock is None:
            return
        for path in (self.control, self.relayed, self.feed, self.counters, self.path / "lock"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.images, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody keeps a file of his own in it
            self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    def holder(self) -> int | None:
        """The process that has claimed the directory, `None` if none has.

        Raises:
            OSError: that cannot be told; the directory is another user's.
        """
        try:
            lock = os.open(self.path / "lock", os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(lock, 20)
            return int(text) if text.strip().isdigit() else 0
        finally:
            os.close(lock)
        return None

    def others(self) -> list[str]:
        """The ports of other Ferrymen of this user beside this one, `MAX_OTHERS` at most."""
        try:
            paths = [path for path in sorted(self.path.parent.iterdir()) if path.name.isdigit()]
            others = [path.name for path in paths if path != self.path and RuntimeDirectory(path).holder()]
        except OSError:  # whoever cannot look finds none
            return []
        return others[:MAX_OTHERS]

    def _problem(self, what: str) -> SettingsError:
        way_out = "name another place in `runtime_directory`"
        return SettingsError([f"runtime_directory: {shown(self.path)} {what}; {way_out}."])


def _locked(path: Path) -> int:
    """A lock that ends with this process; BlockingIOError if another has it."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not tries_left:
                os.close(lock)
                raise
            time.sleep(0.02)
        else:
            break
    return lock


def directory_of(settings: Settings, port: int) -> RuntimeDirectory:
    """The directory of the Ferryman that listens under `settings`, on `port` unless it is a Unix socket."""
    base = Path(settings.runtime_directory or f"/tmp/ferryman-{os.geteuid()}")  # noqa: S108  # checked, 0700
    if settings.unix_socket is None:
        return RuntimeDirectory(base / str(port))
    # By its digest: the paths of the sockets may have 107 bytes.
    path = os.path.abspath(settings.unix_socket)  # noqa: PTH100  # links are not followed
    return RuntimeDirectory(base / f"unix-{hashlib.sha256(path.encode()).hexdigest()[:12]}")
