"""The order of what is sent, without a socket."""

import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from ferryman.simulator.answer import Message
from ferryman.simulator.control import parse
from ferryman.simulator.errors import ApiError
from ferryman.simulator.events import message_events
from ferryman.simulator.script import Chunk, Envelope, HangUp, Script, Step, Wait, json_script, stream_script

from .sse import types_of

MESSAGE = Message(
    fields={"id": "msg_1"},
    content=({"type": "text", "text": "abcd"},),
    stop_reason="end_turn",
    stop_sequence=None,
    usage={"output_tokens": 1},
    output_tokens=1,
)


def streamed(control: str, *, accepts_gzip: bool = False) -> Script:
    envelope = Envelope({}, parse("events=2; no-pings", control), accepts_gzip)
    return stream_script(
        envelope, message_events(MESSAGE, envelope.control), ApiError(529, "Overloaded"), "req_1"
    )


def outline(steps: Sequence[Step]) -> list[Any]:
    """Event types and other steps, in order."""
    shown: list[Any] = []
    for step in steps:
        shown += types_of(step.data.decode()) or ["comment"] if isinstance(step, Chunk) else [step]
    return shown


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        pytest.param("cut=1", ["message_start", HangUp(reset=False)], id="cut"),
        pytest.param("cut=0; reset", [HangUp(reset=True)], id="cut at once"),
        pytest.param("error-event=1", ["message_start", "error"], id="error event"),
        pytest.param("drop", [HangUp(reset=False)], id="drop"),
        pytest.param(
            "pace=0.5; cut=3",
            [
                "message_start",
                Wait(0.5),
                "content_block_start",
                Wait(0.5),
                "content_block_delta",
                HangUp(reset=False),
            ],
            id="pace",
        ),
        pytest.param(
            "stall=9",
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                Wait(9.0),
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ],
            id="stall once, after the first delta",
        ),
        pytest.param(
            "comments; cut=2",
            ["comment", "message_start", "content_block_start", HangUp(reset=False)],
            id="comments do not count",
        ),
    ],
)
def test_stream_has_its_faults_in_place(control: str, expected: list[Any]) -> None:
    assert outline(list(streamed(control).steps)) == expected


def test_chunks_say_how_many_events_they_hold() -> None:
    chunks = [step for step in streamed("comments").steps if isinstance(step, Chunk)]
    assert [chunk.events for chunk in chunks] == [len(types_of(chunk.data.decode())) for chunk in chunks]


def test_compressed_stream_keeps_its_steps_and_never_ends_when_cut() -> None:
    *chunks, last = streamed("gzip; cut=2", accepts_gzip=True).steps
    assert last == HangUp(reset=False)
    decompressor = zlib.decompressobj(wbits=31)
    pieces = [decompressor.decompress(step.data).decode() for step in chunks if isinstance(step, Chunk)]
    assert [types_of(piece) for piece in pieces] == [["message_start"], ["content_block_start"]]
    assert not decompressor.eof


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("", [Chunk(b'"abcd"')]),
        ("stall=1", [Chunk(b'"ab'), Wait(1.0), Chunk(b'cd"')]),
        ("stall=1; cut=5", [Chunk(b'"ab'), Wait(1.0), Chunk(b"cd"), HangUp(reset=False)]),
        ("stall=1; cut=2", [Chunk(b'"a'), HangUp(reset=False)]),
        ("cut=0; reset", [Chunk(b""), HangUp(reset=True)]),
        ("cut=6", [Chunk(b'"abcd"')]),
    ],
)
def test_json_body_has_its_faults_in_place(control: str, expected: list[Step]) -> None:
    script = json_script(Envelope({}, parse(control)), "abcd")
    assert list(script.steps) == expected
    assert script.headers["content-length"] == "6"
