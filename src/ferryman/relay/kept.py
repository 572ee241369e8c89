"""An exchange of whose bodies copies are taken, for `log_bodies`.

A kind of its own, and not a question in every exchange: where nothing is kept, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from ferryman.http1.client import Body
from ferryman.http1.connection import ServerConnection
from ferryman.http1.message import Request, ResponseHead
from ferryman.model import Ended
from ferryman.relay import authenticate
from ferryman.relay.bodies import Bodies, Copy
from ferryman.relay.exchange import Exchange
from ferryman.relay.line import Line


class KeptExchange(Exchange):
    """An exchange; of one that asks for a message, or counts its tokens, its bodies are copied.

    Attributes:
        bodies: takes the copies.
        copy: `None` before the request goes upstream, and where nothing is to be kept.
    """

    __slots__ = ("bodies", "copy")

    def __init__(self, bodies: Bodies, line: Line, client: ServerConnection, request: Request) -> None:
        super().__init__(line, client, request)
        self.bodies = bodies
        self.copy: Copy | None = None

    def _prepare(self, text: Body) -> bool:
        if self.route.reads_call:
            caller = self.caller
            mode = "" if caller is None or caller.key is None else caller.key.spec.log_bodies
            self.copy = self.bodies.begin(self.id, self.started_at, mode, text, self._credentials())
        return super()._prepare(text)

    def _credentials(self) -> Iterator[bytes]:
        """What came as a credential; under `identity` that is a name."""
        if self.line.auth == "identity":
            return
        fields = self.request.fields
        for name in authenticate.WATCHED:
            for value in fields.values(name):
                yield value.rpartition(b" ")[2]

    def on_response(self, head: ResponseHead | None, data: bytes, *, end: bool) -> None:
        """Pass on what one read of the upstream brought, and copy it."""
        if self.copy is not None:
            self.bodies.answered(self.copy, head, data)
        super().on_response(head, data, end=end)

    def settle(self, ended: Ended) -> None:
        """Write the record; only the first call counts."""
        if not self.settled:
            super().settle(ended)
            copy, self.copy = self.copy, None  # what may come behind the end is in no account
            if copy is not None:
                self.bodies.keep(copy)
