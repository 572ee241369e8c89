"""`ferryman doctor` as a process, and upstreams that it asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from ferryman.clock import SystemClock
from tests.support.edge import Script, answering
from tests.test_cli import Process

KEY = "sk-ant-the-server-key"
MODELS = b'{"data":[],"has_more":false}'

Doctor = Callable[..., dict[str, dict[str, Any]]]


def doctor_in(directory: Path) -> Doctor:
    """Runs `ferryman doctor --json`; its findings by check, and whether they and the exit code agree."""

    def run(*words: str, **more: Any) -> dict[str, dict[str, Any]]:
        more["env"] = {"ANTHROPIC_API_KEY": KEY, "FERRYMAN_PORT": "0"} | more.get("env", {})
        with Process(directory, "doctor", "--json", *words, **more) as process:
            code, out, err = process.end()
        assert err == ""
        told = json.loads(out)
        assert code == (0 if told["ok"] else 1)
        assert told["ok"] == all(one["state"] != "problem" for one in told["checks"])
        assert KEY not in out
        return {one["check"]: one for one in told["checks"]}

    return run


def told(finding: dict[str, Any]) -> str:
    return f"{finding['state']}: {finding['detail']}; {finding['advice']}"


def saying(skew_seconds: float = 0, *, status: int = 200, body: bytes = MODELS, more: bytes = b"") -> Script:
    """An upstream whose clock goes wrong."""
    moment = datetime.fromtimestamp(SystemClock.now(), UTC) + timedelta(seconds=skew_seconds)
    date = f"Date: {format_datetime(moment, usegmt=True)}\r\n".encode()
    return answering(body, status=status, headers=date + more)
