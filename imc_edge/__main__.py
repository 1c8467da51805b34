"""``python -P -m imc_edge [--config FILE]``: one edge process.

Settings also come from the environment.
"""

from __future__ import annotations

import sys

from imc_common import process
from imc_edge.launcher import Edge


def main() -> int:
    """Run the process until it is told to stop; gives the exit status: 2 for wrong settings."""
    return process.main("edge", Edge)


if __name__ == "__main__":
    sys.exit(main())
