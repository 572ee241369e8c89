"""Where clients come in: addresses, ports, the certificate, and the Ferryman that may be there already."""

from __future__ import annotations

import resource
import socket
import ssl
from datetime import UTC, datetime

import msgspec

from ferryman.clock import Clock
from ferryman.doctor.asking import ask
from ferryman.doctor.finding import Finding, ok, problem, refused, skipped, warning
from ferryman.errors import RelayError, SettingsError
from ferryman.http1.dial import UnixDialer
from ferryman.process.directory import RuntimeDirectory, directory_of
from ferryman.relay.listen import Entrance
from ferryman.relay.tls import certificate_context
from ferryman.settings import Settings

ANSWER_SECONDS = 5.0
"""For the control plane to tell of the processes, which takes a millisecond."""

RENEWAL_DAYS = 14
"""Before the end of a certificate; those that live 90 days are renewed 30 before."""

LEAST_FILES = 4_096
"""Open files for 2,000 requests at once."""

_HANDSHAKE_FLIGHTS = 8
"""More than any handshake has (RFC 8446, section 2; RFC 5246, section 7.3)."""


class _Process(msgspec.Struct):
    role: str
    state: str
    number: int = 0


class _Processes(msgspec.Struct):
    processes: list[_Process]


def holder_of(settings: Settings) -> tuple[RuntimeDirectory, int | None]:
    """Where the processes of `settings` meet, and the supervisor that has the place, `None` without one.

    Raises:
        OSError: the directory is another user's.
    """
    directory = directory_of(settings, settings.port)
    return directory, directory.holder()


async def running_checks(settings: Settings, directory: RuntimeDirectory, holder: int) -> list[Finding]:
    """Look at the Ferryman that runs under `settings`, by its own word."""
    where = f"Ferryman runs on {place_of(settings)} (supervisor {holder})"
    request = b"GET /control/processes HTTP/1.1\r\nhost: control\r\n\r\n"
    dialer = UnixDialer(str(directory.control))
    try:
        answer = await ask(dialer, request, connect_seconds=ANSWER_SECONDS, answer_seconds=ANSWER_SECONDS)
        told = msgspec.json.decode(answer.body, type=_Processes).processes
    except (RelayError, ValueError):
        detail = f"{where}, but its control plane does not answer"
        return [problem("running", detail, "wait a moment if it is starting, else see its log")]
    ill = [f"{one.role} {one.number or ''}".strip() for one in told if one.state != "running"]
    if ill:
        return [problem("running", f"{where}, but not all of it: {', '.join(ill)}", "see its log")]
    return [ok("running", f"{where}, {len(told)} processes")]


def place_of(settings: Settings) -> str:
    """Where it listens, for people."""
    if settings.unix_socket is not None:
        return f"`{settings.unix_socket}`"
    return f"port {settings.port}" if settings.port else "some port"


def port_checks(settings: Settings) -> list[Finding]:
    """Try to listen where Ferryman would, and take nothing."""
    found = []
    try:
        Entrance(settings).close()
        found.append(ok("listen", f"{place_of(settings)} is free"))
    except SettingsError as error:
        detail = error.problems[0].rstrip(".").partition(": ")[2]
        found.append(problem("listen", detail, _advice(settings, settings.port)))
    if (port := settings.admin_port) is not None:
        told = _cannot_listen(settings, "admin_port", "127.0.0.1", port)
        found.append(problem("admin port", *told) if told else ok("admin port", f"port {port} is free"))
    if (port := settings.metrics_port) is not None:
        told = _cannot_listen(settings, "metrics_port", settings.host, port)
        found.append(problem("metrics port", *told) if told else ok("metrics port", f"port {port} is free"))
    directory = directory_of(settings, settings.port or 1)
    try:
        directory.claim()
        directory.release()
    except SettingsError as error:
        found.append(refused("meeting place", error.problems[0]))
    return found


def _cannot_listen(settings: Settings, name: str, host: str, port: int) -> tuple[str, str] | None:
    """Why a port of the control plane cannot be listened on, and what to do; `None` if it can.

    Args:
        settings: all of them.
        name: of the setting that has the port.
        host: which address of this machine.
        port: that would be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            detail = f"cannot listen on `{host}:{port}` (`{name}`): {error.strerror or error}"
            return detail, _advice(settings, port)
    return None


def _advice(settings: Settings, port: int) -> str:
    if settings.unix_socket is not None and port == settings.port:
        return "end what listens there, or name another path in `unix_socket`"
    if 0 < port < 1024:
        return (
            f"see who has it with `ss -ltnp sport = :{port}`; "
            "ports below 1024 also need root or the capability CAP_NET_BIND_SERVICE"
        )
    return (
        f"see who has it with `ss -ltnp sport = :{port}`, and end that or name another port; "
        "if it is Ferryman, run this with its settings, as its user"
    )


def file_limit_check() -> Finding:
    """How many requests at once the limit of open files leaves room for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return ok("open files", "no limit")
    detail = f"the limit of {hard:,} leaves room for about {hard // 2:,} requests at once in each worker"
    if hard < LEAST_FILES:
        return warning("open files", detail, "raise it: `ulimit -Hn 65536`, in systemd `LimitNOFILE=65536`")
    return ok("open files", detail)


def certificate_check(settings: Settings, clock: Clock) -> Finding | None:
    """The certificate for clients and how long it lasts, `None` without TLS."""
    if settings.tls_cert_file is None:
        return None
    try:
        context = certificate_context(settings)
    except SettingsError as error:
        return refused("certificate", error.problems[0])
    end = _end_of(context, settings.tls_cert_file)
    if end is None:
        return skipped("certificate", f"`{settings.tls_cert_file}` can be used; its dates were not read")
    days = (end - clock.now()) / 86_400
    day = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
    if days < 0:
        detail = f"`{settings.tls_cert_file}` has expired on {day}"
        return problem("certificate", detail, "renew it, and send Ferryman SIGHUP")
    detail = f"`{settings.tls_cert_file}` is good until {day}"
    if days < RENEWAL_DAYS:
        return warning("certificate", detail, "renew it, and send Ferryman SIGHUP")
    return ok("certificate", detail)


def _end_of(server: ssl.SSLContext, path: str) -> float | None:
    """When the first certificate in `path` ends (Unix time), `None` if that cannot be told.

    Python tells dates only of a peer's certificate that was verified, so we shake hands with ourselves.
    OpenSSL takes the certificate itself for the authority; whether it is out of date is for the caller.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client.load_verify_locations(path)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(_HANDSHAKE_FLIGHTS):
            for side in (near, far):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        shown = near.getpeercert()
    except (ssl.SSLError, ValueError):
        return None
    end = shown.get("notAfter") if shown else None
    return ssl.cert_time_to_seconds(str(end)) if end else None


_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h), for which Python has no name."""
