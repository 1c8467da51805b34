"""Limits processes to a part of a core, so that a machine with few cores can show how imc scales."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PERIOD_US = 10_000
_OLD, _NEW = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")  # cgroups of version 1 and 2


@contextlib.contextmanager
def shares(pids: list[int], cores: float) -> Iterator[None]:
    """Limit each process to this part of a core. Raises OSError if cgroups are not available."""
    groups: list[Path] = []
    try:
        for pid in pids:
            group = (_OLD if _OLD.is_dir() else _NEW) / f"imc-bench-{os.getpid()}-{pid}"
            group.mkdir()
            groups.append(group)
            quota = int(cores * PERIOD_US)
            if _OLD.is_dir():
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in groups:
            for member in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(member)
            group.rmdir()
