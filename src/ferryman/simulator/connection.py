"""uvicorn's HTTP connection, taught what ASGI leaves out.

ASGI gives header names in lower case only, no request target as sent, and no way to break a connection.
This passes all three to the app in `scope["extensions"]`, and counts connections.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ferryman.simulator.call import EXTENSION, Wire
from ferryman.simulator.recorder import Recorder

# SO_LINGER on, for 0 seconds: close() sends a reset and discards what was not sent (socket(7)).
_LINGER_RESET = struct.pack("ii", 1, 0)


def connection_class(recorder: Recorder) -> type[HttpToolsProtocol]:
    """The protocol class to give to uvicorn, which creates one per connection."""

    class SimulatorConnection(HttpToolsProtocol):
        """One TCP connection of a client."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
            super().connection_made(transport)
            recorder.connection_opened()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            recorder.connection_closed()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            # Not read from `self` later: by then a pipelined request may have replaced it.
            self._wire = Wire(hang_up=hang_up(self))
            self.scope["extensions"] = {EXTENSION: {"wire": self._wire}}

        def on_header(self, name: bytes, value: bytes) -> None:
            self._wire.headers.append((name, value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._wire.target = self.url
            super().on_headers_complete()

    return SimulatorConnection


def hang_up(connection: HttpToolsProtocol) -> Callable[[bool], None]:
    """A function that closes the connection, with a TCP reset or, once all is sent, by an early end."""

    def close(reset: bool) -> None:
        if not reset:
            connection.transport.close()
            return
        sock = connection.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the client was faster
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        connection.transport.abort()

    return close
