"""What the delivering side counts."""

from __future__ import annotations

from imc_common.metrics import Metrics


class DeliveryCounts:
    """One delivery is one event brought to one recipient."""

    def __init__(self, metrics: Metrics) -> None:
        self.deliveries = metrics.counters(
            "imc_deliveries",
            "Deliveries that have ended, by outcome: 200 for any 2xx, a SIP status, or a word of ours.",
            "outcome",
        )
        self.retransmitted = metrics.counter("imc_delivery_retransmissions", "Retransmissions by Timer E.")
        self.stray = metrics.counter(
            "imc_stray_responses", "Responses that cannot be read or belong to no transaction."
        )
        self.events = metrics.counter(
            "imc_events", "Events of which every delivery has ended and is recorded."
        )
        self.reports = metrics.counter(
            "imc_delivery_reports", "Failed deliveries reported to workers, which act on them."
        )
        self.dead_letters = metrics.counter(
            "imc_dead_lettered_events", "Events that were moved to the dead letters."
        )
        self.notices_left_out = metrics.counter(
            "imc_notices_left_out", "Refusals not reported to their sender, because there were too many."
        )
        self.latency = metrics.histogram(
            "imc_delivery_seconds",
            "From accepting a request to the last response to its deliveries, by this host's clock.",
        )
