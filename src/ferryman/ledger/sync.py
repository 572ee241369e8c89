"""fsync from a thread of its own, so that a slow disk stops nobody."""

from __future__ import annotations

import os
import threading
from collections import deque

import structlog

log = structlog.get_logger("ferryman.ledger")

CLOSE_SECONDS = 10.0
"""How long the end waits for a disk that does not answer."""


class Syncer:
    """Syncs what was written, once an interval, and sleeps while nothing is.

    It alone closes the files that it was given: one that is being synced must not become another.

    Attributes:
        dirty: something was written since the last sync.
        failed: the last sync failed; the next one is tried an interval later.
        failures: how many have.
        removed: the file is in no directory any more, so what is written to it goes nowhere.
    """

    def __init__(self, directory: int, interval_seconds: float) -> None:
        """Begin to wait.

        Args:
            directory: descriptor of the directory in which files are made.
            interval_seconds: what a power cut may cost.
        """
        self.failed = False
        self.failures = 0
        self.removed = False
        self._directory = directory
        self._interval_seconds = interval_seconds
        self._file = -1
        self._retired: deque[int] = deque()
        self._directory_changed = False
        self.dirty = False
        self._told = threading.Event()
        self._stop = threading.Event()
        self._syncing = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._syncing.start()

    def __repr__(self) -> str:
        state = "failed" if self.failed else "dirty" if self.dirty else "clean"
        return f"<Syncer {state}, {self.failures} failures>"

    def created(self, file: int) -> None:
        """From now on `file` is written to, which is new in the directory; sync and close the former."""
        if self._file >= 0:
            self._retired.append(self._file)
        self._file = file
        self.removed = False
        self._directory_changed = True
        self.wrote()

    def wrote(self) -> None:
        """Something was written. Costs next to nothing while the thread has yet to come to the last."""
        if not self.dirty:
            self.dirty = True
            self._told.set()

    def close(self) -> bool:
        """Sync for the last time and close the file; false if the disk did not answer in time."""
        self._stop.set()
        self._told.set()
        self._syncing.join(CLOSE_SECONDS)
        return not self._syncing.is_alive()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._told.wait()
            self._told.clear()
            stopping = self._stop.wait(self._interval_seconds)
            self._sync_all()
        if self._file >= 0:
            os.close(self._file)

    def _sync_all(self) -> None:
        # Before the sync: what is written after this line tells us again.
        self.dirty = False
        changed, self._directory_changed = self._directory_changed, False
        file, done = self._file, True
        while self._retired:  # after `file` is read, which may be among them by now
            retired = self._retired.popleft()
            done &= self._sync(retired)
            os.close(retired)
            file = -1 if retired == file else file
        if file >= 0:
            done &= self._sync(file)
            if not os.fstat(file).st_nlink and file == self._file:
                self.removed = True
        if changed and not self._sync(self._directory):
            done, self._directory_changed = False, True
        if self.failed and done:
            log.info("journal synced again")
        self.failed = not done
        if not done:
            self.wrote()

    def _sync(self, descriptor: int) -> bool:
        try:
            os.fsync(descriptor)
        except OSError as error:
            self.failures += 1
            if not self.failed:
                log.error("journal not synced", problem=str(error), now="a power cut may cost entries")  # noqa: TRY400  # its words say it all
            return False
        return True
