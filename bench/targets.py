"""What is measured: nginx as the yardstick, Ferryman, and the upstream itself without a proxy."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.processes import PROXY_CORE, BenchError, Server

DIRECT, NGINX, FERRYMAN, PURE = "direct", "nginx", "ferryman", "pure"
"""`ferryman` is the compiled wheel, `pure` the same sources in plain Python."""

MASTER_KEY = "sk-bench-master"
KEY_SECONDS = 20.0

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


def start(name: str, port: int, upstream_port: int, directory: Path, python: str, *, streams: bool) -> Server:
    """Start the proxy `name` on `port`, pinned to the proxy's core; it may not answer yet.

    Args:
        name: `nginx`, `ferryman` or `pure`.
        port: where it is to listen, on loopback.
        upstream_port: where the upstream listens.
        directory: an empty directory of its own, for configuration, logs and whatever it stores.
        python: runs `ferryman`: that of an environment with the compiled wheel.
        streams: whether it will relay streams.
    """
    if name == NGINX:
        return _start_nginx(port, upstream_port, directory, streams=streams)
    return _start_ferryman(python if name == FERRYMAN else sys.executable, port, upstream_port, directory)


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


def _start_ferryman(python: str, port: int, upstream_port: int, directory: Path) -> Server:
    command = [python, "-m", "ferryman", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--upstream-url", f"http://127.0.0.1:{upstream_port}"]
    # Nothing of the caller's settings may leak in: an empty home, and no variable but these.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "ANTHROPIC_API_KEY": "sk-ant-bench",
        "FERRYMAN_MASTER_KEY": MASTER_KEY,
    }
    return Server(command, PROXY_CORE, directory / "ferryman.log", environment)


def make_key(port: int, key: str) -> None:
    """Have the Ferryman at `port`, which may still be starting, know `key`: with limits and a budget.

    Raises:
        BenchError: it does not, within `KEY_SECONDS`.
    """
    wanted = {"key": key, "rpm_limit": 10**9, "tpm_limit": 10**12, "max_parallel_requests": 10_000}
    wanted |= {"max_budget": 1_000_000, "budget_duration": "30d"}
    headers = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{port}/key/generate"
    request = urllib.request.Request(url, json.dumps(wanted).encode(), headers)
    deadline = time.monotonic() + KEY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=KEY_SECONDS):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise BenchError(f"the key was refused: {error.read().decode()}") from None
            trouble: Exception = error
        except OSError as error:
            trouble = error
        if time.monotonic() > deadline:
            raise BenchError(f"no key could be made: {trouble}")
        time.sleep(0.05)


def nginx_path() -> str | None:
    """Where nginx is, None if nowhere; Debian has it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
