"""From measurements to figures: medians, ratios of pairs, and the bars of the design beside them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench import targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Measurement

Rounds = dict[str, list["Measurement"]]
"""The measurements of one case: target → one for each round, in order."""

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Bar:
    """What the design promises (`must`) and hopes for (`aim`); lower is better."""

    must: float
    aim: float


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    `judged` is what the bar is held against: the ratio where there is one, else Ferryman's value.
    """

    name: str
    unit: str
    nginx: float
    ferryman: float
    ratio: float | None
    """Median of the rounds' ratios to nginx; None where only the value counts."""
    spread: tuple[float, float] | None
    """The smallest and the largest ratio of a round."""
    bar: Bar | None

    @property
    def judged(self) -> float:
        """The number that the bar is held against."""
        return self.ferryman if self.ratio is None else self.ratio

    @property
    def verdict(self) -> str:
        """`aim met`, `must met`, `MISSED`, or nothing without a bar."""
        if self.bar is None:
            return ""
        if self.judged <= self.bar.aim:
            return "aim met"
        return "must met" if self.judged <= self.bar.must else "MISSED"


# The bars: DESIGN.md, section 6.
EVENT_BAR = Bar(3.0, 2.0)
CPU_BARS = {"json_1kb": Bar(3.8, 2.5), "json_100kb": Bar(2.5, 1.8), "sse": EVENT_BAR, "streams": EVENT_BAR}
ENTRY_BAR = Bar(1.2, 0.7)
LATENCY_BAR = Bar(1.5, 1.2)
WORKER_BAR = Bar(40, 30)
EVERYTHING_BAR = Bar(150, 110)
STREAMS_BAR = Bar(40, 20)


def make_figures(results: dict[str, Rounds], titles: dict[str, str]) -> list[Figure]:
    """All figures that the measured cases allow; `results` and `titles` by the case's name."""
    figures = []
    for case, rounds in results.items():
        if case == "latency":
            figures.append(_added_latency(rounds))
            continue
        unit = "event" if case in {"sse", "streams"} else "request"
        name = f"CPU per {unit}, {titles[case]}"
        figures.append(_ratio(name, "µs", rounds, lambda m: m.cpu_us, CPU_BARS.get(case)))
        if targets.PURE in rounds:
            plain = {targets.NGINX: rounds[targets.NGINX], targets.FERRYMAN: rounds[targets.PURE]}
            figures.append(_ratio("the same, not compiled", "µs", plain, lambda m: m.cpu_us, None))
        if case == "json_1kb":
            figures.append(_beside(rounds))
        if case != "streams":
            name = f"{unit}s/s on one core, {titles[case]}"
            figures.append(_value(name, "", rounds, lambda m: m.per_second))
    figures += _memory(results)
    return figures


def _added_latency(rounds: Rounds) -> Figure:
    """Latency beyond that of the upstream without a proxy, measured in the same round."""
    direct = [m.p50_us for m in rounds[targets.DIRECT]]
    added = {
        name: [m.p50_us - base for m, base in zip(rounds[name], direct, strict=True)]
        for name in (targets.NGINX, targets.FERRYMAN)
    }
    ratios = _ratios(added[targets.NGINX], added[targets.FERRYMAN])
    return Figure(
        "latency added at 200 requests/s, median",
        "µs",
        median(added[targets.NGINX]),
        median(added[targets.FERRYMAN]),
        median(ratios),
        (min(ratios), max(ratios)),
        LATENCY_BAR,
    )


def _beside(rounds: Rounds) -> Figure:
    """The control plane's CPU time for an entry, against nginx's for a request."""
    nginx = [m.cpu_us for m in rounds[targets.NGINX]]
    beside = [m.beside_us for m in rounds[targets.FERRYMAN]]
    ratios = _ratios(nginx, beside)
    spread = (min(ratios), max(ratios))
    name = "CPU per entry, control plane"
    return Figure(name, "µs", median(nginx), median(beside), median(ratios), spread, ENTRY_BAR)


def _memory(results: dict[str, Rounds]) -> list[Figure]:
    everything = {
        name: [m for rounds in results.values() for m in rounds.get(name, [])]
        for name in (targets.NGINX, targets.FERRYMAN)
    }
    worker, total = (lambda m: m.idle.line / MEGABYTE), (lambda m: m.idle.total / MEGABYTE)
    figures = [
        _value("memory idle, a worker", "MB", everything, worker, WORKER_BAR),
        _value("memory idle, all processes", "MB", everything, total, EVERYTHING_BAR),
    ]
    if "streams" in results:
        name, rounds = "memory added by 1,000 open streams", results["streams"]
        figures.append(_value(name, "MB", rounds, _added_memory, STREAMS_BAR))
    return figures


def _added_memory(measurement: Measurement) -> float:
    return (measurement.loaded.total - measurement.idle.total) / MEGABYTE


def _ratio(
    name: str, unit: str, rounds: Rounds, value: Callable[[Measurement], float], bar: Bar | None
) -> Figure:
    nginx, ferryman = ([value(m) for m in rounds[name]] for name in (targets.NGINX, targets.FERRYMAN))
    ratios = _ratios(nginx, ferryman)
    spread = (min(ratios), max(ratios))
    return Figure(name, unit, median(nginx), median(ferryman), median(ratios), spread, bar)


def _ratios(nginx: Sequence[float], ferryman: Sequence[float]) -> list[float]:
    return [ours / base for base, ours in zip(nginx, ferryman, strict=True)]


def _value(
    name: str, unit: str, rounds: Rounds, value: Callable[[Measurement], float], bar: Bar | None = None
) -> Figure:
    nginx, ferryman = (median(value(m) for m in rounds[name]) for name in (targets.NGINX, targets.FERRYMAN))
    return Figure(name, unit, nginx, ferryman, None, None, bar)


def number(value: float) -> str:
    """Three significant digits, or whole thousands with a comma."""
    if value >= 1000:
        return f"{round(value, -2):,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def rows(figures: list[Figure]) -> list[tuple[str, ...]]:
    """The report's table, its header first."""
    table: list[tuple[str, ...]] = [("", "nginx", "Ferryman", "ratio", "must", "aim", "")]
    for figure in figures:
        unit = f" {figure.unit}" if figure.unit else ""
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
        if figure.spread is not None:
            ratio += f" ({figure.spread[0]:.2f}–{figure.spread[1]:.2f})"
        kind = " ×" if figure.ratio is not None else unit
        limits = () if figure.bar is None else (figure.bar.must, figure.bar.aim)
        bars = tuple(f"≤ {limit:g}{kind}" for limit in limits) or ("", "")
        values = (f"{number(figure.nginx)}{unit}", f"{number(figure.ferryman)}{unit}")
        table.append((figure.name, *values, ratio, *bars, figure.verdict))
    return table


def as_text(table: list[tuple[str, ...]]) -> str:
    """The table for a terminal."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        _, *cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def as_markdown(table: list[tuple[str, ...]]) -> str:
    """The table for the README."""
    rule = "|---|" + "--:|" * (len(table[0]) - 2) + "---|"
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], rule, *lines[1:]])
