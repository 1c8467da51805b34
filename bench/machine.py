"""The machine and the versions of a measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from bench.systems import PYTHON


def describe() -> dict[str, object]:
    """Cores, CPU model, memory, kernel, and the versions of all software involved."""
    return {
        "cores": os.cpu_count(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "memory_gib": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "load_average": Path("/proc/loadavg").read_text().split()[0],
        "kernel": platform.release(),
        "python": _version(PYTHON, "--version").removeprefix("Python "),
        "compiled": _version(
            PYTHON, "-I", "-c", "from imc_edge.delivering import fan_out; print(fan_out.__file__)"
        ).endswith(".so"),
        "kamailio": _version("kamailio", "-v"),
        "redis": _version("redis-server", "--version"),
        "gcc": _version("gcc", "--version"),
        "packages": {
            name: importlib.metadata.version(name) for name in ("redis", "hiredis", "uvloop", "msgpack")
        },
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
    }


def _first(path: str, label: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(label):
            return line.partition(":")[2].strip()
    return ""


def _version(*command: str) -> str:
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "not installed"
    return output.splitlines()[0].strip() if output else ""
