"""The compiled wheel does what the sources do: the suite's tests of what is compiled pass with it as well."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from proofs.wheel import ROOT, NotCompiled, compiled, listed

TESTS = (
    "attribution", "authority", "batches_on_the_line", "bodies", "budgets_live", "connections", "control",
    "corpus", "counters", "edit", "edits_on_the_line", "exchange_line", "exchange_orders", "fields",
    "framing", "gate", "gate_ceiling", "gateway_ledger", "identity", "keys_on_the_line", "ledger_crash",
    "ledger_replay", "ledger_tail", "ledger_writer", "limits_admission", "limits_habits", "limits_last",
    "limits_table", "limits_windows", "log", "meter", "metrics_counted", "model", "moments", "money",
    "own_paths", "owners", "ownership_of_answers", "ownership_on_the_line", "pipelining", "pricing_adjust",
    "pricing_batch", "pricing_catalog", "pricing_cost", "pricing_grid", "pricing_iterations",
    "pricing_properties", "refers", "shown", "store", "store_batches", "store_reprice", "store_sessions",
    "store_sums", "store_walk", "streams", "untouched", "upstream", "wire_scan", "wire_sse", "wire_usage",
)  # fmt: skip
"""Those that run what is compiled, alone or in a gateway."""


def prove() -> int:
    """Build and install the wheel, and run `TESTS` with it; the exit code."""
    with tempfile.TemporaryDirectory(prefix="ferryman-") as place:
        try:
            python = compiled(Path(place) / "compiled", alone=False)
        except NotCompiled as error:
            print(error)
            return 1
        print(f"{len(listed())} modules are compiled", flush=True)
        tests = [f"tests/test_{name}.py" for name in TESTS]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "auto", *tests]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
