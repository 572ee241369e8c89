"""What operators see, and that seeing it stops nobody and tells no secret."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import pytest
import structlog
from hypothesis import given, strategies

from ferryman.ledger.records import encode
from ferryman.model import Ended, Entry, Usage
from ferryman.telemetry import writer as module
from ferryman.telemetry.lines import FLUSH_SECONDS, LineLog, json_line
from ferryman.telemetry.log import configure, text_line
from ferryman.telemetry.writer import BackgroundWriter

ENTRY = Entry(
    id="019d0000-0000-7000-8000-000000000001",
    started_at=datetime(2026, 11, 21, 9, 8, 7, tzinfo=UTC),
    method="POST",
    path="/v1/messages",
    ended=Ended.DONE,
    duration_seconds=1.2345,
    request_bytes=120,
    response_bytes=4_567,
    usage_complete=True,
    attempts=1,
    stream=True,
    principal="open",
    credential="none",
    model="claude-opus-5-5",
    status=200,
    usage=Usage(
        input_tokens=1_234,
        output_tokens=56,
        cache_creation_input_tokens=7_000,
        cache_read_input_tokens=89_000,
    ),
    time_to_first_byte_seconds=0.0123,
    overhead_seconds=0.000089,
)
FAILED = Entry(
    id="019d0000-0000-7000-8000-000000000002",
    started_at=datetime(2026, 11, 21, 9, 8, 7, tzinfo=UTC),
    method="GET",
    path="/v1/models",
    ended=Ended.UPSTREAM_ERROR,
    duration_seconds=0.25,
    request_bytes=0,
    response_bytes=0,
    usage_complete=True,
    attempts=2,
    error="No connection to the upstream.",
)


def numbered(number: int) -> Entry:
    return msgspec.structs.replace(ENTRY, id=str(number))


def id_line(record: bytes) -> bytes:
    return msgspec.json.decode(record, type=Entry).id.encode() + b"\n"


class Loop:
    """Holds what was asked of `call_later` until a test calls it."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, seconds: float, work: Callable[[], None]) -> None:
        assert seconds == FLUSH_SECONDS
        self.due.append(work)

    def run(self) -> None:
        due, self.due = self.due, []
        for work in due:
            work()


class Pipe:
    """A pipe with a reader that a test plays, and the unbuffered stream into it."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream = io.FileIO(writing, "wb")

    def read(self, length: int) -> bytes:
        """Exactly `length` bytes."""
        data = b""
        while len(data) < length:
            part = os.read(self.reading, length - len(data))
            assert part, "the writer has closed"
            data += part
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()
    os.close(made.reading)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave structlog as other tests found it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_entry_as_json() -> None:
    assert json_line(encode(ENTRY)) == (
        b'{"id":"019d0000-0000-7000-8000-000000000001","started_at":"2026-11-21T09:08:07Z",'
        b'"method":"POST","path":"/v1/messages","principal":"open","credential":"none",'
        b'"model":"claude-opus-5-5","stream":true,"request_bytes":120,"ended":"done","attempts":1,'
        b'"usage_complete":true,"response_bytes":4567,"duration_seconds":1.2345,"status":200,'
        b'"usage":{"input_tokens":1234,"output_tokens":56,"cache_creation_input_tokens":7000,'
        b'"cache_read_input_tokens":89000},"time_to_first_byte_seconds":0.0123,'
        b'"overhead_seconds":0.000089}\n'
    )


def test_entry_as_text() -> None:
    assert text_line(encode(ENTRY)).decode() == (
        "09:08:07  200  POST /v1/messages  claude-opus-5-5 stream  "
        "in 1,234 + 89,000 from cache + 7,000 to cache, out 56 tokens  "
        "first byte 12 ms  1234 ms  ours 89 µs  019d0000-0000-7000-8000-000000000001\n"
    )


def test_entry_of_a_failure_as_text() -> None:
    assert text_line(encode(FAILED)).decode() == (
        "09:08:07  ---  GET /v1/models  250 ms  upstream_error: No connection to the upstream.  "
        "019d0000-0000-7000-8000-000000000002\n"
    )
    gone = msgspec.structs.replace(FAILED, ended=Ended.CLIENT_GONE, error=None, model="m", usage=Usage())
    assert text_line(encode(gone)).decode() == (
        "09:08:07  ---  GET /v1/models  m  in 0, out 0 tokens  250 ms  client_gone  "
        "019d0000-0000-7000-8000-000000000002\n"
    )


@given(hostile=strategies.text())
def test_nothing_that_a_client_or_upstream_names_can_write_to_the_terminal(hostile: str) -> None:
    entry = msgspec.structs.replace(
        FAILED, model=hostile, error=hostile, method=hostile, path=hostile, session_id=hostile
    )
    for line in (text_line(encode(entry)), json_line(encode(entry))):
        assert line.endswith(b"\n")
        assert all(byte >= 0x20 for byte in line[:-1]), line
        assert b"\x7f" not in line or line.startswith(b"{")
    assert text_line(encode(entry))[:-1].isascii()
    assert json.loads(json_line(encode(entry)))["model"] == hostile


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("m" * 10_000, "m" * 80),
    ],
)
def test_hostile_model_name_is_escaped_and_short(model: str, told: str) -> None:
    line = text_line(encode(msgspec.structs.replace(FAILED, model=model)))
    assert f"  {told}  ".encode() in line


def test_entry_has_no_field_for_a_credential_a_body_or_a_query() -> None:
    """A field that is added here has to be looked at: it will be in every log."""
    assert Entry.__struct_fields__ == (
        *("id", "started_at", "method", "path", "principal", "credential"),
        *("user_id", "team_id", "client_address", "session_id"),
        *("end_user", "tags", "spend_logs_metadata"),
        *("agent_id", "parent_agent_id", "request_class", "agent_type", "traceparent"),
        *("model", "stream", "request_bytes", "ended", "attempts", "usage_complete"),
        *("response_bytes", "duration_seconds", "status", "error", "upstream_request_id"),
        *("usage", "cost", "batch", "settles", "made", "time_to_first_byte_seconds", "overhead_seconds"),
        "mutations",
    )


def test_lines_arrive_in_order_and_together(pipe: Pipe) -> None:
    """One call of the loop for all that came meanwhile, and one write."""
    loop = Loop()
    lines = LineLog(BackgroundWriter(pipe.stream, "log"), render=id_line, call_later=loop.call_later)
    for number in range(100):
        lines.write(encode(numbered(number)))
    assert len(loop.due) == 1
    loop.run()
    expected = b"".join(b"%d\n" % number for number in range(100))
    assert pipe.read(len(expected)) == expected
    lines.write(encode(numbered(100)))
    assert len(loop.due) == 1
    lines.close()
    assert pipe.read(4) == b"100\n"
    assert lines.dropped == lines.pending_bytes == 0
    loop.run()  # what was due when it closed does no harm
    assert repr(lines) == "<LineLog 0 bytes pending, 0 lines dropped>"


def test_slow_reader_stops_nobody_and_what_waits_is_bounded(pipe: Pipe) -> None:
    """Half as much again as may wait is written to a pipe that nobody reads, without waiting."""
    long = b"x" * 65_535 + b"\n"
    count = module.MAX_PENDING_BYTES * 3 // 2 // len(long)
    lines = LineLog(BackgroundWriter(pipe.stream, "log"), render=lambda _: long, call_later=Loop().call_later)
    for _ in range(count):
        lines.write(encode(ENTRY))
        lines.flush()
    assert 0 < lines.dropped < count
    assert lines.pending_bytes <= module.MAX_PENDING_BYTES + len(long)
    kept = (count - lines.dropped) * len(long)
    reader = threading.Thread(target=pipe.read, args=(kept,))
    reader.start()  # it reads again: all that was taken arrives
    told = io.StringIO()
    configure(level="info", text=False, stream=told)
    lines.close()
    reader.join(10)
    assert not reader.is_alive()
    assert lines.pending_bytes == 0
    record = json.loads(told.getvalue())
    assert (record["event"], record["dropped"]) == ("log lines lost", lines.dropped)


def test_lines_without_a_reader_are_counted(pipe: Pipe) -> None:
    loop = Loop()
    lines = LineLog(BackgroundWriter(pipe.stream, "log"), render=id_line, call_later=loop.call_later)
    os.close(pipe.reading)
    for number in range(5):
        lines.write(encode(numbered(number)))
        loop.run()
    configure(level="error", text=False)
    lines.close()
    assert lines.dropped == 5
    assert lines.pending_bytes == 0
    pipe.reading = os.dup(0)  # for the fixture to close


def test_stream_that_does_not_wait_loses_what_it_cannot_take(pipe: Pipe) -> None:
    """A terminal that another program has set to O_NONBLOCK."""
    os.set_blocking(pipe.stream.fileno(), False)
    line = b"x" * 1_023 + b"\n"
    lines = LineLog(BackgroundWriter(pipe.stream, "log"), render=lambda _: line, call_later=Loop().call_later)
    for _ in range(1_024):
        lines.write(encode(ENTRY))
    configure(level="error", text=False)
    lines.close()
    taken = 1_024 - lines.dropped
    assert 0 < taken < 1_024
    assert lines.pending_bytes == 0


def test_close_without_lines_ends_the_thread(pipe: Pipe) -> None:
    before = threading.active_count()
    lines = LineLog(BackgroundWriter(pipe.stream, "log"), render=id_line, call_later=Loop().call_later)
    assert threading.active_count() == before + 1
    lines.close()
    assert threading.active_count() == before


def told(work: Callable[[Any], None], *, text: bool, level: str = "info", stream: Any = None) -> str:
    """What `work` logs."""
    target = io.StringIO() if stream is None else stream
    configure(level=level, text=text, stream=target)
    work(structlog.get_logger("test"))
    return str(target.getvalue())


def fail(log: Any) -> None:
    try:
        break_down("".join(("sk-", "ant-", "a-local-variable")))
    except ValueError:
        log.exception("failed", url="http://host")


def break_down(secret: str) -> None:
    """Raise with `secret` in the frame and nowhere else."""
    raise ValueError("it\x1b[2J broke" if secret else None)


def test_messages_as_json_lines() -> None:
    output = told(lambda log: log.info("ready", number=1, odd={1, 2}.__class__, raw="\udcff\n"), text=False)
    (line,) = output.splitlines()
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("timestamp")).tzinfo is not None
    assert record == {
        "event": "ready",
        "level": "info",
        "number": 1,
        "odd": "<class 'set'>",
        "raw": "\udcff\n",
    }


def test_messages_as_text() -> None:
    output = told(lambda log: log.warning("slow\x1b[2J", who="a\nb", count=2), text=True)
    (line,) = output.splitlines()
    assert "[warning  ] slow\\x1b[2J" in line
    assert line.endswith("who=a\\nb count=2")
    assert "\x1b" not in line


def test_text_has_colours_on_a_terminal_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert "\x1b[" in told(lambda log: log.info("ready"), text=True, stream=Terminal())
    assert "\x1b[" not in told(lambda log: log.info("ready"), text=True)


def test_exception_is_told_with_its_traceback_and_without_variables() -> None:
    (line,) = told(fail, text=False).splitlines()
    record = json.loads(line)
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert record["exception"].endswith("ValueError: it\x1b[2J broke")
    text = told(fail, text=True)
    assert "failed" in text
    assert "url=http://host\nTraceback (most recent call last):\n" in text
    assert text.endswith("ValueError: it\\x1b[2J broke\n")
    assert "sk-ant-a-local-variable" not in line + text


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)], ids=str
)
def test_level_silences_what_is_less(level: str, count: int) -> None:
    def all_levels(log: Any) -> None:
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)(name)

    assert len(told(all_levels, text=False, level=level).splitlines()) == count


@pytest.mark.parametrize("text", [True, False])
def test_nothing_fails_because_nobody_reads_its_message(pipe: Pipe, text: bool) -> None:
    stream: TextIO = os.fdopen(os.dup(pipe.stream.fileno()), "w", buffering=1)
    configure(level="info", text=text, stream=stream)
    os.close(pipe.reading)
    log = structlog.get_logger("test")
    log.info("nobody reads this")
    with pytest.raises(BrokenPipeError):
        stream.close()  # what the stream still holds is its own affair
    log.error("the stream is closed")
    pipe.reading = os.dup(0)  # for the fixture to close


def test_messages_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="info", text=False)
    structlog.get_logger("test").info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"
    assert sys.stderr is not sys.stdout


def test_messages_that_nobody_reads_stop_nobody_and_are_bounded(pipe: Pipe) -> None:
    """Standard error is a pipe that its reader has forgotten: what does not fit is dropped."""
    writer = BackgroundWriter(pipe.stream, "messages")
    configure(level="info", text=False, writer=writer)
    long = "x" * 65_536
    for _ in range(module.MAX_PENDING_BYTES // len(long) * 2):
        structlog.get_logger("test").info(long)
    assert writer.dropped > 0
    assert writer.pending_bytes <= module.MAX_PENDING_BYTES + 2 * len(long)
    os.close(pipe.reading)
    writer.close()
    pipe.reading = os.dup(0)  # for the fixture to close
