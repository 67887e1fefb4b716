"""Metrics in the text format of Prometheus: what a metric is, and the sheet that one scrape fills.

There is no registry of the process: each scrape makes its own from what it was given, so series of what has
ended are simply not there any more, and tests can have as many as they like.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

import attrs
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from typing_extensions import override

from tsd.core.histograms import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABEL_CHARS_MAX: Final = 200
"""Longer values, such as names of jobs, are cut: every series repeats them."""
ORIGIN: Final = ("name", "url")
"""Labels of every metric of ours: the cluster, and `prom_metrics_display_url`."""


class Kind(StrEnum):
    """How a metric behaves."""

    GAUGE = "gauge"
    """Goes up and down."""
    COUNTER = "counter"
    """Only grows while the master runs; `rate()` makes sense of it."""
    HISTOGRAM = "histogram"
    """Values in buckets; `histogram_quantile()` makes sense of it."""


@attrs.frozen
class Metric:
    """One metric, whatever its labels are.

    Attributes:
        name: As scraped; a counter's ends in `_total`.
        text: What it says, for people.
        labels: Its own, in addition to `ORIGIN`.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


class Sheet(Collector):
    """The values of one scrape.

    Args:
        cluster_name: Value of the label `name`.
        url: Value of the label `url`.
    """

    def __init__(self, *, cluster_name: str, url: str) -> None:
        self._origin = (label_value(cluster_name), label_value(url))
        self._families: dict[str, Family] = {}

    def declare(self, metrics: Iterable[Metric]) -> None:
        """Show these in this order, also those that have no series now."""
        for metric in metrics:
            self._family(metric)

    def put(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a series to a gauge or counter; label values are those of `label_value`, in order."""
        family = self._family(metric)
        assert isinstance(family, GaugeMetricFamily | CounterMetricFamily), metric.name
        family.add_metric((*self._origin, *labels), value)

    def put_histogram(self, metric: Metric, histogram: Histogram, *labels: str) -> None:
        """Add a series to a histogram."""
        family = self._family(metric)
        assert isinstance(family, HistogramMetricFamily), metric.name
        bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric((*self._origin, *labels), buckets, histogram.sum)

    @override
    def collect(self) -> Iterator[Family]:
        """For the registry."""
        return iter(self._families.values())

    def render(self) -> bytes:
        """The text, with the metrics of this process and its Python."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        return generate_latest(registry)

    def _family(self, metric: Metric) -> Family:
        family = self._families.get(metric.name)
        if family is None:
            family = self._families[metric.name] = _new_family(metric)
        return family


def _new_family(metric: Metric) -> Family:
    labels: Sequence[str] = (*ORIGIN, *metric.labels)
    match metric.kind:
        case Kind.GAUGE:
            return GaugeMetricFamily(metric.name, metric.text, labels=labels)
        case Kind.COUNTER:
            return CounterMetricFamily(metric.name, metric.text, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.name, metric.text, labels=labels)


def label_value(text: object) -> str:
    """A text of a user as the value of a label: one line, not too long, UTF-8."""
    value = str(text)
    if len(value) > LABEL_CHARS_MAX:
        value = value[: LABEL_CHARS_MAX - 1] + "…"
    if not value.isprintable():
        value = "".join(char if char.isprintable() else "�" for char in value)
    return value
