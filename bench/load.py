"""Runs the load generator against one system, and measures the CPU and memory of the system."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import processes
from bench.systems import System

SOURCES = Path(__file__).parent / "loadgen"
ONE_BY_ONE = Path(__file__).parent / "one_by_one" / "sendmsg.c"
FAULTS = ("lost", "doubled", "wrong", "reordered", "late", "no_response", "refused")


@dataclass(frozen=True)
class Group:
    """Equal rooms under load. `rate`: messages per second; 0: a closed loop of `outstanding` messages."""

    rooms: int
    members: int
    outstanding: int
    rate: float = 0.0
    id: int = 0

    def __str__(self) -> str:
        return f"group={self.id},{self.rooms},{self.members},{self.outstanding},{self.rate:.3f}"


@dataclass
class Measured:
    """One measured window: the results of the load generator, and the use of each component."""

    system: str
    seconds: float
    groups: list[dict[str, Any]]
    generator_cpu: float
    setup_seconds: float
    cpu: dict[str, float]
    memory: dict[str, int]
    largest_process: dict[str, int]
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def deliveries(self) -> int:
        return sum(group["deliveries"] for group in self.groups)

    @property
    def messages(self) -> int:
        return sum(group["completed"] for group in self.groups)

    @property
    def cpu_per_delivery(self) -> float:
        """CPU of all components for one delivery, in microseconds."""
        return sum(self.cpu.values()) / max(self.deliveries, 1) * 1e6

    @property
    def faults(self) -> dict[str, int]:
        """The number of each kind of fault that happened."""
        sums = {name: sum(group[name] for group in self.groups) for name in FAULTS}
        return {name: count for name, count in sums.items() if count}


def build(folder: Path) -> Path:
    """Compile the load generator."""
    program = folder / "loadgen"
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    subprocess.run(["gcc", "-O2", "-std=gnu17", "-o", str(program), *sources, "-lm"], check=True)
    return program


def build_one_by_one(folder: Path) -> Path:
    """Compile a library that, preloaded, makes an edge send each datagram with its own system call."""
    library = folder / "one_by_one.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(ONE_BY_ONE), "-ldl"], check=True
    )
    return library


def run(
    program: Path,
    system: System,
    groups: list[Group],
    *,
    seconds: float,
    warmup: float = 1.0,
    setup: bool = False,
    senders: int = 4,
    grace: float = 10.0,
    cpim: bool = False,
    devices: bool = False,
    offline: int | None = None,
    return_after: float | None = None,
    on_begin: Callable[[], None] | None = None,
) -> Measured:
    """Run one window of load. The generator limits time and traffic, and sends only to loopback.

    ``cpim``: messages are in message/cpim, otherwise in plain text.
    ``devices``: each member has one device, as `bench.preload` writes them.
    ``offline``: in the group with this id every second member has no phone, until ``return_after`` seconds
    were measured. ``on_begin`` is called, in a thread of its own, when measuring begins.
    """
    command = [
        str(program), f"target={system.target}", f"proxy={system.proxy}", f"senders={senders}",
        f"setup={int(setup)}", f"seconds={seconds}", f"warmup={warmup}", f"grace={grace}",
        f"cpim={int(cpim)}", f"devices={int(devices)}",
        *map(str, groups),
    ]  # fmt: skip
    command += [f"offline={offline}"] if offline is not None else []
    command += [f"return={return_after}"] if return_after is not None else []
    samples = {}
    beside: threading.Thread | None = None
    result = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        assert generator.stdout  # noqa: S101 # because of PIPE
        for line in generator.stdout:
            mark = line.strip()
            if mark in {"ready", "begin", "end"}:
                samples[mark] = processes.sample(system.components()) if mark != "ready" else {}
                if mark == "begin" and on_begin is not None:
                    beside = threading.Thread(target=on_begin)
                    beside.start()
            else:
                result = mark
    if beside is not None:
        beside.join()
    if generator.returncode or not result:
        raise RuntimeError(f"load generator ended with {generator.returncode} against {system.name}")
    seen = json.loads(result)
    return Measured(
        system=system.name,
        seconds=seen["seconds"],
        groups=seen["groups"],
        generator_cpu=seen["cpu_seconds"],
        setup_seconds=seen["setup_seconds"],
        cpu={name: use.cpu - samples["begin"][name].cpu for name, use in samples["end"].items()},
        memory={name: use.memory for name, use in samples["end"].items()},
        largest_process=processes.largest(system.components()),
    )
