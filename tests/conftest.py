"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "imc",
    # How long a machine takes that is busy or stands still for a moment says nothing about what is tested.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # The same examples everywhere: what passes here passes there. `make fuzz` looks for others.
    derandomize=True,
)
settings.load_profile("imc")
