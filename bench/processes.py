"""CPU and memory of process trees, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the start, and memory in bytes now (shared memory counted once)."""

    cpu: float
    memory: int


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all their running descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def usage(pids: Iterable[int]) -> Usage:
    """The use of these processes. CPU includes children that ended, such as those of Redis for AOF
    rewrites."""
    cpu = memory = 0.0
    for pid in pids:
        stat = _stat(pid)
        if stat:
            cpu += sum(int(field) for field in stat[11:15]) / TICKS
            memory += _memory(pid)
    return Usage(cpu, int(memory))


def sample(components: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
    """The use of each component, which is given by its root processes."""
    return {name: usage(tree(roots)) for name, roots in components.items()}


def largest(components: Mapping[str, Iterable[int]]) -> dict[str, int]:
    """Resident memory (bytes) of the largest process of each component."""
    return {name: max((_memory(pid) for pid in tree(roots)), default=0) for name, roots in components.items()}


def _stat(pid: int) -> list[str] | None:
    """The fields from the third on; the second, the name, may contain blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _memory(pid: int) -> int:
    """Proportional set size: Kamailio's children share one memory. Falls back on resident size."""
    for name, label in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                if line.startswith(label):
                    return int(line.split()[1]) * 1024
        except OSError:
            continue
    return 0
