"""The same bytes through nginx, haproxy and Ferryman, and what each made of them.

All inputs run at once, each on a connection of its own that the server ends: its time-outs are a
second, so that nobody has to guess how long to wait for what may not come. Which upstream requests
belong to which input is told by a mark in them, `/v1/case` and a number.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.edge import Upstream
from tests.support.raw import RawRequest

DEADLINE_SECONDS = 40.0
QUIET_SECONDS = 1
"""How long each of the three waits for what does not come."""

MARK = b"/v1/case"

Address = str | tuple[str, int]

NGINX = """\
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  client_header_timeout {quiet}s; client_body_timeout {quiet}s; keepalive_timeout {quiet}s;
  proxy_read_timeout {quiet}s; proxy_next_upstream off;
  large_client_header_buffers 8 32k;
  upstream api {{ server 127.0.0.1:{port}; keepalive 16; }}
  server {{
    listen unix:{path};
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

HAPROXY = """\
global
  maxconn 4096
  tune.bufsize 65536
  tune.http.maxhdr 1000
defaults
  mode http
  retries 0
  http-reuse always
  option http-buffer-request
  timeout connect 5s
  timeout client {quiet}s
  timeout server {quiet}s
  timeout http-request {quiet}s
  timeout http-keep-alive {quiet}s
frontend clients
  bind unix@{path}
  default_backend api
backend api
  server one 127.0.0.1:{port}
"""


class Answer(NamedTuple):
    """One answer as a client reads it."""

    status: int
    head: bytes
    body: bytes
    whole: bool

    @property
    def relayed(self) -> bool:
        """The upstream made it."""
        return b"\r\nx-upstream:" in self.head.lower()

    @property
    def closes(self) -> bool:
        """It says that it is the last one."""
        return b"\r\nconnection: close" in self.head.lower()


class Outcome(NamedTuple):
    """What became of one input: the answers to the client, and the requests at the upstream."""

    answers: list[Answer]
    seen: list[tuple[bytes, bytes, bytes]]

    @property
    def refused(self) -> bool:
        """The last thing that the client was told is a refusal, or it was told nothing."""
        if not self.answers:
            return not self.seen
        return self.answers[-1].status >= 400 and not self.answers[-1].relayed


@contextmanager
def judge(name: str, upstream: Upstream) -> Iterator[Address]:
    """Run nginx or haproxy in front of `upstream`; where it listens."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert program, f"{name} is missing: scripts/test installs it, or: apt-get install nginx-light haproxy"
    with tempfile.TemporaryDirectory(prefix="judge-") as directory:
        path, configuration = Path(directory, "socket"), Path(directory, "configuration")
        # Otherwise the workers of a root's nginx become `nobody`, who may not enter the directory.
        user = "user root;" if os.geteuid() == 0 else ""
        text = NGINX if name == "nginx" else HAPROXY
        configuration.write_text(text.format(user=user, quiet=QUIET_SECONDS, port=upstream.port, path=path))
        if name == "nginx":
            command = [program, "-e", "stderr", "-p", directory, "-c", str(configuration)]
        else:
            command = [program, "-q", "-db", "-f", str(configuration)]
        process = subprocess.Popen(command)
        try:
            _wait_for(path, process)
            yield str(path)
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        with suppress(OSError):
            _connect(str(path)).close()
            return
        assert time.monotonic() < deadline
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"{process.args!r} ended with {process.wait(0.01)}")


def _connect(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=10)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def converse(address: Address, inputs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Say each input on a connection of its own; what came back on it until the server ended it."""
    heard = dict.fromkeys(inputs, b"")
    deadline = time.monotonic() + DEADLINE_SECONDS
    with selectors.DefaultSelector() as selector:
        for name, data in inputs.items():
            sock = _connect(address)
            with suppress(ConnectionError):  # it may end before all is said
                sock.sendall(data)
            selector.register(sock, selectors.EVENT_READ, name)
        while selector.get_map():
            waiting = sorted(key.data for key in selector.get_map().values())
            assert time.monotonic() < deadline, f"never ended: {waiting}"
            for key, _ in selector.select(1):
                data = b""
                with suppress(ConnectionError):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # it is a socket
                if data:
                    heard[key.data] += data
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    return heard


def marked(inputs: Mapping[str, bytes]) -> dict[str, bytes]:
    """`inputs` with their numbers in their marks."""
    return {name: data.replace(mark(0), mark(n)) for n, (name, data) in enumerate(inputs.items())}


def mark(number: int) -> bytes:
    """The mark of the input with `number`."""
    return b"%b%03d" % (MARK, number)


def seen_by(requests: list[RawRequest]) -> dict[int, list[tuple[bytes, bytes, bytes]]]:
    """Method, target and body of what reached the upstream, by the number in its mark, -1 for none."""
    found: dict[int, list[tuple[bytes, bytes, bytes]]] = {}
    for request in list(requests):
        text = b"\n".join([request.line, *(b":".join(header) for header in request.headers), request.body])
        at = text.find(MARK) + len(MARK)
        number = int(text[at : at + 3]) if at >= len(MARK) and text[at : at + 3].isdigit() else -1
        method, _, rest = request.line.partition(b" ")
        target = rest.rpartition(b" ")[0]
        for scheme in (b"http://", b"https://"):  # haproxy passes the absolute form, nginx the path
            if target.lower().startswith(scheme):
                target = b"/" + target[len(scheme) :].partition(b"/")[2]
        found.setdefault(number, []).append((method, target, request.body))
    return found


def answers_in(raw: bytes, *, bodiless: bool = False) -> list[Answer]:
    """The final answers in what a client heard; what is none ends the list."""
    answers: list[Answer] = []
    while raw.startswith(b"HTTP/1.") and b"\r\n\r\n" in raw and raw[9:12].isdigit():
        head, _, rest = raw.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status < 200:
            raw = rest
            continue
        body, whole, raw = _body_of(head.lower(), rest, bodiless=bodiless or status in {204, 304})
        answers.append(Answer(status, head, body, whole))
    return answers


def _body_of(head: bytes, rest: bytes, *, bodiless: bool) -> tuple[bytes, bool, bytes]:
    if bodiless:
        return b"", True, rest
    if b"\r\ntransfer-encoding: chunked" in head:
        body = b""
        while True:
            line, end, rest = rest.partition(b"\r\n")
            size = int(line, 16) if end else 0
            if not end or len(rest) < size + 2:
                return body + rest, False, b""
            body, rest = body + rest[:size], rest[size + 2 :]
            if not size:
                return body, True, rest
    if b"\r\ncontent-length: " not in head:
        return rest, True, b""  # it ends with the connection
    length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
    return rest[:length], len(rest) >= length, rest[length:]
