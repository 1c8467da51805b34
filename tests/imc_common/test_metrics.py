"""Metrics for Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imc_common.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The page as parsed by Prometheus: name and labels to value."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
    }


def test_a_counter_is_a_plain_number() -> None:
    """The page has its sum."""
    metrics = Metrics()
    sent = metrics.counter("imc_retransmissions", "Requests sent again.")
    sent.value += 3
    assert samples(metrics) == {("imc_retransmissions_total", ""): 3}


def test_counters_are_numbers_by_a_label() -> None:
    """A label value appears with its first count."""
    metrics = Metrics()
    responses = metrics.counters("imc_requests", "Requests by response.", "status")
    assert samples(metrics) == {}
    responses["503"] += 1
    responses["202"] += 2
    assert samples(metrics) == {("imc_requests_total", "202"): 2, ("imc_requests_total", "503"): 1}


def test_gauges_are_read_when_the_page_is_built() -> None:
    """A single value, or one for each label value."""
    metrics = Metrics()
    backlog = {"0": 1.0}
    metrics.gauge("imc_rooms", "Rooms.", lambda: len(backlog))
    metrics.gauge("imc_backlog", "Requests waiting.", lambda: backlog, "shard")
    backlog["1"] = 5.0
    assert samples(metrics) == {("imc_rooms", ""): 2, ("imc_backlog", "0"): 1, ("imc_backlog", "1"): 5}


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    """A value equal to a bound counts for it, as `le` says."""
    metrics = Metrics()
    latency = metrics.histogram("imc_accept_seconds", "Time to 202.", (0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        latency.observe(value)
    found = samples(metrics)
    buckets = [found["imc_accept_seconds_bucket", bound] for bound in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4]
    assert found["imc_accept_seconds_count", ""] == 4
    assert found["imc_accept_seconds_sum", ""] == pytest.approx(7.65)


def test_a_metric_name_can_be_used_once() -> None:
    """A second metric of the same name would hide the first."""
    metrics = Metrics()
    metrics.counter("imc_x", "X.")
    with pytest.raises(ValueError, match="imc_x"):
        metrics.histogram("imc_x", "X.")
