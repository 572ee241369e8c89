"""What the exchanges of one worker share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from ferryman.clock import Clock
from ferryman.errors import Unavailable
from ferryman.http1.client import Body
from ferryman.http1.pool import Pool
from ferryman.ids import Ids
from ferryman.model import Usage
from ferryman.moments import Moments
from ferryman.pricing.catalog import Catalog
from ferryman.relay.address import AddressOf
from ferryman.relay.authenticate import KeyCheck
from ferryman.relay.models import Models, resolve
from ferryman.relay.recorder import Recorder
from ferryman.relay.route import is_off, messages_off
from ferryman.relay.target import Target, keep_together, target_of
from ferryman.relay.unpriced import Unpriced
from ferryman.relay.values import LineLimits, Route
from ferryman.tasks import TaskOwner

if TYPE_CHECKING:
    from ferryman.relay.batch import BaseOf
    from ferryman.relay.exchange import Exchange
    from ferryman.relay.fetch.images import Images
    from ferryman.relay.flow import Flow
    from ferryman.relay.gate import Gate
    from ferryman.relay.ownership import Ownership

KEYS_NOT_KNOWN = "keys not known yet"

log = structlog.get_logger("ferryman.relay")


class Line:
    """What the exchanges of one worker share.

    Attributes:
        auth: the `auth` in force: `keys`, `open` or `passthrough`.
        check: what virtual keys are looked up with, `None` where none is asked for.
        gate: what limits and budgets are kept with, `None` where there are none.
        ownership: what keeps apart what callers have made, `None` where callers are not told apart.
        models: what is known of models and aliases, `None` where all names go on as they are.
        images: fetches what requests name by URL, `None` where no upstream wants that.
        limits: what each exchange is held to.
        targets: the upstreams; the first one takes what names no model of another.
        serves_messages: `/v1/messages` is served; see `use_native_anthropic`.
        clock: the time; `now` and `monotonic` are its own, at hand.
        recorder: keeps what becomes of each exchange.
        client_address: tells it from a connection's peer and a request's headers.
        base_of: tells from the same under which URL the client has called us.
        catalog: the prices in force.
        unpriced: tells of models that are not in it.
        ids: makes the id of each exchange.
        live: the exchanges that are not over.
        drains: those among them whose clients have left, and until when they may go on.
        held_bytes: the request bodies in memory.
        tasks: what exchanges wait for.
        draining: no new connection is taken, and what runs is let finish.
        control: the line to the control plane, `None` where there is none.
    """

    def __init__(  # noqa: PLR0913  # one a part
        self,
        *,
        auth: str,
        limits: LineLimits,
        targets: Sequence[Target],
        clock: Clock,
        recorder: Recorder,
        client_address: AddressOf,
        base_of: BaseOf,
        catalog: Catalog,
        check: KeyCheck | None = None,
        gate: Gate | None = None,
        ownership: Ownership | None = None,
        serves_messages: bool = True,
        models: Models | None = None,
    ) -> None:
        self.auth = auth
        self.check = check
        self.gate = gate
        self.ownership = ownership
        self.models = models
        self.images: Images | None = None
        self.limits = limits
        self.targets = targets
        self.serves_messages = serves_messages
        self.clock = clock
        self.now, self.monotonic = clock.now, clock.monotonic
        self.recorder = recorder
        self.client_address = client_address
        self.base_of = base_of
        self.catalog = catalog
        self.unpriced = Unpriced()
        self.ids = Ids()
        self.moments = Moments()
        self.live: set[Exchange] = set()
        self.drains: dict[Flow, float] = {}
        self.held_bytes = 0
        self.tasks = TaskOwner("line")
        self.draining = False
        self.control: Line | None = None

    def __repr__(self) -> str:
        return f"<Line {self.auth}: {len(self.live)} live, {self.targets!r}>"

    @property
    def pools(self) -> list[Pool]:
        """All connections of this worker's own making."""
        pools = [target.pool for target in self.targets]
        return pools if self.control is None else pools + self.control.pools

    @property
    def state(self) -> str:
        """`ready`, or why requests are turned away."""
        if self.draining:
            return "draining"
        if self.recorder.refusing:
            return "ledger not writable"
        return "ready" if self.check is None or self.check.ring.known else KEYS_NOT_KNOWN

    def beside(self, target: Target, limits: LineLimits) -> Line:
        """A line to another target, which judges callers itself.

        Its exchanges count among ours, and leave no record.
        """
        line = Line(
            auth="open",
            limits=limits,
            targets=(target,),
            clock=self.clock,
            recorder=Recorder(lambda _: None),
            client_address=self.client_address,
            base_of=self.base_of,
            catalog=self.catalog,
        )
        line.unpriced, line.ids, line.tasks = self.unpriced, self.ids, self.tasks
        line.live, line.drains = self.live, self.drains
        return line

    def of(self, route: Route) -> Line:
        """The line that an exchange on `route` takes.

        Raises:
            NotFound: it is turned off.
            Unavailable: it needs the control plane, and this worker runs without one.
        """
        if not route.control:
            if not self.serves_messages and is_off(route):
                raise messages_off(route)
            return self
        if self.control is None:
            raise Unavailable(f"`{route.path}` is the control plane's, and this worker runs without one.")
        return self.control

    def enter(self, exchange: Exchange) -> None:
        """Let the request of a known caller go on whose body has not been read.

        Raises:
            PermissionDenied, MethodNotAllowed: its route is not for this caller.
        """
        if self.gate is not None and exchange.caller is not None:
            self.gate.admit_route(exchange.caller.key, exchange.route)
        if self.ownership is not None:
            self.ownership.begin(exchange)

    def admits(self, exchange: Exchange, text: Body) -> bool:
        """Whether a call with this body goes on; if not, it waits, and its `admit` is called again.

        Raises:
            RelayError: it names what is not there or not for its caller; a limit or a budget is reached.
        """
        if not exchange.is_directed and not self._directs(exchange, text):
            return False
        owned, gate = self.ownership, self.gate
        return (owned is None or owned.admits(exchange, text)) and (
            gate is None or gate.admits(exchange, text)
        )

    def _directs(self, exchange: Exchange, text: Body) -> bool:
        """Whether it is known which model a call asks for, and where it goes; if not, it waits or is over.

        Raises:
            RelayError: it asks for what is not there, or for what no single upstream has.
        """
        if self.models is not None and not exchange.is_resolved:
            exchange.is_resolved = True
            if not resolve(exchange, text, self.models):
                return False
        exchange.is_directed = True
        if len(self.targets) > 1:
            if exchange.batch is not None:
                keep_together(self.targets, exchange.batch.names)
            exchange.target = target_of(self.targets, exchange.call.model)
        return True

    def settle(self, exchange: Exchange, usage: Usage | None) -> None:
        """Give back what `exchange`, which is over, has taken of limits and budgets."""
        if self.ownership is not None:
            self.ownership.leave(exchange)
        if self.gate is not None:
            self.gate.settle(exchange, usage)

    def leave(self, exchange: Exchange) -> None:
        """`exchange` waits for nothing any more."""
        self.live.discard(exchange)
        self.drains.pop(exchange, None)

    def sweep(self, now: float) -> None:
        """End the exchanges whose time is up."""
        late: list[Flow] = [e for e in self.live if e.deadline <= now]
        late += [e for e, until in self.drains.items() if until <= now < e.deadline]
        for exchange in late:
            try:
                exchange.expire()
            except Exception:
                log.exception("time-out failed", id=exchange.id)
