"""Which build of imc this process runs: shown by ``imc --version`` and by the metric ``imc_build_info``."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import NamedTuple

from imc_common import keys


class BuildInfo(NamedTuple):
    """The labels of ``imc_build_info``, in this order."""

    version: str
    """From the metadata of the installed package; ``unknown`` if imc runs without being installed."""
    python: str
    """The version of the interpreter, such as ``3.11.2``."""
    compiled: str
    """``yes`` if the modules of the hot path were compiled by mypyc, else ``no``."""


def build_info() -> BuildInfo:
    """The build this process runs."""
    try:
        version = metadata.version("imc")
    except metadata.PackageNotFoundError:
        version = "unknown"
    # keys.py is one of the modules that are compiled (`include` of the mypyc hook in pyproject.toml)
    compiled = "no" if keys.__file__.endswith(".py") else "yes"
    return BuildInfo(version, platform.python_version(), compiled)
