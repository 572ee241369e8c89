"""What is measured: nginx as the yardstick, Ferryman, and the upstream itself without a proxy."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from bench.processes import PROXY_CORE, BenchError, Server

DIRECT, NGINX, FERRYMAN = "direct", "nginx", "ferryman"

# A plain proxy_pass, without what makes a side reconnect and without an access log. Request bodies go on as
# they come (`proxy_request_buffering off`), which is how the bars were measured: about 80 µs for a body of
# 100 KB, against 55 with a buffer that holds it whole, and 137 by default, through a file. Streams need
# `proxy_buffering off`, as an operator would set it, so that each event is passed on when it comes.
NGINX_CONFIGURATION = """\
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path temp_body;
  proxy_temp_path temp_proxy;
  fastcgi_temp_path temp_fastcgi;
  uwsgi_temp_path temp_uwsgi;
  scgi_temp_path temp_scgi;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  upstream api {{
    server 127.0.0.1:{upstream_port};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering {buffering};
    }}
  }}
}}
"""


def start(name: str, port: int, upstream_port: int, directory: Path, *, streams: bool) -> Server:
    """Start the proxy `name` on `port`, pinned to the proxy's core; it may not answer yet.

    Args:
        name: `nginx` or `ferryman`.
        port: where it is to listen, on loopback.
        upstream_port: where the upstream listens.
        directory: an empty directory of its own, for configuration, logs and whatever it stores.
        streams: whether it will relay streams.
    """
    if name == NGINX:
        return _start_nginx(port, upstream_port, directory, streams=streams)
    return _start_ferryman(port, upstream_port, directory)


def _start_nginx(port: int, upstream_port: int, directory: Path, *, streams: bool) -> Server:
    configuration = directory / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            # Otherwise the workers of a root's nginx become `nobody`, who may not enter the directory.
            user="user root;" if os.geteuid() == 0 else "",
            upstream_port=upstream_port,
            port=port,
            buffering="off" if streams else "on",
        )
    )
    command = [nginx_path() or "nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
    return Server(command, PROXY_CORE, directory / "nginx.log")


def _start_ferryman(port: int, upstream_port: int, directory: Path) -> Server:
    command = [ferryman_path(), "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--upstream-url", f"http://127.0.0.1:{upstream_port}"]
    # Nothing of the caller's settings may leak in: an empty home, and no variable but these.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "ANTHROPIC_API_KEY": "sk-ant-bench",
    }
    return Server(command, PROXY_CORE, directory / "ferryman.log", environment)


def nginx_path() -> str | None:
    """Where nginx is, None if nowhere; Debian has it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def ferryman_path() -> str:
    """The `ferryman` of this Python's environment, else the one on PATH."""
    beside = Path(sys.executable).with_name("ferryman")
    path = str(beside) if beside.exists() else shutil.which("ferryman")
    if path is None:
        raise BenchError("the command `ferryman` is missing: run scripts/bench, which installs it into .venv")
    return path
