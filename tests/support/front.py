"""A real nginx or Caddy in front of a gateway, with the very files of `deploy/`."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.raw import RawClient
from tests.support.tls import Authority, tls_client

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DEADLINE_SECONDS = 20.0

_NGINX = """\
{user}daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/ferryman.conf;
}}
"""

_CADDY = """\
{{
	admin off
	auto_https disable_redirects
}}
https://:{port} {{
	tls {certificate} {key}
"""


class Front:
    """The program `kind` (`nginx` or `caddy`) between `with` and its end, in front of `backend`.

    Args:
        kind: which of the two.
        backend: what stands for `127.0.0.1:4000` in its file: `host:port`, or the path of a Unix socket.
        authority: makes its certificate; its files are put beside that.
    """

    def __init__(self, kind: str, backend: str, authority: Authority) -> None:
        self.directory = authority.directory
        self._context = authority.context()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        certificate, key = authority.issue()
        command = (self._nginx if kind == "nginx" else self._caddy)(backend, certificate, key)
        self._log = self.directory / f"{kind}.log"
        home = {"HOME": str(self.directory), "PATH": f"{os.defpath}:/usr/sbin:/sbin"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, env=home)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                continue
            return self
        self.__exit__(None, None, None)
        raise AssertionError(self._log.read_text())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS)

    def client(self) -> RawClient:
        """A client with TLS that comes from 127.0.0.2."""
        return tls_client(self.port, self._context, source="127.0.0.2")

    def _nginx(self, backend: str, certificate: Path, key: Path) -> list[str]:
        changes = {
            "server 127.0.0.1:4000": f"server {'unix:' if backend.startswith('/') else ''}{backend}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "/etc/ssl/claude.example.org.pem": str(certificate),
            "/etc/ssl/private/claude.example.org.key": str(key),
        }
        (self.directory / "ferryman.conf").write_text(changed("nginx.conf", changes))
        main = self.directory / "nginx.conf"
        user = "user root;\n" if os.getuid() == 0 else ""  # the socket of a test is for its owner
        main.write_text(_NGINX.format(directory=self.directory, user=user))
        return ["nginx", "-c", str(main), "-p", str(self.directory), "-e", "stderr"]

    def _caddy(self, backend: str, certificate: Path, key: Path) -> list[str]:
        changes = {
            "claude.example.org {\n": _CADDY.format(port=self.port, certificate=certificate, key=key),
            "reverse_proxy 127.0.0.1:4000": f"reverse_proxy {'unix/' if backend[0] == '/' else ''}{backend}",
        }
        file = self.directory / "Caddyfile"
        file.write_text(changed("Caddyfile", changes))
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


def changed(name: str, changes: dict[str, str]) -> str:
    """The file `name` of `deploy/` with what has to differ in a test, each once."""
    text = (DEPLOY / name).read_text("utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
