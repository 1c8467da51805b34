"""``python -P -m imc_worker [--config FILE]``: one worker process.

Settings also come from the environment.
"""

from __future__ import annotations

import sys

from imc_common import process
from imc_worker.launcher import Worker


def main() -> int:
    """Run the process until it is told to stop; gives the exit status: 2 for wrong settings."""
    return process.main("worker", Worker)


if __name__ == "__main__":
    sys.exit(main())
