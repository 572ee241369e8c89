"""The command line of scripts/prove."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from proofs import fuzz


def main() -> int:
    """Prove what the command line names; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that our processes end with us
    try:
        return _prove(_parser().parse_args())
    except KeyboardInterrupt:
        return 130


def _prove(arguments: argparse.Namespace) -> int:
    code = 2
    match str(arguments.proof):
        case "fuzz":
            extent = fuzz.Extent(arguments.seconds, arguments.runs, arguments.seed)
            code = fuzz.fuzz(arguments.target or list(fuzz.TARGETS), extent, keep=arguments.keep)
        case "replay":
            code = fuzz.replay(arguments.target, arguments.file)
        # The others need what is not in the fuzzer's environment.
        case "soak":
            from proofs.soak import soak  # noqa: PLC0415

            code = soak.prove(arguments.minutes * 60)
        case "bodies":
            from proofs.soak import bodies  # noqa: PLC0415

            code = bodies.prove(arguments.megabytes * 1_000_000)
        case "kill9":
            from proofs.kill9 import kill9  # noqa: PLC0415

            code = kill9.prove(arguments.rounds, arguments.database, arguments.database_url)
        case "outage":
            from proofs import outage  # noqa: PLC0415

            code = outage.prove(arguments.seconds, arguments.way or [*outage.WAYS, outage.LOSES_ANSWERS])
        case "full":
            from proofs import full  # noqa: PLC0415

            code = full.prove(arguments.seconds, arguments.on_ledger_failure, on_a_disk=arguments.disk)
        case "caps":
            from proofs import caps  # noqa: PLC0415

            code = caps.prove(arguments.calls)
        case "compiled":
            from proofs import compiled  # noqa: PLC0415

            code = compiled.prove()
        case _:  # argparse knows no other
            pass
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/prove",
        description="Prove what shows only over time, or only to a machine that tries millions of inputs.",
    )
    proofs = parser.add_subparsers(dest="proof", required=True, metavar="PROOF")
    part = proofs.add_parser(
        "fuzz",
        help="no bytes make a parser or a meter fail",
        description="Fuzz what reads bytes of clients and upstreams, led by the coverage of the code.",
    )
    part.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target; default 60")
    part.add_argument("--runs", type=int, metavar="N", help="for each target as many inputs, not --seconds")
    part.add_argument("--seed", type=int, metavar="N", help="draw the same inputs again; with --runs")
    part.add_argument("--target", action="append", choices=fuzz.TARGETS, help="only this; may be repeated")
    part.add_argument("--keep", action="store_true", help="add new inputs of interest to the corpus")
    proofs.add_parser(
        "compiled",
        help="a compiled wheel does what the sources do",
        description="Build a compiled wheel, which takes a C compiler, and run the suite's tests of it.",
    )
    part = proofs.add_parser("replay", help="an input that was found before does no harm any more")
    part.add_argument("target", choices=fuzz.TARGETS)
    part.add_argument("file", type=Path, nargs="*", help="inputs; without any, the target's whole corpus")
    part = proofs.add_parser(
        "soak",
        help="hours of mixed load and faults leave nothing behind, and lose no log line",
        description="Run a gateway under mixed load, with faults of clients and upstreams.",
    )
    part.add_argument("--minutes", type=float, default=60, metavar="N", help="default 60")
    part = proofs.add_parser(
        "bodies",
        help="large bodies and stalled clients take no memory",
        description="Send large bodies both ways through a gateway, and measure its memory.",
    )
    part.add_argument("--megabytes", type=int, default=500, metavar="N", help="each way; default 500")
    _add_proofs_of_the_ledger(proofs)
    return parser


def _add_proofs_of_the_ledger(proofs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    part = proofs.add_parser(
        "kill9",
        help="nothing is lost or doubled, whichever process is killed",
        description="Kill processes of a gateway under load, and compare its ledger with what was seen.",
    )
    part.add_argument("--rounds", type=int, default=100, metavar="N", help="one process each; default 100")
    part.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    part.add_argument(
        "--database-url", metavar="URL", help="an empty one of PostgreSQL; default: a server of its own"
    )
    part = proofs.add_parser(
        "caps",
        help="no cap is passed, and nothing stays taken",
        description="Call at once against a dollar, and thousands of times in vain, and look what is left.",
    )
    part.add_argument("--calls", type=int, default=10_000, metavar="N", help="in vain; default 10000")
    part = proofs.add_parser(
        "outage",
        help="nothing fails, is lost or doubled while PostgreSQL is away",
        description="Take PostgreSQL away from a gateway under load, and bring it back.",
    )
    part.add_argument("--seconds", type=float, default=60, metavar="N", help="each time; default 60")
    part.add_argument(
        "--way",
        action="append",
        choices=("stop", "kill", "hang", "lose-answers"),
        help="only this; may be repeated",
    )
    part = proofs.add_parser(
        "full",
        help="no room for the journal: requests are refused or pass, and nothing is lost",
        description="Take the room for the journals away from a gateway under load, and give it back.",
    )
    part.add_argument("--seconds", type=float, default=10, metavar="N", help="without room; default 10")
    part.add_argument("--on-ledger-failure", choices=("refuse", "allow"), default="refuse")
    part.add_argument(
        "--disk", action="store_true",
        help="fill a small file system, which takes root to make; default: limit the workers' files",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
