"""``python -P -m imc_edge [--config FILE]``: one edge process. Settings also come from the environment."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvloop

from imc_common import logs
from imc_common.errors import ImcError
from imc_common.settings import Settings, SettingsError, load
from imc_edge.launcher import Edge


def main() -> int:
    """Run an edge until it is told to stop; gives the exit status: 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -P -m imc_edge", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    try:
        config = parser.parse_args().config
        settings = load(config, os.environ, {}).settings
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings)
    try:
        uvloop.run(_run(settings, config))
    except ImcError as error:
        print(f"imc edge: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings, config: Path | None) -> None:
    await Edge(settings, lambda: load(config, os.environ, {}).settings).run()


if __name__ == "__main__":
    sys.exit(main())
