"""The status of a process by HTTP: /metrics, /livez, /readyz."""

from imc_common.status.gauges import Gauges
from imc_common.status.server import StatusServer

__all__ = ["Gauges", "StatusServer"]
