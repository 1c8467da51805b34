"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "imc",
    # Time must not decide a test: machines are busy, and sometimes stall.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # The same examples on every machine. `make fuzz` searches for others.
    derandomize=True,
)
settings.load_profile("imc")
