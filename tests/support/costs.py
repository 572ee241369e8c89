"""Usages and costs for tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import msgspec

from ferryman.model import Cost, Usage
from ferryman.pricing.catalog import load_catalog
from ferryman.pricing.terms import Terms

CATALOG = load_catalog()
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PLAIN = Terms(NOW)


def usage_of(**fields: Any) -> Usage:
    """From JSON, as the wire brings it."""
    return msgspec.json.decode(json.dumps(fields), type=Usage)


def dollars(cost: Cost) -> Fraction:
    return Fraction(cost.nanousd, 10**9)


def by_model(cost: Cost) -> dict[str, Fraction]:
    """Dollars."""
    sums: dict[str, Fraction] = {}
    for part in cost.parts:
        sums[part.model] = sums.get(part.model, Fraction(0)) + Fraction(part.picousd, 10**12)
    return sums
