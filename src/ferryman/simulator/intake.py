"""Takes a request in before anything is decided about it: reads it whole, records it, counts it."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ferryman.simulator.call import EXTENSION, Call, Wire
from ferryman.simulator.control import HEADER
from ferryman.simulator.recorder import Recorder, Recording

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def take(scope: Scope, receive: Receive, recorder: Recorder, max_bytes: int) -> Call | None:
    """Read and record a request.

    Returns:
        The call, or None when the client left before the end of its body.
    """
    wire: Wire = scope.get("extensions", {}).get(EXTENSION, {}).get("wire") or _wire_of(scope)
    client = scope.get("client")
    recording = recorder.begin(
        scope["method"], wire.target, tuple(wire.headers), (client[0], client[1]) if client else None
    )
    body = await _read(receive, recording, max_bytes)
    if body is None:
        recording.end(client_disconnected=True)
        return None
    is_too_large = len(body) > max_bytes
    # Of the headers only ours tells requests apart: a client that tries again changes others.
    same = [scope["method"].encode(), wire.target, body, *_values(wire, HEADER)]
    return Call(
        method=scope["method"],
        target=wire.target,
        headers=tuple(wire.headers),
        body=b"" if is_too_large else body,
        is_too_large=is_too_large,
        repetition=recorder.repeated(hashlib.sha256(b"\n".join(same)).digest()),
        wire=wire,
        recording=recording,
    )


def _values(wire: Wire, name: str) -> list[bytes]:
    return [value for key, value in wire.headers if key.lower() == name.encode()]


async def _read(receive: Receive, recording: Recording, max_bytes: int) -> bytes | None:
    """The body, or a little more than `max_bytes` of it; None when the client left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            recording.body_received(bytes(body))
            return None
        # Read on beyond the limit, or a client that is still sending would never see the answer.
        if len(body) <= max_bytes:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            recording.body_received(bytes(body[: max_bytes + 1]))
            return bytes(body)


def _wire_of(scope: Scope) -> Wire:
    """What ASGI tells, when the app is not run by `server`."""
    query = scope["query_string"]
    path = scope.get("raw_path") or scope["path"].encode()
    return Wire(list(scope["headers"]), path + b"?" + query if query else path)
