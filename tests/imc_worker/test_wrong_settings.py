"""A worker does not start with a wrong setting."""

from __future__ import annotations

import os
import subprocess
import sys


def test_all_mistakes_are_reported_and_the_worker_does_not_start() -> None:
    """Exit status 2, before it connects to Redis."""
    wrong = {"IMC_HASH_SIZE": "many", "IMC_LEASE_TTL": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "imc_worker"],
        env=os.environ | wrong,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "hash_size" in done.stderr
    assert "lease_ttl" in done.stderr
    assert "worker started" not in done.stdout + done.stderr
