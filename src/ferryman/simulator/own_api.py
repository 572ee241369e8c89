"""The simulator's own endpoints, below `/simulator/`: what it has received, and its clock."""

from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ferryman.simulator.clock import rfc3339
from ferryman.simulator.errors import invalid
from ferryman.simulator.front import Front


class _Move(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /simulator/clock` takes."""

    hold_at: datetime | None = None
    advance_seconds: float = 0.0


class OwnPaths:
    """The endpoints, around the recorder and the clock of one app."""

    def __init__(self, front: Front) -> None:
        self.recorder = front.recorder
        self.clock = front.clock

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/simulator/requests", self.recorded, methods=["GET", "DELETE"]),
            Route("/simulator/clock", self.time, methods=["GET", "POST", "DELETE"]),
        ]

    async def recorded(self, request: Request) -> Response:
        """`GET|DELETE /simulator/requests`: what was received, or to forget it."""
        if request.method == "DELETE":
            self.recorder.clear()
            return Response(status_code=204)
        connections = {"open": self.recorder.connections_open, "total": self.recorder.connections_total}
        requests = [recorded.as_json() for recorded in self.recorder.requests]
        return JSONResponse({"connections": connections, "requests": requests})

    async def time(self, request: Request) -> Response:
        """`GET|POST|DELETE /simulator/clock`: the time; to hold or advance it; to let it go again."""
        if request.method == "DELETE":
            self.clock.reset()
        if request.method == "POST":
            self._move(await request.body())
        return JSONResponse({"now": rfc3339(self.clock.now())})

    def _move(self, body: bytes) -> None:
        try:
            move = msgspec.json.decode(body, type=_Move)
            if move.hold_at is not None:
                self.clock.hold(move.hold_at)
            self.clock.advance(move.advance_seconds)
        except (ValueError, OverflowError) as error:
            raise invalid(f"clock: {error}") from error
