"""A wrong setting never starts a worker."""

from __future__ import annotations

import os
import subprocess
import sys


def test_every_mistake_is_told_and_no_worker_starts() -> None:
    """Exit status 2, both mistakes at once, before anybody tries to reach Redis."""
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
