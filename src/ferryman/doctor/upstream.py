"""The upstream, the credential for it, and the clock, which its answer tells.

It is asked for one model, which costs nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from ferryman import __version__
from ferryman.clock import Clock
from ferryman.doctor.asking import Answer, ask
from ferryman.doctor.finding import Finding, ok, problem, refused, skipped, warning
from ferryman.errors import RelayError, SettingsError
from ferryman.http1.dial import Dialer
from ferryman.http1.origin import Proxy, origin_of
from ferryman.http1.resolve import Resolver
from ferryman.settings import Settings
from ferryman.settings_targets import upstreams_of
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


async def upstream_checks(settings: Settings, clock: Clock) -> list[Finding]:
    """Ask the upstream once, and judge what comes."""
    key = upstreams_of(settings)[0].api_key
    try:
        dialer = dialer_of(settings, clock)
    except SettingsError as error:
        return [refused("upstream", text) for text in error.problems]
    before = clock.now()
    try:
        answer = await ask(
            dialer,
            question(settings, key),
            connect_seconds=settings.connect_timeout_seconds,
            answer_seconds=ANSWER_SECONDS,
        )
    except RelayError as error:
        unknown = "not known, since the upstream did not answer"
        return [
            refused("upstream", error.message),
            skipped("credential", unknown),
            _clock_of_failure(error, before),
        ]
    after = clock.now()
    return [*judged(answer, settings, after - before, key), clock_judged(answer.date, (before + after) / 2)]


def dialer_of(settings: Settings, clock: Clock) -> Dialer:
    """The way that workers take.

    Raises:
        SettingsError: a file for TLS cannot be used.
    """
    origin = origin_of(settings.upstream)
    proxy = Proxy(settings.proxy) if settings.proxy is not None else None
    first = proxy.origin if proxy is not None else origin
    resolver = Resolver(first.host, first.port, refresh_seconds=0, monotonic=clock.monotonic)
    tls = tls_context(settings) if origin.scheme == "https" else None
    return Dialer(origin, resolver, tls=tls, proxy=proxy)


def question(settings: Settings, key: str | None) -> bytes:
    """The head of the request; `key` is `None` where clients come with their own."""
    origin, prefix = origin_of(settings.upstream), settings.upstream.path.rstrip("/")
    added = b""
    if settings.proxy is not None and origin.scheme == "http":
        prefix = f"{origin}{prefix}"
        added = Proxy(settings.proxy).header
    if key is not None:
        added += b"\r\nx-api-key: " + key.encode()
    lines = (
        f"GET {prefix}{TARGET} HTTP/1.1",
        f"host: {origin.authority}",
        f"user-agent: ferryman/{__version__}",
        f"anthropic-version: {DEFAULT_VERSION.decode()}",
        "accept-encoding: identity",
    )
    return "\r\n".join(lines).encode() + added + b"\r\n\r\n"


def judged(answer: Answer, settings: Settings, seconds: float, key: str | None) -> Iterator[Finding]:
    """What the upstream's answer to `TARGET` says of it, and of `key`."""
    status = answer.status
    where = f"{settings.upstream_url} answers within {max(seconds * 1000, 1):.0f} ms"
    if settings.proxy is not None:
        where += f", through the proxy {Proxy(settings.proxy)}"
    if status in {401, 403} or (status == 200 and _is_page(answer.body)):
        yield ok("upstream", where)
    elif 300 <= status < 400:
        to = shown(answer.location or "an unknown place")
        yield problem("upstream", f"{where}, and sends us to {to}", "set `upstream_url` to the API itself")
    elif status == 429 or status >= 500:
        advice = "it is busy or has trouble of its own; try again later"
        yield warning("upstream", f"{where}, with status {status}", advice)
    else:
        advice = f"check the host and the path of `upstream_url`; Anthropic's is {_default_url()}"
        yield warning(
            "upstream", f"{where}, but not to `GET {TARGET}` as Anthropic does (status {status})", advice
        )
    yield _credential(status, settings, key, has_models=_is_page(answer.body))


def _credential(status: int, settings: Settings, key: str | None, *, has_models: bool) -> Finding:
    if key is None:
        return _without_key(settings)
    if status == 401:
        advice = "see that `anthropic_api_key` (ANTHROPIC_API_KEY) is whole, for this place, not revoked"
        return problem("credential", "the upstream refuses the server's key (status 401)", advice)
    if status == 403:
        advice = "check what `anthropic_api_key` (ANTHROPIC_API_KEY) may do, and from where"
        return problem("credential", "the upstream lets the server's key do nothing (status 403)", advice)
    if status == 200 and has_models:
        return ok("credential", "the upstream takes the server's key")
    return skipped("credential", f"not known, since the upstream answered with status {status}")


def _without_key(settings: Settings) -> Finding:
    if settings.effective_auth == "passthrough":
        return skipped("credential", "clients bring their own (`auth: passthrough`)")
    if upstreams_of(settings)[0].credential == "identity":
        return skipped("credential", "it is the name of the user who calls (`credential: identity`)")
    advice = "set `anthropic_api_key` (ANTHROPIC_API_KEY), unless clients bring one beside their virtual key"
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
