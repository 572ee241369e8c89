"""Metrics as text, as Prometheus reads it.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABEL = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


class Metric(NamedTuple):
    """A name with all its values.

    Attributes:
        name: begins with `ferryman_`; its unit is in it, and a counter ends with `_total`.
        help: one sentence, for the page and for the documentation.
        labels: names, in the order in which values come.
        bounds: upper bounds of a histogram's buckets, without the infinite one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


class Page:
    """The text of some metrics, in which each stands even without a value."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._lines: dict[str, list[str]] = {
            one.name: [f"# HELP {one.name} {one.help}\n# TYPE {one.name} {one.kind}\n"] for one in metrics
        }

    def __repr__(self) -> str:
        return f"<Page of {len(self._lines)} metrics>"

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """A value of `metric`, with one text for each of its labels.

        Raises:
            KeyError: the page has no such metric.
            ValueError: that is not how many labels it has.
        """
        self._lines[metric.name].append(f"{metric.name}{_labelled(metric.labels, labels)} {value}\n")

    def add_histogram(self, metric: Metric, counts: Sequence[int], total: float, *labels: str) -> None:
        """The distribution of what was measured; errors as of `add`.

        Args:
            metric: with bounds.
            counts: how many fell into each bucket, not added up; the last is above all bounds.
            total: the sum of all that was measured.
            labels: as of `add`.
        """
        names, lines = (*metric.labels, "le"), self._lines[metric.name]
        bounds = (*(f"{bound:g}" for bound in metric.bounds), "+Inf")
        for bound, number in zip(bounds, accumulate(counts), strict=True):
            lines.append(f"{metric.name}_bucket{_labelled(names, (*labels, bound))} {number}\n")
        shown = _labelled(metric.labels, labels)
        lines.append(f"{metric.name}_sum{shown} {total}\n{metric.name}_count{shown} {sum(counts)}\n")

    def text(self) -> str:
        """All of it."""
        return "".join(line for lines in self._lines.values() for line in lines)


def _labelled(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    return "{" + ",".join(f'{name}="{value.translate(_LABEL)}"' for name, value in pairs) + "}"
