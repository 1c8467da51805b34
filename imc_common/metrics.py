"""Metrics of a process for Prometheus, cheap enough to count every message.

The counters of prometheus_client take a lock at each increment. Here a counter is a plain integer
(``sent.value += 1``), and prometheus_client is used only to write the page.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 1, 4, 16, 32)
"""Upper bounds in seconds, finest around the usual latencies."""


class Counter:
    """A counter: ``counter.value += 1``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counters(dict[str, int]):
    """Counters by the value of one label: ``counters["202"] += 1``. The label must have few values."""

    def __missing__(self, label: str) -> int:
        return 0


class Histogram:
    """Counts values by bucket. A value equal to a bound belongs to the bucket below it."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self.counts = [0] * (len(self._bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Bound and number of values up to it, as Prometheus needs them."""
        bounds = [str(float(bound)) for bound in self._bounds] + ["+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class Metrics(Collector):
    """All metrics of one process. Names of counters are given without ``_total``, which is appended."""

    def __init__(self) -> None:
        self._families: dict[str, Callable[[], Metric]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def counter(self, name: str, description: str) -> Counter:
        """A new counter. Raises ValueError if the name is in use."""
        counter = Counter()
        self._add(name, lambda: CounterMetricFamily(name, description, value=counter.value))
        return counter

    def counters(self, name: str, description: str, label: str) -> Counters:
        """A new counter for each value of `label`."""
        counters = Counters()

        def family() -> Metric:
            metric = CounterMetricFamily(name, description, labels=(label,))
            for key, value in sorted(counters.items()):
                metric.add_metric((key,), value)
            return metric

        self._add(name, family)
        return counters

    def gauge(
        self,
        name: str,
        description: str,
        read: Callable[[], float | Mapping[Any, float]],
        label: str | tuple[str, ...] = (),
    ) -> None:
        """A gauge with the value that `read` returns when the page is built.

        With a `label`, `read` returns a mapping from its values; with several, the keys are tuples.
        """
        labels = (label,) if isinstance(label, str) else label

        def family() -> Metric:
            value = read()
            if not isinstance(value, Mapping):
                return GaugeMetricFamily(name, description, value=value)
            metric = GaugeMetricFamily(name, description, labels=labels)
            for key, each in sorted(value.items()):
                metric.add_metric((key,) if isinstance(key, str) else key, each)
            return metric

        self._add(name, family)

    def histogram(self, name: str, description: str, bounds: Sequence[float] = LATENCY_BUCKETS) -> Histogram:
        """A new histogram, by default of seconds."""
        histogram = Histogram(bounds)
        self._add(
            name,
            lambda: HistogramMetricFamily(
                name, description, buckets=histogram.cumulative(), sum_value=histogram.sum
            ),
        )
        return histogram

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client when it builds the page."""
        return [family() for family in self._families.values()]

    def page(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self._registry)

    def _add(self, name: str, family: Callable[[], Metric]) -> None:
        if name in self._families:
            raise ValueError(f"there is already a metric {name}")
        self._families[name] = family
