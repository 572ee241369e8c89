"""Whatever the order of events around uploads and drains: each exchange ends once, and nothing stays held."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ferryman.http1.connection import ServerConnection
from ferryman.model import Entry
from tests.support.raw import get
from tests.test_exchange_line import ASK, BROUGHT, OTHER, SAID, Stage, Wire, chunk, on_stage

UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: g\r\n"
PART = b"x" * 40_000
LAST = get(b"/v1/models")
UPLOADS = {
    "upload": [UPLOAD + b"Content-Length: 160000\r\n\r\n" + PART, PART, PART, PART],
    "chunked-upload": [
        UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(PART), chunk(PART), chunk(PART) + b"0\r\n\r\n"
    ],
    "upload-and-next": [UPLOAD + b"Content-Length: 80000\r\n\r\n" + PART, PART + ASK + LAST],
    "wrong-chunk": [UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(PART), chunk(PART), b"zz\r\n"],
    "upload-and-rubbish": [UPLOAD + b"Content-Length: 80000\r\n\r\n" + PART, PART + b"rubbish\r\n\r\n"],
    "batch": [
        b"POST /v1/messages/batches HTTP/1.1\r\nHost: g\r\nContent-Length: 80000\r\n\r\n" + PART, PART
    ],
    "pipeline": [ASK + SAID["json"] + SAID["own"] + LAST],
    "last": [LAST + UPLOAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n" + LAST],
}  # fmt: skip
MORE = ("more", "more", "upstream-block", "upstream-ready", "stop-serving", "end-of-client")


class PolledWire(Wire):
    """A wire that the server's sweep can look at: it looks alive."""

    def fileno(self) -> int:
        number: int = self.loop._selector.fileno()  # type: ignore[attr-defined]  # one that never hangs up
        return number


class Uploads(Stage):
    """A stage whose client says more than one read brings, and whose upstream may take nothing."""

    parts: tuple[bytes, ...] = ()
    stopped: Wire | None = None  # the upstream that takes nothing

    def open(self) -> Wire:
        """A client connects."""
        self.blocked = False
        self.client = PolledWire(self.loop, ServerConnection(self.server))
        return self.client

    def do(self, step: str) -> None:
        if step in UPLOADS:
            self.parts = tuple(UPLOADS[step])
            if self.client.closing:
                self.open()
        if step in UPLOADS or step == "more":
            self._say_more()
        elif step in {"upstream-block", "upstream-ready"}:
            self._block_upstream(ready=step == "upstream-ready")
        elif step == "stop-serving":
            self.line.draining = True
            self.server.drain()
        elif step == "end-of-client":
            if not self.client.closing and self.client.reading and not self.client.protocol.eof_received():
                self.client.close()
        else:
            super().do(step)

    def _say_more(self) -> None:
        if self.parts and self.client.reading and not self.client.closing:
            part, *rest = self.parts
            self.parts = tuple(rest)
            self.client.bring(part)

    def _block_upstream(self, *, ready: bool) -> None:
        if ready and self.stopped is not None:
            self.loop.call_soon(self._tell, self.stopped, "resume_writing")
            self.stopped = None
        elif not ready and (self.stopped is None or self.stopped.lost):
            for wire in [w for w in self.loop.upstreams if not w.lost][-1:]:
                self.stopped = wire
                self.loop.call_soon(self._tell, wire, "pause_writing")

    def _tell(self, wire: Wire, what: str) -> None:
        if not wire.lost:
            getattr(wire.protocol, what)()

    def check(self) -> None:
        """What holds at every moment."""
        assert self.line.held_bytes == sum(exchange.held_bytes for exchange in self.made)
        assert set(self.line.drains) <= self.line.live
        assert all(not exchange.held_bytes for exchange in self.made if exchange.settled)


class ResetWire(PolledWire):
    """A wire whose client has reset it, which nobody has read yet."""

    def write_eof(self, *_: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")


@pytest.mark.parametrize("said", [b"GET //x HTTP/1.1\r\nHost: g\r\n\r\n", b"rubbish\r\n\r\n"])
def test_client_that_is_gone_when_its_answer_ends_is_no_fault_of_ours(said: bytes) -> None:
    entries: list[Entry] = []

    async def work(stage: Stage) -> None:
        wire = ResetWire(stage.loop, ServerConnection(stage.server))
        wire.bring(said)
        await stage.settle()
        await stage.end()
        assert wire.lost

    assert on_stage(work, entries.append) == []
    assert {entry.ended for entry in entries} <= {"refused"}


STEPS = st.lists(st.sampled_from([*UPLOADS, *MORE, *SAID, *BROUGHT, *OTHER]), max_size=25)
LIKELY = st.sampled_from([
    ["upload", "more", "connect"], ["upload", "more"], ["chunked-upload", "more", "connect", "more"],
    ["upload-and-next", "more", "connect"], ["upload", "more", "connect", "upstream-block", "more"],
    ["json", "connect", "leave"], ["pipeline", "connect"], ["ask", "connect", "whole", "upload", "more"],
    ["upload", "more", "connect", "whole"], ["wrong-chunk", "more", "connect"], ["batch", "more"], [],
])  # fmt: skip


@settings(max_examples=600)
@given(first=LIKELY, steps=STEPS)
@example(first=["upload", "more", "connect"], steps=["lose", "more", "more"])
@example(first=["upload", "more"], steps=["leave", "connect"])
@example(first=["upload", "more", "connect", "upstream-block"], steps=["more", "whole", "upstream-ready"])
@example(first=["json", "connect", "leave"], steps=["shut", "whole"])
def test_any_order_of_events_ends_each_once_and_frees_all(first: list[str], steps: list[str]) -> None:
    entries: list[Entry] = []

    async def work(plain: Stage) -> None:
        stage = Uploads(plain.loop, entries.append)
        for step in (*first, *steps):
            await stage.play(step)
            stage.check()
        await stage.end()
        await stage.play("late")
        recorded = {exchange.id for exchange in stage.made if exchange.route.path != "/health"}
        assert sorted(entry.id for entry in entries) == sorted(recorded)
        assert all(exchange.settled for exchange in stage.made)
        line = stage.line
        assert (line.live, line.drains, line.held_bytes, line.targets[0].pool.open_count) == (set(), {}, 0, 0)
        assert not stage.server.connections
        assert all(wire.lost for wire in stage.loop.upstreams)

    assert on_stage(work, entries.append) == []
