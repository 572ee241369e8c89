"""One request as the simulator sees it: the bytes, the connection under it, and what it asks for."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ferryman.simulator.control import Control
from ferryman.simulator.recorder import RawHeaders, Recording

EXTENSION = "ferryman.simulator"  # the key in scope["extensions"]


def cannot_hang_up(reset: bool) -> None:
    """Fail, which makes a foreign ASGI server break the connection off, though never by a reset.

    Raises:
        ConnectionAbortedError: Always.
    """
    raise ConnectionAbortedError(f"the connection is closed on demand, reset={reset}")


@dataclass(slots=True)
class Wire:
    """What `connection` knows about a request beyond ASGI.

    Attributes:
        headers: In order, names spelled as sent.
        target: The request target as sent.
        hang_up: Closes the connection; by a TCP reset when told True.
    """

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    target: bytes = b""
    hang_up: Callable[[bool], None] = cannot_hang_up


@dataclass(slots=True)
class Call:
    """One request, whole.

    Attributes:
        body: As received; empty when it is too large.
        repetition: 1 when these bytes came for the first time.
        control: What is known of it so far: of the settings and the header, then of the model too.
    """

    method: str
    target: bytes
    headers: RawHeaders
    body: bytes
    is_too_large: bool
    repetition: int
    wire: Wire
    recording: Recording
    control: Control = field(default_factory=Control)

    @property
    def digest(self) -> bytes:
        """What the ids in the answer follow from."""
        return hashlib.sha256(self.body).digest()

    def header(self, name: str, separator: str = ", ") -> str:
        """The values of a header, joined; empty when there is none."""
        wanted = name.encode()
        return separator.join(value.decode("latin-1") for key, value in self.headers if key.lower() == wanted)
