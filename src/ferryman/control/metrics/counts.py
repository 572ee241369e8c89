"""Counts of entries as they are stored: one pass over each batch, and bounded memory."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ferryman.control.metrics.labels import MESSAGES, OTHER, endpoint_of, error_of
from ferryman.pricing.catalog import FALLBACK
from ferryman.store.flat import ABSENT, Apart, Measured, Row
from ferryman.store.rollup import Sums
from ferryman.store.schema import MEASURES
from ferryman.telemetry import metrics
from ferryman.telemetry.exposition import Page
from ferryman.telemetry.metrics import DURATIONS, FIRST_BYTES, OVERHEADS

MAX_MODELS = 100
MAX_NAMES = 1_000
"""Keys, and end users, that are told apart; the next ones are counted together."""

MAX_SERIES = 5_000
"""What entries are told apart by, all labels together: about 4 MB."""

MAX_KNOWN = 10_000
"""What entries came with that is known to which series it belongs; beyond it this starts anew."""

FEW = 12
"""So many values are counted one by one in the time that counting all at once takes."""

_NANO = 1_000_000_000
_AT = {name: number for number, name in enumerate(MEASURES)}
_INPUT, _OUTPUT = _AT["input_tokens"], _AT["output_tokens"]
_WRITTEN, _READ = _AT["cache_creation_input_tokens"], _AT["cache_read_input_tokens"]
_WRITTEN_1H = _AT["ephemeral_1h_input_tokens"]
_SEARCHES, _FETCHES = _AT["web_search_requests"], _AT["web_fetch_requests"]
_REQUESTS, _ERRORS, _COST = _AT["requests"], _AT["errors"], _AT["cost_nanousd"]


class _Told(NamedTuple):
    """What entries are told apart by."""

    endpoint: str
    model: str
    status: int
    ended: str
    stream: bool


class _Histogram:
    """How long something took.

    Attributes:
        bounds: upper, of the buckets but for the last.
        counts: one for each bucket, not added up.
        seconds: the sum.
    """

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def take(self, measured: list[float]) -> None:
        """Count what was `measured`, which may be sorted then."""
        self.seconds += sum(measured)
        if len(measured) < FEW:
            for one in measured:
                self.counts[bisect_left(self.bounds, one)] += 1
            return
        measured.sort()
        # A value that is a bound is within it.
        ends = [0, *(bisect_right(measured, bound) for bound in self.bounds), len(measured)]
        pairs = zip(self.counts, pairwise(ends), strict=True)
        self.counts = [old + end - start for old, (start, end) in pairs]

    def add(self, other: _Histogram) -> None:
        """Count what another has counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds


class _Series:
    """Exchanges that are alike."""

    __slots__ = ("fallbacks", "first", "length", "number", "ours")

    def __init__(self) -> None:
        self.number = self.fallbacks = 0
        self.length = _Histogram(DURATIONS)
        self.first = _Histogram(FIRST_BYTES)
        self.ours = _Histogram(OVERHEADS)


class _Caller:
    """A key, or an end user."""

    __slots__ = ("errors", "nanousd", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = self.errors = self.tokens = self.nanousd = 0


class Counts:
    """What has been stored since the control plane was started. Its methods may be called on any thread."""

    def __init__(self, *, tells_end_users: bool = False) -> None:
        """Begin with nothing; `tells_end_users` costs a series each."""
        self._tells_end_users = tells_end_users
        self._lock = threading.Lock()
        self._known: dict[Apart, _Series] = {}
        self._series: dict[_Told, _Series] = {}
        self._models: dict[str, list[int]] = {}
        self._keys: dict[str, _Caller] = {}
        self._end_users: dict[str, _Caller] = {}

    def __repr__(self) -> str:
        return f"<Counts {len(self._series)} series, {len(self._models)} models, {len(self._keys)} keys>"

    @property
    def keys(self) -> list[str]:
        """The principals that are told apart."""
        with self._lock:
            return list(self._keys)

    def count(self, rows: Sequence[Row], sums: Sums) -> None:
        """Count what was stored.

        Args:
            rows: each once.
            sums: of the same rows (see `ferryman.store.rollup.summed`).
        """
        with self._lock:
            self._count_rows(rows)
            models: dict[str, list[list[int]]] = {}
            for (_, group), measures in sums.items():
                model = self._model(group[1], answered=not measures[_ERRORS])
                if model in models:
                    models[model].append(measures)
                else:
                    models[model] = [measures]
                if group[2]:
                    _add(self._keys, group[2], measures)
                if self._tells_end_users and group[3]:
                    _add(self._end_users, group[3], measures)
            for model, found in models.items():
                there = self._models.get(model)
                self._models[model] = list(map(sum, zip(*found, *([there] if there else ()), strict=True)))

    def _count_rows(self, rows: Iterable[Row]) -> None:
        """Count each row where it belongs: what is alike first, since many cost half at once."""
        alike: dict[Apart, list[Measured]] = {}
        for row in rows:
            apart, measured = row.apart, row.measured
            there = alike.get(apart)
            if there is None:
                alike[apart] = [measured]
            else:
                there.append(measured)
        for apart, found in alike.items():
            series = self._known.get(apart) or self._found(apart)
            lengths, firsts, ours, sources = zip(*found, strict=True)
            series.number += len(found)
            series.fallbacks += sources.count(FALLBACK)
            series.length.take(list(lengths))
            series.first.take([at for at in firsts if at != ABSENT])
            series.ours.take([at for at in ours if at != ABSENT])

    def _found(self, apart: Apart) -> _Series:
        path, name, status, ended, stream = apart
        status = status or 0  # `ABSENT` is none
        model = self._model(name, answered=error_of(status, ended) is None)
        told = _Told(endpoint_of(path), model, status, ended, stream)
        if told not in self._series and len(self._series) >= MAX_SERIES:
            told = _Told(OTHER, OTHER, 0, ended, stream=False)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        series = self._known[apart] = self._series.setdefault(told, _Series())
        return series

    def _model(self, model: str, *, answered: bool) -> str:
        """How `model` is shown. A name that was never answered may be anything, and gets no series."""
        if not model or model in self._models:
            return model
        if not answered or len(self._models) >= MAX_MODELS:
            return OTHER
        self._models[model] = [0] * len(MEASURES)
        return model

    def put(self, page: Page) -> None:
        """Put all of it on `page`."""
        with self._lock:
            self._put_series(page)
            self._put_histograms(page)
            for model, sums in self._models.items():
                _put_model(page, model, sums)
            for key, one in self._keys.items():
                page.add(metrics.KEY_REQUESTS, one.requests, key)
                page.add(metrics.KEY_ERRORS, one.errors, key)
                page.add(metrics.KEY_TOKENS, one.tokens, key)
                page.add(metrics.KEY_SPEND, one.nanousd / _NANO, key)
            for end_user, one in self._end_users.items():
                page.add(metrics.END_USER_REQUESTS, one.requests, end_user)
                page.add(metrics.END_USER_SPEND, one.nanousd / _NANO, end_user)
            page.add(metrics.STORED, sum(one.number for one in self._series.values()))

    def _put_series(self, page: Page) -> None:
        requests: Counter[tuple[str, str, str, str]] = Counter()
        errors: Counter[tuple[str, str, str]] = Counter()
        fallbacks: Counter[str] = Counter()
        for told, one in self._series.items():
            requests[told.endpoint, told.model, str(told.status or "none"), told.ended] += one.number
            if one.fallbacks:
                fallbacks[told.model] += one.fallbacks
            if (error := error_of(told.status, told.ended)) is not None:
                errors[told.endpoint, *error] += one.number
        for labels, number in requests.items():
            page.add(metrics.REQUESTS, number, *labels)
        for kinds, number in errors.items():
            page.add(metrics.ERRORS, number, *kinds)
        for model, number in fallbacks.items():
            page.add(metrics.FALLBACK_PRICED, number, model)

    def _put_histograms(self, page: Page) -> None:
        lengths: dict[tuple[str, str, str], _Histogram] = {}
        firsts: dict[tuple[str, str], _Histogram] = {}
        ours = _Histogram(OVERHEADS)
        for told, one in self._series.items():
            stream = "true" if told.stream else "false"
            where = (told.endpoint, told.model, stream)
            lengths.setdefault(where, _Histogram(DURATIONS)).add(one.length)
            ours.add(one.ours)
            if told.endpoint == MESSAGES and 0 < told.status < 400:
                firsts.setdefault(where[1:], _Histogram(FIRST_BYTES)).add(one.first)
        for labels, found in lengths.items():
            page.add_histogram(metrics.DURATION, found.counts, found.seconds, *labels)
        for kinds, found in firsts.items():
            page.add_histogram(metrics.FIRST_BYTE, found.counts, found.seconds, *kinds)
        page.add_histogram(metrics.OVERHEAD, ours.counts, ours.seconds)


def _put_model(page: Page, model: str, sums: Sequence[int]) -> None:
    page.add(metrics.SPEND, sums[_COST] / _NANO, model)
    tokens = {
        "input": sums[_INPUT],
        "output": sums[_OUTPUT],
        # What names no lifetime has five minutes.
        "cache_write_5m": max(0, sums[_WRITTEN] - sums[_WRITTEN_1H]),
        "cache_write_1h": sums[_WRITTEN_1H],
        "cache_read": sums[_READ],
    }
    if not any(tokens.values()):
        return
    for name, number in tokens.items():
        page.add(metrics.TOKENS, number, model, name)
    if total := _all_input(sums):
        page.add(metrics.CACHE_HITS, sums[_READ] / total, model)
    for tool, at in (("web_search", _SEARCHES), ("web_fetch", _FETCHES)):
        if sums[at]:
            page.add(metrics.TOOLS, sums[at], model, tool)


def _all_input(sums: Sequence[int]) -> int:
    return sums[_INPUT] + sums[_WRITTEN] + sums[_READ]


def _add(there: dict[str, _Caller], name: str, measures: list[int]) -> None:
    """Count `measures` for `name`; beyond `MAX_NAMES` there is one for all the others."""
    one = there.get(name)
    if one is None:
        one = there.setdefault(name if len(there) < MAX_NAMES else OTHER, _Caller())
    one.requests += measures[_REQUESTS]
    one.errors += measures[_ERRORS]
    one.tokens += measures[_INPUT] + measures[_OUTPUT] + measures[_WRITTEN] + measures[_READ]
    one.nanousd += measures[_COST]
