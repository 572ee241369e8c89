"""What the results of a batch come to: each priced by itself at half, added up by model. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from ferryman.model import BatchResults, BatchShare, Cost, CostPart, Usage
from ferryman.pricing.catalog import CATALOG, FALLBACK, OVERRIDE, Catalog
from ferryman.pricing.cost import cost_of
from ferryman.pricing.estimate import BYTES_PER_TOKEN
from ferryman.pricing.terms import Terms
from ferryman.wire.batch import MAX_MODELS, Asked, Lines, Succeeded, succeeded_in
from ferryman.wire.refusal import REFUSAL, declined_in, refusal_in
from ferryman.wire.shown import made_in_message

LIFE_DAYS = 31
"""Results can be read for 29 days from the creation of their batch, which counts for the price."""

MAX_MADE = 2_000
"""Containers and files of one batch that are noted: 100 KB of a record. What is beyond them is nobody's, and
its maker has to make it anew, or to be let see all."""

_SURENESS = (CATALOG, OVERRIDE, FALLBACK)
_COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def held_nanousd(asked: Asked, body_bytes: int, at: datetime, catalog: Catalog) -> int:
    """What a batch may cost: all the tokens that its requests allow, and their share of its bytes as input.

    Args:
        asked: what they ask for.
        body_bytes: of all of them.
        at: when it is created (UTC).
        catalog: the prices in force.
    """
    input_tokens = -(-body_bytes // (BYTES_PER_TOKEN * max(asked.requests, 1)))
    sum_nanousd = 0
    for model, requests in asked.models.items():
        output_tokens = -(-asked.max_tokens.get(model, 0) // requests)
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        sum_nanousd += (
            requests * cost_of(usage, model, Terms(at, batch=True, estimated=True), catalog).nanousd
        )
    return sum_nanousd


def price_days(catalog: Catalog, today: date) -> list[date]:
    """Since when there were the prices that a batch may have which is read today; the first one is before."""
    first = today - timedelta(days=LIFE_DAYS)
    found = {
        price.effective_from
        for model in catalog.models
        for price in model.prices
        if price.effective_from is not None and first < price.effective_from <= today
    }
    return [first, *sorted(found)]


class Tally:
    """Adds up the results of one batch as they go by. Its memory does not grow with them."""

    def __init__(self, batch_id: str, catalog: Catalog, now: datetime) -> None:
        """Nothing has come yet; `now` (UTC) is when they are read."""
        self._id = batch_id
        self._catalog = catalog
        self._days = price_days(catalog, now.date())
        # At the end of the first day of a price, and now for the last: as a batch of then was priced.
        self._terms = [Terms(datetime.combine(day, time.max, UTC), batch=True) for day in self._days]
        self._shares: dict[str, _Sum] = {}
        self._odd = 0  # lines that are no results
        self._unpriced = 0  # answers that tell no usage
        self._made: dict[str, str] = {}
        self._lines = Lines(self._take)

    def __repr__(self) -> str:
        return f"<Tally {self._id}: {self._lines.count} lines>"

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the results."""
        self._lines.feed(data)

    def results(self) -> BatchResults | None:
        """All of them, when all have come; `None` if what has come is something else."""
        self._lines.end()
        if self._odd:
            return None
        guess = bool(self._unpriced or self._lines.lost)
        shares = [one.share(model, estimated=guess) for model, one in self._shares.items()]
        return BatchResults(self._id, self._lines.count, self._days, shares, self._made)

    def _take(self, line: bytes) -> None:
        try:
            found = succeeded_in(line)
        except (ValueError, RecursionError):
            self._odd += 1
            return
        if found is None:
            return
        if len(self._made) < MAX_MADE:
            self._made |= made_in_message(found.message)
        answer = found.answer
        if (usage := answer.usage) is None:
            self._unpriced += 1
            return
        model = name = answer.model or ""
        if name not in self._shares and len(self._shares) >= MAX_MODELS:
            name = next(reversed(self._shares))
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = _Sum(len(self._days))
        terms = self._terms
        if answer.stop_reason == REFUSAL or usage.iterations:
            terms = [_with_details(one, found) for one in terms]
        share.add(usage, [cost_of(usage, model, one, self._catalog) for one in terms])


def _with_details(terms: Terms, found: Succeeded) -> Terms:
    answer = found.answer
    refusal = refusal_in(found.message) if answer.stop_reason == REFUSAL else None
    declined = declined_in(found.message) if answer.usage is not None and answer.usage.iterations else {}
    return Terms(terms.at, batch=terms.batch, estimated=terms.estimated, refusal=refusal, declined=declined)


class _Sum:
    """What one model's results come to so far."""

    def __init__(self, prices: int) -> None:
        self._requests = 0
        self._usage: Usage | None = None
        self._costs = [_CostSum() for _ in range(prices)]

    def add(self, usage: Usage, costs: Iterable[Cost]) -> None:
        """One more, with its cost at each of the prices."""
        self._requests += 1
        self._usage = usage_sum(self._usage, usage)
        for total, cost in zip(self._costs, costs, strict=True):
            total.add(cost)

    def share(self, model: str, *, estimated: bool) -> BatchShare:
        """All of it; `estimated` if some answers are missing."""
        costs = [one.cost(model, estimated=estimated) for one in self._costs]
        return BatchShare(model, self._requests, self._usage or Usage(), costs)


class _CostSum:
    """The parts of many costs, those at one rate as one."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, str, int, int, int], int] = {}
        self._source = CATALOG
        self._revision = ""
        self._estimated = False

    def add(self, cost: Cost) -> None:
        """One more."""
        if _SURENESS.index(cost.price_source) > _SURENESS.index(self._source):
            self._source = cost.price_source
        self._revision = cost.price_revision
        self._estimated |= cost.estimated
        for part in cost.parts:
            rate = (part.model, part.what, part.picousd_per_unit, part.numerator, part.denominator)
            self._units[rate] = self._units.get(rate, 0) + part.units

    def cost(self, model: str, *, estimated: bool) -> Cost:
        """The sum, rounded half up, once."""
        parts = [CostPart(r[0], r[1], units, r[2], r[3], r[4]) for r, units in self._units.items()]
        nanousd = (sum(part.picousd for part in parts) + 500) // 1_000
        estimated = estimated or self._estimated
        return Cost(nanousd, self._source, self._revision, parts, estimated, model, batch=True)


def usage_sum(one: Usage | None, other: Usage) -> Usage:
    """Both together: counts are added, what they name alike is kept, and the rest is left out."""
    if one is None:
        return msgspec.structs.replace(other, iterations=None)
    changes: dict[str, object] = {name: _plus(getattr(one, name), getattr(other, name)) for name in _COUNTS}
    for name in ("cache_creation", "server_tool_use", "output_tokens_details"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is None or theirs is None:
            changes[name] = mine or theirs
            continue
        fields = mine.__struct_fields__
        changes[name] = type(mine)(*(_plus(getattr(mine, f), getattr(theirs, f)) for f in fields))
    for name in ("service_tier", "inference_geo", "speed"):
        changes[name] = getattr(one, name) if getattr(one, name) == getattr(other, name) else None
    return Usage(**changes)  # type: ignore[arg-type]  # each of its field's type


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
