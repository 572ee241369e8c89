"""What Claude Code's own meter has made of scripted usages, as `tests/clients/meter.py` has recorded it.

And what we make of them: where that is something else, a rule tells what Claude Code does in place of it.
`scripts/prices.yaml` has the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from ferryman.model import Refusal, Usage
from ferryman.pricing.catalog import CATALOG as KNOWN
from ferryman.pricing.cost import cost_of
from ferryman.pricing.terms import Terms
from ferryman.wire.usage import usage_of_object
from tests.support.costs import CATALOG, NOW, PLAIN

FILE = Path(__file__).resolve().parents[1] / "data" / "claude_code_costs.json"
STAND_IN = "claude-opus-5-5"
ONLY_OURS = frozenset({"claude-mythos-preview", "claude-3-haiku", "claude-3-opus", "claude-3-sonnet"})


@dataclass(frozen=True, slots=True)
class Row:
    """One reading.

    Attributes:
        cell: Names it.
        asked: The model that Claude Code was told to use.
        model: The one that it named to the API, which for retired models is another.
        usage: What the API reported, for each request.
        requests: How many there were.
        cost_usd: What Claude Code says that all of them have cost, in the digits that it printed. It
            reckons in binary floating point, so that the last of seventeen digits may be off.
    """

    cell: str
    asked: str
    model: str
    usage: dict[str, Any]
    requests: int
    cost_usd: Decimal

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Row:
        """As it stands in the file."""
        return cls(**{**fields, "cost_usd": Decimal(fields["cost_usd"])})

    @property
    def nanousd(self) -> int:
        """What Claude Code says, without the digits that it cannot be sure of."""
        return int((self.cost_usd * 10**9).quantize(Decimal(1), ROUND_HALF_UP))

    @property
    def differences(self) -> list[Difference]:
        """The rules that are about it."""
        return [rule for rule in RULES.values() if rule.is_about(self)]


def recorded() -> tuple[Row, ...]:
    """All readings."""
    rows = json.loads(FILE.read_text())["rows"]
    return tuple(map(Row.of, rows))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway is told by one answer, and by what it is multiplied in the end."""

    model: str
    usage: dict[str, Any]
    terms: Terms = PLAIN
    factor: Fraction = Fraction(1)

    @property
    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.usage.get("iterations", [])
        return found

    def with_usage(self, **fields: Any) -> Answer:
        """With other fields, `None` for none."""
        changed = {name: value for name, value in (self.usage | fields).items() if value is not None}
        return replace(self, usage=changed)

    def with_entries(self, keep: Callable[[dict[str, Any]], bool]) -> Answer:
        return self.with_usage(iterations=[entry for entry in self.entries if keep(entry)] or None)

    def nanousd(self) -> int:
        usage = usage_of_object(json.dumps(self.usage).encode())
        assert isinstance(usage, Usage)
        cost = cost_of(usage, self.model, self.terms, CATALOG)
        picousd = sum(Fraction(part.picousd) for part in cost.parts) * self.factor
        nanousd = int((2 * picousd + 1_000) // 2_000)
        assert self.factor != 1 or nanousd == cost.nanousd
        return nanousd


def answer_to(row: Row) -> Answer:
    """What came through: the simulator's answer may say more than the usage that was dictated."""
    answer = Answer(row.model, row.usage)
    if row.cell == "start-that-differs":  # only message_start tells the split, and this one told none
        return answer.with_usage(cache_creation=None)
    if row.cell == "refusal":
        return replace(answer, terms=Terms(NOW, refusal=Refusal()))
    if row.cell == "fallback":
        return replace(answer, model=answer.entries[-1]["model"])
    return answer


def is_unknown(model: str) -> bool:
    found = CATALOG.find(model)
    return found.model.id in ONLY_OURS or (found.source != KNOWN and not is_worded(model))


def is_worded(model: str) -> bool:
    return model == "claude-haiku-5-5-preview"


def is_us_for_nothing(row: Row) -> bool:
    price = CATALOG.find(row.model).model.price_at(NOW)
    return row.usage.get("inference_geo") == "us" and price.us == (1, 1)


def executors(row: Row) -> int:
    types = [entry["type"] for entry in row.usage.get("iterations", [])]
    return types.count("message") if "advisor_message" in types else 0


def with_stand_ins(answer: Answer) -> Answer:
    """Fast mode is not known of an unknown model either."""
    if is_unknown(answer.model):
        answer = replace(answer.with_usage(speed=None), model=STAND_IN)
    entries = [
        entry | {"model": STAND_IN} if is_unknown(entry.get("model", STAND_IN)) else entry
        for entry in answer.entries
    ]
    return answer.with_usage(iterations=entries or None)


def with_hours_in_bounds(answer: Answer) -> Answer:
    written = answer.usage["cache_creation_input_tokens"]
    hour = min(written, answer.usage["cache_creation"]["ephemeral_1h_input_tokens"])
    split = {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": written - hour}
    return answer.with_usage(cache_creation=split)


@dataclass(frozen=True, slots=True)
class Difference:
    """Which rows it is about, and what the answer would have to be for us to say what Claude Code says."""

    is_about: Callable[[Row], bool]
    as_theirs: Callable[[Answer, Row], Answer]


RULES = {
    "unknown": Difference(
        lambda row: (
            is_unknown(row.model)
            or any(is_unknown(entry.get("model", STAND_IN)) for entry in row.usage.get("iterations", []))
        ),
        lambda answer, _: with_stand_ins(answer),
    ),
    "words": Difference(
        lambda row: is_worded(row.model), lambda answer, _: replace(answer, model="claude-haiku-5-5")
    ),
    "us": Difference(is_us_for_nothing, lambda answer, _: replace(answer, factor=Fraction(11, 10))),
    "hours": Difference(
        lambda row: row.cell == "split-that-is-over", lambda answer, _: with_hours_in_bounds(answer)
    ),
    "compaction": Difference(
        lambda row: row.cell == "compaction",
        lambda answer, _: answer.with_entries(lambda entry: entry["type"] != "compaction"),
    ),
    "turns-beside-advisor": Difference(
        lambda row: executors(row) > 1,
        lambda answer, _: answer.with_entries(lambda entry: entry["type"] == "advisor_message"),
    ),
    "fallback": Difference(
        lambda row: row.cell == "fallback",
        lambda answer, row: replace(answer.with_usage(iterations=None), model=row.model),
    ),
    "refusal": Difference(
        lambda row: row.cell == "refusal", lambda answer, _: replace(answer, terms=Terms(NOW))
    ),
}
