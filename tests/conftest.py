"""Settings for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings

# Processes that tests start run this checkout, even if another one is installed, and whatever their working
# folder is. So those of `make test-compiled` are compiled.
os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)

# A shell starts background jobs with SIGINT ignored, and children inherit that: nothing could interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "imc",
    # Time must not decide a test: machines are busy, and sometimes stall.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # The same examples on every machine. `make fuzz` searches for others.
    derandomize=True,
)
settings.load_profile("imc")
