"""The chart and the table for the README: `docs/bench.svg` and `docs/bench.md`.

The chart shows CPU per 1 KB request as multiples of nginx. nginx and Ferryman are of the run that writes it;
the peers were measured once, on the same kind of machine, and are drawn lighter and labelled so. The longest
bar is cut, visibly, since at its true length nothing else could be read.
"""

from __future__ import annotations

import html
import importlib.util
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Figure, as_markdown, number

WIDTH = 760
LABELS = 252
ROW = 34
TOP = 62
SCALE = 26.0
"""Pixels for one nginx: 12 of them, the longest bar that is not cut, leave room for its label."""
CUT = 13.0
"""Bars longer than this many nginxes are cut."""
PEERS_DATE = "2026-11-21"
# Ratios to the nginx of their own run; method as here, same kind of machine.
PEERS = (
    ("Envoy, plain route", 3.9),
    ("uvicorn + hand-written client", 4.3),
    ("Go ReverseProxy", 6.5),
    ("aiohttp, server and client", 11.9),
    ("LiteLLM, /anthropic passthrough", 470.0),
)
STYLE = """
  text { font: 14px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .strong { font-weight: 700; }
  .nginx { fill: #6e7781; }
  .ferryman { fill: #0b7a75; }
  .peer { fill: #c4cbd3; }
  .gap { stroke: #ffffff; }
  .axis { stroke: #d1d9e0; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .nginx { fill: #8b949e; }
    .ferryman { fill: #2bb3a9; }
    .peer { fill: #444c56; }
    .gap { stroke: #0d1117; }
    .axis { stroke: #3d444d; }
  }
"""


@dataclass(frozen=True)
class _Row:
    label: str
    ratio: float
    kind: str
    note: str = ""


def machine() -> str:
    """The machine and the versions that a figure belongs to, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.machine()
    cores = os.cpu_count()
    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio's own loop"
    python = f"Python {platform.python_version()} with {loop}"
    return f"{cores} cores of {processor}, Linux {platform.release()}, {python}"


def write(directory: Path, figures: list[Figure], table: list[tuple[str, ...]], rounds: int) -> None:
    """Write `bench.svg` and `bench.md` into `directory`, from the figures of a full run."""
    small = next(figure for figure in figures if "1 KB request and answer" in figure.name and figure.ratio)
    day = datetime.now(UTC).date().isoformat()
    (directory / "bench.svg").write_text(draw(small, day))
    (directory / "bench.md").write_text(describe(table, day, rounds))
    print(f"wrote {directory / 'bench.svg'} and {directory / 'bench.md'}")


def draw(small: Figure, day: str) -> str:
    """The chart as SVG text; `small` is CPU per 1 KB request, `day` when it was measured."""
    rows = [
        _Row("nginx, proxy_pass", 1.0, "nginx", f"{number(small.nginx)} µs"),
        _Row("Ferryman, everything on", small.judged, "ferryman", f"{number(small.ferryman)} µs"),
        *(_Row(label, ratio, "peer") for label, ratio in PEERS),
    ]
    bottom = TOP + ROW * len(rows)
    height = bottom + 56
    described = "; ".join(f"{row.label} {_one_decimal(row.ratio)} times" for row in rows)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
        '<title id="title">CPU time per relayed request, as multiples of nginx</title>',
        f'<desc id="description">{html.escape(described)}</desc>',
        f"<style>{STYLE}</style>",
        _text(0, 20, "CPU time per relayed request (1 KB), nginx = 1", "title"),
        _text(0, 40, "Shorter is better. Everything on loopback, the proxy alone on one core.", "small"),
        f'<line class="axis" x1="{LABELS}" y1="{TOP - 6}" x2="{LABELS}" y2="{bottom}"/>',
        *(_bar(row, TOP + ROW * i) for i, row in enumerate(rows)),
        *_legend(day, bottom + 28),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar(row: _Row, y: int) -> str:
    cut = row.ratio > CUT
    width = SCALE * min(row.ratio, CUT)
    weight = "strong" if row.kind == "ferryman" else ""
    middle = y + 15
    parts = [
        _text(LABELS - 12, middle, row.label, weight, anchor="end"),
        f'<rect class="{row.kind}" x="{LABELS}" y="{y}" width="{width:.1f}" height="21" rx="2"/>',
    ]
    if cut:
        x = LABELS + width - 46
        points = f"{x},{y - 3} {x + 8},{y + 6} {x - 2},{y + 14} {x + 6},{y + 24}"
        parts.append(f'<polyline class="gap" points="{points}" fill="none" stroke-width="5"/>')
    note = f"bar cut to 1/{row.ratio / CUT:.0f}" if cut else row.note
    value = f'{_one_decimal(row.ratio)} ×<tspan class="small" dx="7">{note}</tspan>'
    parts.append(f'<text class="{weight}" x="{LABELS + width + 8:.1f}" y="{middle}">{value}</text>')
    return "\n".join(parts)


def _one_decimal(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def _legend(day: str, y: int) -> list[str]:
    return [
        f'<rect class="nginx" x="0" y="{y - 10}" width="11" height="11"/>',
        f'<rect class="ferryman" x="13" y="{y - 10}" width="11" height="11"/>',
        _text(32, y, f"measured together on {day} by scripts/bench", "small"),
        f'<rect class="peer" x="0" y="{y + 10}" width="24" height="11"/>',
        _text(
            32, y + 20, f"measured earlier ({PEERS_DATE}), same kind of machine, each beside nginx", "small"
        ),
    ]


def _text(x: int, y: int, content: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(content)}</text>'


def describe(table: list[tuple[str, ...]], day: str, rounds: int) -> str:
    """The table with date, machine and method, as Markdown."""
    heading = f"Measured on {day}: {machine()}.\n"
    heading += f"Medians of {rounds} rounds in which nginx and Ferryman took turns; "
    heading += "the ratio is the median of the rounds' ratios, with the smallest and the largest."
    origin = "<!-- Written by scripts/bench --write-readme-chart. -->"
    method = Path(__file__).with_name("method.md").read_text()
    return f"{origin}\n{heading}\n\n{as_markdown(table)}\n\n{method}"
