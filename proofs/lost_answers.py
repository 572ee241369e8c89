"""A way to PostgreSQL on which answers to commits are lost: they are carried out, and nobody knows."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from proofs.soak.process import Failed

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""A simple query, as the driver ends a transaction.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

READ_BYTES = 65_536
POLL_SECONDS = 0.005
SOCKET = ".s.PGSQL.5432"


class LostAnswers:
    """Passes all bytes on, on a Unix socket of its own; while it is armed, each second commit is cut off.

    Attributes:
        lost: how many answers have been.
    """

    def __init__(self, directory: Path, server: Path) -> None:
        """Listen in `directory`, and pass on to the socket in the directory `server`."""
        self.lost = 0
        self._armed = False
        self._commits = 0
        self._lock = threading.Lock()
        self._server = str(server / SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / SOCKET))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, name="lost answers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def arm(self, armed: bool) -> None:  # it says what it is
        """Lose answers from now on, or no more."""
        self._armed = armed

    def lose_one(self, seconds: float) -> None:
        """Lose the answer to the next commit, and wait for that.

        Raises:
            Failed: there was none within `seconds`.
        """
        before, deadline = self.lost, time.monotonic() + seconds
        self._commits = 0
        self.arm(True)
        try:
            while self.lost == before:
                if time.monotonic() > deadline:
                    raise Failed("nothing is committed")
                time.sleep(POLL_SECONDS)
        finally:
            self.arm(False)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:  # it is over
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                continue
            cut = threading.Event()
            for ours in ((client, server, self._commit, cut), (server, client, self._answer, cut)):
                threading.Thread(target=self._pass_on, args=ours, name="lost answers", daemon=True).start()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        look: Callable[[bytes, threading.Event], bool],
        cut: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(READ_BYTES)) and look(data, cut):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()

    def _commit(self, data: bytes, cut: threading.Event) -> bool:
        """What a client sends goes on, noted if its answer is to be lost."""
        if COMMIT in data and self._armed:
            with self._lock:
                self._commits += 1
                if self._commits % 2:
                    cut.set()
        return True

    def _answer(self, _: bytes, cut: threading.Event) -> bool:
        """Whether what the server answers goes on."""
        if cut.is_set():
            with self._lock:
                self.lost += 1
        return not cut.is_set()
