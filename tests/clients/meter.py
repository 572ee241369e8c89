"""Claude Code as a judge of prices: what its own meter makes of usages that the simulator dictates.

`python -m tests.clients.meter` asks it for the whole grid and writes `tests/data/claude_code_costs.json`,
which tests of prices read where Claude Code is not installed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferryman.simulator.recorder import Recorder
from ferryman.simulator.server import Server
from ferryman.simulator.settings import SimulatorSettings
from tests.support.claude_code_costs import FILE

from .environments import claude_code
from .program import run

VERSION = "2.1.330"
# It would ask again for minutes.
SETTINGS = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "1"}

# The ids in the catalog of Claude Code, oldest first, some with their dates, and two that nobody knows.
MODELS = (
    "claude-3-5-haiku",
    "claude-3-5-sonnet",
    "claude-3-7-sonnet",
    "claude-sonnet-4-0",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-sonnet-4-5",
    "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5",
    "claude-haiku-4-5-20251001",
    "claude-opus-4-5",
    "claude-opus-4-5-20251101",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-mythos-preview",
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-mythos-5",
    "claude-fable-5",
    "claude-sonnet-5",
    "claude-mythos-5-1",
    "claude-opus-5-5",
    "claude-fable-5-1",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-mythos-5-2",
    "claude-fable-5-2",
    "claude-opus-9",
    "claude-nova-1",
)

# Other spellings and older names, to see what they are taken for.
SPELLINGS = (
    "opus",
    "sonnet",
    "haiku",
    "claude-opus-5-5[1m]",
    "claude-sonnet-4-20250514",
    "claude-sonnet-4-5@20250929",
    "claude-sonnet-4-6-20260101",
    "claude-sonnet-5-20270101",
    "claude-3-5-haiku-latest",
    "claude-haiku-5-5-preview",
    "claude-haiku-9",
    "claude-3-haiku-20240307",
    "claude-3-opus-20240229",
    "claude-3-sonnet-20240229",
)


def tokens(
    input_tokens: int, output_tokens: int, minutes: int = 0, hour: int = 0, read: int = 0
) -> dict[str, Any]:
    """A usage with all token classes; `minutes` and `hour` are cache writes for 5 minutes and 1 hour."""
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": minutes + hour,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour},
    }


# Primes, so that no two tables of rates come to the same sum.
SMALL = tokens(1_009, 503, 307, 211, 4_001)
LONG = tokens(150_001, 3_001, 40_009, 20_011, 60_013)
OTHER = tokens(107, 53, 31, 37, 41)


@dataclass(frozen=True, slots=True)
class Cell:
    """One reading to take: the model, the usage, and what else the simulator is to do."""

    name: str
    model: str
    usage: dict[str, Any]
    more: str = ""


def grid() -> tuple[Cell, ...]:
    """Every model with each class, tier and multiplier, then what only some models need to show."""
    return (*(cell for model in MODELS for cell in of_every_model(model)), *special())


def usual() -> tuple[Cell, ...]:
    """What is read with each change, in less than a minute: a model of each family, and each rule once."""
    newest = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")
    every = [cell for model in newest for cell in of_every_model(model)]
    rules = [cell for cell in special() if cell.name not in {"spelling", "global", "eu", "thinking"}]
    return (*(cell for cell in every if cell.name in {"classes", "fast"}), *rules)


def of_every_model(model: str) -> Iterator[Cell]:
    """The readings that are taken of every model."""
    yield Cell("classes", model, SMALL)
    yield Cell("over-200k", model, LONG)
    yield Cell("fast", model, {**SMALL, "speed": "fast"})
    yield Cell("us", model, {**SMALL, "inference_geo": "us"})


def special() -> Iterator[Cell]:
    """The readings that are taken of few models."""
    yield from (Cell("spelling", model, SMALL) for model in SPELLINGS)
    opus, sonnet, haiku = "claude-opus-5-5", "claude-sonnet-5", "claude-haiku-5-5"
    bare = {name: value for name, value in SMALL.items() if name != "cache_creation"}
    yield Cell("write-without-split", opus, bare)
    for name, minutes, hour in (("short", 100, 211), ("over", 307, 1_000)):
        cache_creation = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
        yield Cell(f"split-that-is-{name}", opus, {**SMALL, "cache_creation": cache_creation})
    search = {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}
    yield Cell("search", opus, {**SMALL, **search})
    yield Cell("search-in-us-and-fast", opus, {**SMALL, **search, "inference_geo": "us", "speed": "fast"})
    for geo in ("global", "eu"):
        yield Cell(geo, opus, {**SMALL, "inference_geo": geo})
    for tier in ("priority", "batch"):
        yield Cell(tier, opus, {**SMALL, "service_tier": tier})
    yield Cell("thinking", opus, {**SMALL, "output_tokens_details": {"thinking_tokens": 400}})
    yield from iterated(opus, sonnet, haiku)
    yield Cell("at-100k", haiku, tokens(99_001, 503, 307, 211, 481))
    yield Cell("over-100k", haiku, tokens(99_001, 503, 307, 211, 482))
    yield Cell("over-100k-in-us", haiku, {**LONG, "inference_geo": "us"})
    yield Cell("three-deltas", opus, SMALL, "; deltas=3")
    yield Cell("start-that-differs", opus, SMALL, '; start-usage={"input_tokens": 7, "output_tokens": 1}')
    yield Cell("refusal", opus, tokens(1_009, 0), "; refusal")


def iterated(opus: str, sonnet: str, haiku: str) -> Iterator[Cell]:
    """The readings of `usage.iterations`."""

    def cell(name: str, model: str, usage: dict[str, Any], *parts: dict[str, Any], more: str = "") -> Cell:
        return Cell(name, model, {**usage, "iterations": list(parts)}, more)

    message = {"type": "message", **SMALL}
    advisor = {"type": "advisor_message", "model": "claude-opus-5", **OTHER}
    yield cell("advisor", sonnet, SMALL, message, advisor)
    turns = [message, advisor, {**message, **OTHER}]
    yield cell("advisor-between-turns", sonnet, {**SMALL, "output_tokens": 503 + 53}, *turns)
    yield cell("advisor-twice", sonnet, SMALL, message, advisor, advisor)
    yield cell("advisor-of-the-same-model", sonnet, SMALL, message, {**advisor, "model": sonnet})
    yield cell("advisor-nobody-knows", sonnet, SMALL, message, {**advisor, "model": "claude-nova-1"})
    yield cell("advisor-in-us", sonnet, {**SMALL, "inference_geo": "us"}, message, advisor)
    yield cell("advisor-beside-fast", opus, {**SMALL, "speed": "fast"}, message, advisor)
    yield cell("advisor-over-100k", sonnet, SMALL, message, {**advisor, **LONG, "model": haiku})
    yield cell("compaction", sonnet, SMALL, message, {"type": "compaction", **OTHER})
    yield cell(
        "fallback",
        opus,
        SMALL,
        {"type": "message", "model": opus, **OTHER},
        {"type": "fallback_message", "model": sonnet, **SMALL},
        more=f"; served-by={sonnet}",
    )
    half = tokens(60_001, 503, 307, 211, 401)
    whole = tokens(120_002, 1_006, 614, 422, 802)
    yield cell("two-turns-that-pass-100k-together", haiku, whole, *[{"type": "message", **half}] * 2)
    yield cell("turns-that-are-not-the-sum", haiku, whole, {"type": "message", **half})


def measure(
    url: str, cells: Iterable[Cell], folder: Path, key: str, recorder: Recorder
) -> list[dict[str, Any]]:
    """Let Claude Code ask a question for each cell: the rows of the file.

    Several at a time, since a start of Claude Code takes a second of one core.

    Args:
        url: Whom it asks.
        cells: The readings to take.
        folder: An empty one, for its homes.
        key: Its credential.
        recorder: Of the simulator behind `url`.
    """
    homes = [(cell, folder / f"cell-{number}") for number, cell in enumerate(cells)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        costs = list(pool.map(lambda one: _cost_usd(url, one[0], one[1], key), homes))
    rows = []
    for (cell, home), cost_usd in zip(homes, costs, strict=True):
        asked = [one for one in recorder.requests if one.header("x-cell") == home.name]
        assert asked, f"`{cell.name}` of `{cell.model}` did not reach the simulator"
        row = {"cell": cell.name, "asked": cell.model, "model": asked[0].json()["model"]}
        rows.append({**row, "usage": cell.usage, "requests": len(asked), "cost_usd": cost_usd})
    return rows


def _cost_usd(url: str, cell: Cell, home: Path, key: str) -> str:
    home.mkdir()
    wishes = f"usage={json.dumps(cell.usage)}{cell.more}"
    done = run(
        [str(claude_code()), "-p", "--output-format", "json", "say hi"],
        home,
        ANTHROPIC_BASE_URL=url,
        ANTHROPIC_API_KEY=key,
        ANTHROPIC_MODEL=cell.model,
        # The tag is for the gateway's record, and `x-cell`, which it passes on, for the simulator's.
        ANTHROPIC_CUSTOM_HEADERS=f"x-simulator: {wishes}\nx-ferryman-tags: {home.name}\nx-cell: {home.name}",
        CLAUDE_CONFIG_DIR=str(home / "config"),
        **SETTINGS,
    )
    assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
    return str(json.loads(done.stdout, parse_float=str)["total_cost_usd"])


def main() -> None:
    """Write the file."""
    rows = []
    cells = grid()
    with Server(SimulatorSettings(recorded_requests=100)) as simulator:
        for start in range(0, len(cells), 10):
            simulator.recorder.clear()
            with tempfile.TemporaryDirectory() as folder:
                part = cells[start : start + 10]
                rows += measure(simulator.url, part, Path(folder), "key", simulator.recorder)
            sys.stderr.write(f"\r{len(rows)} of {len(cells)}")
    sys.stderr.write("\n")
    lines = ",\n".join(json.dumps(row) for row in rows)
    FILE.write_text(f'{{"claude_code": "{VERSION}", "rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
