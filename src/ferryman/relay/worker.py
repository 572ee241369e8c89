"""A worker: one line on real sockets, from listening to the last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from hashlib import sha256
from pathlib import Path

import structlog

from ferryman.clock import Clock, SystemClock
from ferryman.errors import RelayError, SettingsError, Unavailable
from ferryman.http1.connection import ServerConnection
from ferryman.http1.dial import Dialer
from ferryman.http1.fields import FieldReader
from ferryman.http1.origin import Origin, Proxy, origin_of
from ferryman.http1.pool import Pool, PoolLimits
from ferryman.http1.resolve import Resolver
from ferryman.http1.server import Server, ServerLimits
from ferryman.ledger.writer import JournalWriter
from ferryman.limits.admission import Admission
from ferryman.limits.owner import Owner
from ferryman.limits.patterns import compiled
from ferryman.model import Ended
from ferryman.pricing.adjust import catalog_of
from ferryman.pricing.catalog import Catalog
from ferryman.process.messages import MODELS, PRICES, Snapshot
from ferryman.relay import attribute, authenticate, batch, meter, ownership, prepare, respond
from ferryman.relay.address import address_reader, is_proxy
from ferryman.relay.authenticate import KeyCheck
from ferryman.relay.bodies import Bodies
from ferryman.relay.exchange import Exchange
from ferryman.relay.fetch.images import build_images
from ferryman.relay.forward import shutting_down
from ferryman.relay.gate import Gate
from ferryman.relay.kept import KeptExchange
from ferryman.relay.keyring import Keyring
from ferryman.relay.line import Line
from ferryman.relay.listen import Listener, Place
from ferryman.relay.manners import Manners
from ferryman.relay.models import NO_MODELS, models_of
from ferryman.relay.own import control_line
from ferryman.relay.owners import Ask, Owners
from ferryman.relay.ownership import Ownership
from ferryman.relay.recorder import Recorder
from ferryman.relay.target import Target
from ferryman.relay.values import LineLimits
from ferryman.settings import Settings
from ferryman.settings_models import configured_models
from ferryman.settings_targets import Upstream, upstreams_of
from ferryman.settings_upstream import tls_context
from ferryman.wire.names import CODING, FORWARDED, REQUEST_ID, UPSTREAM_CREDENTIALS

log = structlog.get_logger("ferryman.worker")

SWEEP_SECONDS = 1.0
"""How often time-outs are looked at: one pass over what lives costs less than a timer each."""

FLUSH_SECONDS = 0.5
"""How long clients have, when all time is up, to take what was written for them."""

REQUEST_FIELDS = (
    authenticate.WATCHED | prepare.WATCHED | attribute.WATCHED | batch.WATCHED | ownership.WATCHED | {CODING}
)
RESPONSE_FIELDS = meter.WATCHED | {REQUEST_ID}
"""The headers that some step looks at; all others are passed on unseen."""


class Worker:
    """One line with its listener and its connections upstream."""

    def __init__(  # noqa: PLR0913  # one a part
        self,
        settings: Settings,
        *,
        record: Callable[[bytes], None],
        journal: JournalWriter | None = None,
        clock: Clock | None = None,
        place: Place | None = None,
        control_socket: str | None = None,
        counters: Admission | None = None,
        ask: Ask | None = None,
        images_directory: Path | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        """Build the parts; nothing is opened before `start`.

        Args:
            settings: the settings in force.
            record: takes the JSON of the `Entry` of each exchange.
            journal: has it first, `None` for a worker without a ledger.
            clock: by default the machine's.
            place: where to listen beside other workers, `None` for a worker that is alone.
            control_socket: path of the control plane's socket, `None` without one.
            counters: where this worker counts what its calls use up, `None` lets nobody through who is held
                to a limit or a budget.
            ask: asks the control plane for owners, `None` without one: then callers with a key see only what
                was made through this worker.
            images_directory: where workers keep the images that they have fetched, `None` keeps none.
            bodies: takes copies for `log_bodies`, `None` for nobody.
        """
        self.settings = settings
        self.clock = clock if clock is not None else SystemClock()
        recorder = Recorder(record, journal, refuses=settings.on_ledger_failure == "refuse")
        self.keyring = Keyring()
        gate = Gate(self.keyring, counters, self.clock, settings.slice_wait_seconds)
        check = key_check(settings, self.keyring)
        self.line = build_line(settings, clock=self.clock, recorder=recorder, check=check, gate=gate)
        if check is not None:
            self.line.ownership = Ownership(Owners(ask or _nobody, self.clock.monotonic))
        if any(target.manners.images != "off" for target in self.line.targets):
            self.line.images = build_images(
                settings, directory=images_directory, monotonic=self.clock.monotonic
            )
        if control_socket is not None:
            self.line.control = control_line(
                self.line,
                control_socket,
                monotonic=self.clock.monotonic,
                dropped=dropped_on_request(settings),
                reader=FieldReader(respond.DROPPED, RESPONSE_FIELDS),
            )
        self.bodies = bodies
        self.server = self._server(settings)
        self._choose_exchange()
        self.listener = Listener(settings, place)
        self._sweeping: asyncio.TimerHandle | None = None

    def _server(self, settings: Settings) -> Server:
        return Server(
            partial(Exchange, self.line),
            self._error_without_exchange,
            monotonic=self.clock.monotonic,
            limits=ServerLimits(
                connections=settings.max_connections,
                connections_per_address=settings.max_connections_per_address,
                head_bytes=settings.max_header_bytes,
                idle_seconds=settings.client_idle_seconds,
                read_seconds=settings.client_read_timeout_seconds,
                stall_seconds=settings.client_stall_timeout_seconds,
            ),
            reader=FieldReader(dropped_on_request(settings), REQUEST_FIELDS),
            is_proxy=partial(is_proxy, trusted=settings.trusted),
        )

    def __repr__(self) -> str:
        return f"<Worker {self.listener!r}: {self.line!r}>"

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self.listener.port

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on, or the certificate not be used.
        """
        await self.listener.open(lambda: ServerConnection(self.server))
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_again)

    def reload(self) -> None:
        """Read the certificate again; one that cannot be used is logged, and the old one stays in use."""
        if self.listener.tls is None:
            log.info("nothing to reload", reason="`tls_cert_file` is not set")
            return
        try:
            self.listener.tls.reload()
        except SettingsError as error:
            log.error("certificate not reloaded", problem=str(error), now="the old one stays in use")  # noqa: TRY400  # its words say it all
        else:
            log.info("certificate reloaded", file=self.settings.tls_cert_file)

    def take(self, snapshot: Snapshot) -> None:
        """Work with what the control plane tells from now on."""
        catalog = snapshot.parts.get(PRICES)
        if isinstance(catalog, Catalog):
            self.line.catalog = catalog
        self.keyring.take(snapshot.version, snapshot.parts)
        models = snapshot.parts.get(MODELS)
        self.line.models = models or (NO_MODELS if self.keyring.aliased else None)
        if self.line.gate is not None:
            self.line.gate.take(self.keyring.defaults.time_zone)
        self._choose_exchange()

    def _choose_exchange(self) -> None:
        """Copy bodies if anybody's are kept; what runs goes on as it began."""
        bodies = self.bodies
        if bodies is not None and (bodies.mode != "off" or self.keyring.logged):
            self.server.new_handler = partial(KeptExchange, bodies, self.line)
        else:
            self.server.new_handler = partial(Exchange, self.line)

    async def stop(self, grace_seconds: float) -> None:
        """Stop accepting, let what runs finish within `grace_seconds`, and cut the rest."""
        self.line.draining = True
        self.listener.close()
        self.server.drain()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        # Looked at now and then: an event would cost every connection, for this one use.
        while (self.server.connections or self.line.live) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for exchange in list(self.line.live):
            exchange.fail(shutting_down(), Ended.SHUTDOWN)
        deadline = loop.time() + FLUSH_SECONDS
        while self.server.connections and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.server.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self.line.tasks.close()
        if self.line.ownership is not None:
            await self.line.ownership.close()
        if self.line.images is not None:
            await self.line.images.close()
        if self.bodies is not None:
            await self.bodies.close()
        for pool in self.line.pools:
            await pool.close()

    def sweep(self) -> None:
        """End what has had its time."""
        now = self.clock.monotonic()
        self.line.sweep(now)
        self.line.recorder.sweep()
        self.server.sweep(now)
        for pool in self.line.pools:
            pool.sweep(now)

    def _sweep_again(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_again)
        self.sweep()

    def _error_without_exchange(self, error: RelayError) -> tuple[bytes, bytes]:
        request_id = self.line.ids.next(self.clock.now())
        log.info("request refused", request_id=request_id, status=error.status, reason=error.message)
        return respond.error_answer(error, request_id)


async def _nobody(_ids: list[str]) -> dict[str, Owner]:
    raise Unavailable("This worker runs without a control plane.")


def build_line(
    settings: Settings,
    *,
    clock: Clock,
    recorder: Recorder,
    check: KeyCheck | None = None,
    gate: Gate | None = None,
) -> Line:
    """The line that `settings` describe."""
    return Line(
        auth=settings.effective_auth,
        limits=LineLimits(
            body_bytes=settings.max_body_bytes,
            batch_bytes=settings.max_batch_bytes,
            upload_bytes=settings.max_upload_bytes,
            held_bytes=settings.max_held_bytes,
            first_byte_seconds=settings.first_byte_timeout_seconds,
            stream_idle_seconds=settings.stream_idle_timeout_seconds,
            client_stall_seconds=settings.client_stall_timeout_seconds,
            on_disconnect=settings.on_disconnect,
            drain_seconds=settings.drain_timeout_seconds,
            drains=settings.max_drains,
        ),
        targets=tuple(build_target(settings, one, clock=clock) for one in upstreams_of(settings)),
        clock=clock,
        recorder=recorder,
        client_address=address_reader(settings.trusted),
        base_of=batch.base_reader(
            settings.public_url, settings.trusted, over_tls=settings.tls_cert_file is not None
        ),
        catalog=catalog_of(settings),
        check=check,
        gate=gate,
        models=models_of(configured_models(settings)),
        serves_messages=settings.use_native_anthropic is not False,
    )


def build_target(settings: Settings, upstream: Upstream, *, clock: Clock) -> Target:
    """What reaches `upstream` under `settings`.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """
    origin, prefix = origin_of(upstream.parts), upstream.parts.path
    way = settings.proxy_to(upstream.parts.hostname or "")
    proxy = Proxy(way) if way is not None else None
    # Over plain TCP the proxy reads the requests; through a tunnel only the upstream does.
    reads = proxy if origin.scheme == "http" else None
    pool = Pool(
        build_dialer(settings, origin, proxy, clock=clock),
        PoolLimits(
            connections=settings.upstream_max_connections,
            connect_seconds=settings.connect_timeout_seconds,
            idle_seconds=settings.upstream_idle_seconds,
            age_seconds=settings.upstream_max_age_seconds,
        ),
        monotonic=clock.monotonic,
        reader=FieldReader(respond.DROPPED, RESPONSE_FIELDS),
    )
    face = prepare.upstream_face(
        prefix if reads is None else f"{origin}{prefix}",
        origin.authority,
        upstream.api_key,
        reads.header if reads is not None else b"",
    )
    hands_on = upstream.credential == "client" and drops_credentials(settings)
    return Target(
        upstream.name,
        pool,
        face._replace(
            handed_on=tuple(sorted(UPSTREAM_CREDENTIALS)) if hands_on else (),
            strips_betas=compiled(upstream.strip_betas) if upstream.strip_betas else None,
        ),
        Manners(
            upstream.user_id,
            upstream.inject_user_field,
            upstream.images,
            upstream.tools,
            upstream.family,
        ),
        models=compiled(upstream.models) if upstream.models else None,
        shows_user=upstream.credential == "identity",
    )


def key_check(settings: Settings, keyring: Keyring) -> KeyCheck | None:
    """What virtual keys are looked up with under `settings`, `None` where none is asked for."""
    if settings.effective_auth not in {"keys", "identity"}:
        return None
    master = sha256((settings.master_key or "").encode()).digest()
    if settings.effective_auth == "identity":
        return KeyCheck(keyring, master, only_own=False, user=authenticate.users(settings.share))
    clients_bring = any(upstream.credential == "client" for upstream in upstreams_of(settings))
    return KeyCheck(keyring, master, only_own=clients_bring)


def dropped_on_request(settings: Settings) -> AbstractSet[bytes]:
    """Names (lower case) of the request headers that do not go upstream under `settings`.

    With `trusted_proxies` what proxies say of the client is meant for us, and the addresses of a network's
    inside are nobody else's business.
    """
    names = prepare.dropped(credentials=drops_credentials(settings))
    return names | FORWARDED if settings.trusted_proxies else names


def build_dialer(settings: Settings, origin: Origin, proxy: Proxy | None, *, clock: Clock) -> Dialer:
    """Makes the connections to `origin`, through `proxy` if there is one.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """
    if proxy is not None:
        log.info("the upstream is reached through a proxy", upstream=str(origin), proxy=str(proxy))
    first = proxy.origin if proxy is not None else origin
    resolver = Resolver(
        first.host,
        first.port,
        refresh_seconds=settings.dns_refresh_seconds,
        monotonic=clock.monotonic,
    )
    tls = tls_context(settings) if origin.scheme == "https" else None
    return Dialer(origin, resolver, tls=tls, proxy=proxy)


def drops_credentials(settings: Settings) -> bool:
    """Whether an upstream must not see the client's credential; another one that wants it is handed it."""
    return any(upstream.credential != "client" for upstream in upstreams_of(settings))
