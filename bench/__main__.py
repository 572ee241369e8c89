"""The command line of the bench: `scripts/bench`, or `python -m bench` where everything is installed.

Runs nginx's `proxy_pass` and Ferryman in turns, each alone on one core, with the load and the upstream on
the other, and prints medians beside the bars of the design. Exit code 1 means that something could not be
measured or that an answer was wrong. A missed bar is printed, but is no error: speed depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from proofs import wheel

from bench import chart, report, targets
from bench.cases import Case, make_cases
from bench.measure import Bench, Measurement
from bench.processes import LOAD_CORE, PROXY_CORE, BenchError

HERE = Path(__file__).parent
BUILD = HERE / "build"
MAX_ROUNDS = 50
# Beside the measured seconds: start, warm-up, probe and end of a target.
OVERHEAD_SECONDS = 1.5
# Below this share of the core, a proxy under full load was held up by something.
SATURATED = 0.85


def main() -> int:
    """Run the bench as the command line says; returns the exit code."""
    arguments = _parse()
    # The servers have sessions of their own, so they outlive us unless their context managers are left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    try:
        _check_tools()
        _compile()
        python = _compiled()
        with tempfile.TemporaryDirectory(prefix="ferryman-bench-") as directory:
            cases = make_cases(Path(directory), quick=arguments.quick)
            chosen = [case for case in cases if not arguments.only or case.name in arguments.only]
            results = _run(cases, chosen, rounds, Path(directory), python)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    figures = report.make_figures(results, {case.name: case.title for case in cases})
    table = report.rows(figures)
    print(f"\n{chart.machine()}; medians of {rounds} interleaved rounds\n")
    print(report.as_text(table))
    if arguments.json:
        arguments.json.write_text(json.dumps(_plain(results), indent=1))
    if arguments.write_readme_chart:
        chart.write(HERE.parent / "docs", figures, table, rounds)
    _print_notes(figures, results, {case.name for case in chosen if case.mode == "closed"})
    return _exit_code(results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure Ferryman beside nginx.")
    names = ["json_1kb", "json_100kb", "sse", "latency", "streams"]
    parser.add_argument("--quick", action="store_true", help="two short rounds: a look, not a result")
    parser.add_argument("--rounds", type=int, choices=range(1, MAX_ROUNDS + 1), metavar="N", help="default 5")
    parser.add_argument("--only", action="append", choices=names, help="only this case; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE")
    parser.add_argument(
        "--write-readme-chart", action="store_true", help="write docs/bench.svg and docs/bench.md"
    )
    arguments = parser.parse_args()
    if arguments.write_readme_chart and (arguments.quick or arguments.only):
        parser.error("--write-readme-chart needs a full run, without --quick and --only")
    return arguments


def _check_tools() -> None:
    """Raise BenchError, naming every Debian package that is missing."""
    tools = {"cc": "gcc libc6-dev", "taskset": "util-linux"}
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if targets.nginx_path() is None:
        missing.append("nginx-light")
    if missing:
        raise BenchError(f"install the Debian packages: {' '.join(missing)}")
    if not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(f"cores {PROXY_CORE} and {LOAD_CORE} are needed, for the proxy and for the load")


def _compile() -> None:
    """Compile the load generator and the upstream, when their sources are newer than what is there."""
    BUILD.mkdir(exist_ok=True)
    for name in ("load", "upstream"):
        sources = [HERE / f"{name}.c", HERE / "wire.h"]
        program = BUILD / name
        if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
            continue
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(sources[0])]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if result.returncode != 0:
            hint = "are the Debian packages `gcc` and `libc6-dev` there?"
            raise BenchError(f"{sources[0].name} does not compile ({hint}): {result.stderr}")


def _compiled() -> str:
    """The Python of an environment with the compiled wheel, built anew when a source is newer than it is."""
    place = BUILD / "compiled"
    stamp = place / "python"
    sources = [wheel.ROOT / "pyproject.toml", *(wheel.ROOT / "src").rglob("*.py")]
    if stamp.exists() and stamp.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return stamp.read_text()
    print("compiling the wheel, about two minutes", flush=True)
    try:
        python = wheel.compiled(place, alone=True)
    except (wheel.NotCompiled, subprocess.CalledProcessError) as error:
        raise BenchError(f"the wheel could not be compiled: {error}") from None
    stamp.write_text(python)
    return python


def _run(
    cases: list[Case], chosen: list[Case], rounds: int, directory: Path, python: str
) -> dict[str, report.Rounds]:
    """Measure the chosen cases round by round, the targets in turns, so that drift hits all alike."""
    os.sched_setaffinity(0, {LOAD_CORE})
    plan = [
        (number, case, target)
        for number in range(rounds)
        for case in chosen
        if number < case.max_rounds
        for target in case.targets
    ]
    seconds = sum(case.seconds + OVERHEAD_SECONDS + 5 * (case.mode == "hold") for _, case, _ in plan)
    print(f"{len(plan)} runs, about {seconds / 60:.0f} minutes", flush=True)
    results: dict[str, report.Rounds] = {case.name: {name: [] for name in case.targets} for case in chosen}
    bench = Bench(BUILD, directory, cases, python)
    with bench.upstream:
        for position, (_, case, target) in enumerate(plan, 1):
            measurement = bench.measure(case, target)
            results[case.name][target].append(measurement)
            print(f"[{position}/{len(plan)}] {_progress(case, measurement)}", flush=True)
    return results


def _progress(case: Case, m: Measurement) -> str:
    line = f"{case.name:<11} {m.target:<9} {m.cpu_us:8.2f} µs/{case.unit:<7} {m.per_second:9,.0f}/s"
    line += f"  core {m.busy:4.0%}" + (f"  p50 {m.p50_us:,} µs" if case.mode != "hold" else "")
    line += f"  idle {m.idle.total / 1e6:.1f} MB, now {m.loaded.total / 1e6:.1f} MB"
    return line + "".join(f"\n    TROUBLE: {trouble}" for trouble in m.troubles)


def _plain(results: dict[str, report.Rounds]) -> dict[str, object]:
    return {
        case: {target: [asdict(m) for m in measurements] for target, measurements in rounds.items()}
        for case, rounds in results.items()
    }


def _print_notes(
    figures: list[report.Figure], results: dict[str, report.Rounds], saturating: set[str]
) -> None:
    """Say which bars were missed, and whether the machine was busy with something else."""
    missed = [figure.name for figure in figures if figure.verdict == "MISSED"]
    if missed:
        print(f"\nBars missed: {'; '.join(missed)}.")
    elif any(figure.bar for figure in figures):
        print("\nAll bars that were measured are met.")
    loaded = [m for name in saturating for target in results[name].values() for m in target]
    disturbed = sum(m.busy < SATURATED for m in loaded)
    if disturbed:
        print(
            f"In {disturbed} of {len(loaded)} runs under full load the proxy had less than {SATURATED:.0%} "
            "of its core: something else ran there, or the load was the bottleneck. "
            "CPU time still counts, roughly; requests a second do not."
        )


def _exit_code(results: dict[str, report.Rounds]) -> int:
    runs = [m for rounds in results.values() for measurements in rounds.values() for m in measurements]
    troubles = sum(bool(m.troubles) for m in runs)
    if troubles:
        print(f"{troubles} of {len(runs)} runs had trouble (see above): these figures are not to be trusted.")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
