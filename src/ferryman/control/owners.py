"""`POST /control/owners`: who made what, for workers that have to know whether a caller may see it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.control.asking import Asking
from ferryman.control.bodies import body_of
from ferryman.limits.owner import Owner
from ferryman.process.messages import OWNERS_PATH, OwnersAnswer, OwnersQuestion

MAX_BODY_BYTES = 1 << 22
"""Of a question: the most that a worker asks for at once, at 200 characters each, and some room."""


class Owners:
    """Answers from the store, on threads of its own: no report holds up an exchange that waits for this."""

    def __init__(self, lookup: Callable[[list[str]], dict[str, Owner]]) -> None:
        """`lookup` is `ferryman.store.owners.Owners.lookup`."""
        self._lookup = lookup
        self._asking = Asking()

    def __repr__(self) -> str:
        return f"<Owners {self._asking!r}>"

    def routes(self) -> list[Route]:
        """What is served of it."""
        return [Route(OWNERS_PATH, self._post, methods=["POST"])]

    def close(self) -> None:
        """Begin nothing more."""
        self._asking.close()

    async def _post(self, request: Request) -> Response:
        ids = (await body_of(request, OwnersQuestion, MAX_BODY_BYTES)).ids
        return await self._asking.answered(lambda: msgspec.json.encode(OwnersAnswer(self._lookup(ids))))
