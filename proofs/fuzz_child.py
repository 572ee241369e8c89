"""One target under the fuzzer: `python -m proofs.fuzz_child TARGET [libFuzzer's arguments]`.

It is a process of its own, since libFuzzer takes over the one that it runs in.
"""

from __future__ import annotations

import importlib
import sys

import atheris

with atheris.instrument_imports(include=["ferryman"]):
    import ferryman.http1.connection
    import ferryman.relay.meter  # noqa: F401  # imported here to be instrumented


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    import structlog  # noqa: PLC0415  # behind the instrumentation

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    target = importlib.import_module(f"proofs.targets.{sys.argv[1]}")
    # To merge, libFuzzer runs in a shell what it takes for its program.
    program = f"'{sys.executable}' -m proofs.fuzz_child {sys.argv[1]}"
    atheris.Setup([program, *sys.argv[2:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
