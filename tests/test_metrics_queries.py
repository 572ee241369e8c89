"""Queries of the dashboard and of the alerts, read by Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DEADLINE_SECONDS = 30.0


def promtool() -> str:
    """Where it is; scripts/test unpacks it."""
    path = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / ".tools" / "usr" / "bin"))
    assert path is not None, "promtool is missing: run scripts/test once, or: apt-get install prometheus"
    return path


def check(rules: Path) -> subprocess.CompletedProcess[str]:
    """What it says of a file of rules."""
    return subprocess.run(
        [promtool(), "check", "rules", "--lint-fatal", str(rules)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def queries(node: Any) -> Iterator[str]:
    """Every query of the dashboard, with what Grafana puts into it: spans of time, and any values chosen."""
    if isinstance(node, dict):
        if isinstance(expression := node.get("expr"), str):
            spans = re.sub(r"\$__(rate_interval|interval|range)", "5m", expression)
            yield re.sub(r"\$\w+|\$\{\w+[^}]*\}", ".*", spans)
        for child in node.values():
            yield from queries(child)
    elif isinstance(node, list):
        for child in node:
            yield from queries(child)


@pytest.mark.slow
def test_alerts_are_rules_that_prometheus_takes() -> None:
    done = check(DEPLOY / "alerts.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_every_query_of_the_dashboard_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    found = list(queries(json.loads((DEPLOY / "grafana.json").read_text("utf-8"))))
    assert len(found) > 10
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    path = tmp_path / "queries.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = check(path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_query_that_is_none_is_found(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(
        json.dumps({"groups": [{"name": "broken", "rules": [{"record": "a:b", "expr": "sum(rate(a[5m])"}]}]})
    )
    assert "unclosed left parenthesis" in check(path).stderr
