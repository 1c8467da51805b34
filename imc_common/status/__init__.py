"""What a process tells about itself by HTTP: /metrics, /livez, /readyz."""

from imc_common.status.gauges import Gauges
from imc_common.status.pages import StatusPages

__all__ = ["Gauges", "StatusPages"]
