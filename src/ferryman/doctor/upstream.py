"""The upstreams, the credentials for them, and the clock, which their answers tell.

Each is asked for one model, which costs nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import SplitResult

import msgspec

from ferryman import __version__
from ferryman.clock import Clock
from ferryman.doctor.asking import Answer, ask
from ferryman.doctor.finding import Finding, State, ok, problem, refused, skipped, warning
from ferryman.errors import RelayError, SettingsError
from ferryman.http1.dial import Dialer
from ferryman.http1.origin import Proxy, origin_of
from ferryman.http1.resolve import Resolver
from ferryman.settings import Settings
from ferryman.settings_targets import Upstream, upstreams_of
from ferryman.settings_upstream import tls_context
from ferryman.wire.names import DEFAULT_VERSION
from ferryman.wording import shown

TARGET = "/v1/models?limit=1"

ANSWER_SECONDS = 15.0
"""For an answer that takes Anthropic a tenth of a second."""

MAX_SKEW_SECONDS = 30.0
"""How far clocks may be apart: `Date` is cut to seconds, and an answer takes some. Beyond that, windows of
budgets begin at other times than people think, and machines that share budgets disagree."""

OUT_OF_TIME = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class Place(NamedTuple):
    """An upstream, and what its settings are called.

    Attributes:
        upstream: as the settings tell of it.
        label: behind the name of each check about it; empty where there is one upstream only.
        url_setting: of its address, for people.
        key_setting: of its key, for people.
        way: the parts of the proxy's URL that leads to it; `None` for a direct way.
    """

    upstream: Upstream
    label: str
    url_setting: str
    key_setting: str
    way: SplitResult | None


class Seen(NamedTuple):
    """What came of asking an upstream.

    Attributes:
        found: about it.
        clock: what it tells of this machine's clock.
    """

    found: list[Finding]
    clock: Finding


async def upstream_checks(settings: Settings, clock: Clock) -> list[Finding]:
    """Ask each upstream once, all at the same time; the first that tells its time is asked of the clock."""
    every = await asyncio.gather(*(_seen(place, settings, clock) for place in places_of(settings)))
    found = [finding for seen in every for finding in seen.found]
    clocks = [seen.clock for seen in every]
    return [*found, next((one for one in clocks if one.state != State.SKIPPED), clocks[0])]


def places_of(settings: Settings) -> list[Place]:
    """The upstreams of `settings`, in their order."""
    places = []
    for one in upstreams_of(settings):
        way = settings.proxy_to(one.parts.hostname or "")
        if settings.upstreams is None:
            key = "`anthropic_api_key` (ANTHROPIC_API_KEY)"
            places.append(Place(one, "", "`upstream_url`", key, way))
        else:
            url, key = f"the `base_url` of `{one.name}`", f"the `api_key` of `{one.name}`"
            places.append(Place(one, one.name, url, key, way))
    return places


async def _seen(place: Place, settings: Settings, clock: Clock) -> Seen:
    seen = await _asked(place, settings, clock)
    named = [one._replace(check=f"{one.check} {place.label}".rstrip()) for one in seen.found]
    return seen._replace(found=named)


async def _asked(place: Place, settings: Settings, clock: Clock) -> Seen:
    unknown = "not known, since the upstream did not answer"
    try:
        dialer = dialer_of(place, settings, clock)
    except SettingsError as error:
        return Seen([refused("upstream", text) for text in error.problems], skipped("clock", unknown))
    before = clock.now()
    try:
        answer = await ask(
            dialer,
            question(place),
            connect_seconds=settings.connect_timeout_seconds,
            answer_seconds=ANSWER_SECONDS,
        )
    except RelayError as error:
        told = [refused("upstream", error.message), skipped("credential", unknown)]
        return Seen(told, _clock_of_failure(error, before))
    after = clock.now()
    found = list(judged(answer, place, settings, after - before))
    return Seen(found, clock_judged(answer.date, (before + after) / 2))


def dialer_of(place: Place, settings: Settings, clock: Clock) -> Dialer:
    """The way that workers take.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """
    origin = origin_of(place.upstream.parts)
    proxy = Proxy(place.way) if place.way is not None else None
    first = proxy.origin if proxy is not None else origin
    resolver = Resolver(first.host, first.port, refresh_seconds=0, monotonic=clock.monotonic)
    tls = tls_context(settings) if origin.scheme == "https" else None
    return Dialer(origin, resolver, tls=tls, proxy=proxy)


def question(place: Place) -> bytes:
    """The head of the request, with the server's key if it has one for this place."""
    parts = place.upstream.parts
    origin, prefix = origin_of(parts), parts.path.rstrip("/")
    added = b""
    if place.way is not None and origin.scheme == "http":
        prefix = f"{origin}{prefix}"
        added = Proxy(place.way).header
    if place.upstream.api_key is not None:
        added += b"\r\nx-api-key: " + place.upstream.api_key.encode()
    lines = (
        f"GET {prefix}{TARGET} HTTP/1.1",
        f"host: {origin.authority}",
        f"user-agent: ferryman/{__version__}",
        f"anthropic-version: {DEFAULT_VERSION.decode()}",
        "accept-encoding: identity",
    )
    return "\r\n".join(lines).encode() + added + b"\r\n\r\n"


def judged(answer: Answer, place: Place, settings: Settings, seconds: float) -> Iterator[Finding]:
    """What an upstream's answer to `TARGET` says of it, and of its key."""
    status = answer.status
    where = f"{place.upstream.url} answers within {max(seconds * 1000, 1):.0f} ms"
    if place.way is not None:
        where += f", through the proxy {Proxy(place.way)}"
    if status in {401, 403} or (status == 200 and _is_page(answer.body)):
        yield ok("upstream", where)
    elif 300 <= status < 400:
        to = shown(answer.location or "an unknown place")
        yield problem(
            "upstream", f"{where}, and sends us to {to}", f"set {place.url_setting} to the API itself"
        )
    elif status == 429 or status >= 500:
        advice = "it is busy or has trouble of its own; try again later"
        yield warning("upstream", f"{where}, with status {status}", advice)
    else:
        advice = f"check the host and the path of {place.url_setting}; Anthropic's is {_default_url()}"
        yield warning(
            "upstream", f"{where}, but not to `GET {TARGET}` as Anthropic does (status {status})", advice
        )
    yield _credential(status, place, settings, has_models=_is_page(answer.body))


def _credential(status: int, place: Place, settings: Settings, *, has_models: bool) -> Finding:
    if place.upstream.api_key is None:
        return _without_key(place, settings)
    if status == 401:
        advice = f"see that {place.key_setting} is whole, for this place, not revoked"
        return problem("credential", "the upstream refuses the server's key (status 401)", advice)
    if status == 403:
        advice = f"check what {place.key_setting} may do, and from where"
        return problem("credential", "the upstream lets the server's key do nothing (status 403)", advice)
    if status == 200 and has_models:
        return ok("credential", "the upstream takes the server's key")
    return skipped("credential", f"not known, since the upstream answered with status {status}")


def _without_key(place: Place, settings: Settings) -> Finding:
    if settings.effective_auth == "passthrough":
        return skipped("credential", "clients bring their own (`auth: passthrough`)")
    if place.upstream.credential == "identity":
        return skipped("credential", "it is the name of the user who calls (`credential: identity`)")
    if settings.upstreams is not None:
        return skipped("credential", "clients bring one beside their virtual key (`credential: client`)")
    advice = f"set {place.key_setting}, unless clients bring one beside their virtual key"
    return warning("credential", "there is no key for the upstream", advice)


def clock_judged(date: str | None, now: float) -> Finding:
    """What the upstream's `Date` says of this machine's clock, which says `now` (Unix time)."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5  # it is cut to seconds
    except ValueError:
        return skipped("clock", "not known, since the upstream's answer has no date")
    skew_seconds = now - theirs
    if abs(skew_seconds) <= MAX_SKEW_SECONDS:
        return ok("clock", f"{_utc(now)} UTC, as the upstream's")
    direction = "ahead of" if skew_seconds > 0 else "behind"
    detail = f"this machine's clock is {_span(abs(skew_seconds))} {direction} the upstream's"
    advice = "have it set over the network: `timedatectl set-ntp true`, or an NTP service such as chrony"
    return problem("clock", detail, advice)


def _clock_of_failure(error: RelayError, now: float) -> Finding:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in OUT_OF_TIME:
        detail = f"this machine's clock says {_utc(now)} UTC, when the upstream's certificate is not valid"
        return warning("clock", detail, "see whether the clock is right")
    return skipped("clock", "not known, since the upstream did not answer")


def _is_page(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("data"), msgspec.Raw)
    except (ValueError, RecursionError):
        return False


def _default_url() -> str:
    return Settings().upstream_url


def _utc(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S}"


def _span(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
