"""All faults, by lane. Faults of one lane run one after another, those of different lanes overlap."""

from __future__ import annotations

from tests.chaos import network
from tests.chaos.clocks import Clocks
from tests.chaos.faults import absences, clocks, connections, load, processes, refusals, servers
from tests.chaos.faults.injector import Lanes

EVERY: Lanes = {
    "edges": processes.EDGES,
    "workers": processes.WORKERS,
    "servers": servers.ANY | servers.REPLICATED | servers.NETWORKED | servers.CLUSTERED,
    "refusals": refusals.ANY,
    "connections": connections.ANY | connections.NETWORKED,
    "clocks": clocks.ANY | clocks.ALONE,
    "load": load.LOAD,
    "recipients": load.RECIPIENTS,
    **dict.fromkeys(absences.LANES, absences.ABSENCES),
}


def faults_for(kind: str) -> Lanes:
    """The faults that apply to a Redis of this kind and are possible on this machine."""
    without: set[str] = set()
    if kind != "cluster":
        without |= servers.CLUSTERED.keys()
    if kind == "single":
        without |= servers.REPLICATED.keys() | servers.NETWORKED.keys()
    else:
        without |= clocks.ALONE.keys()
    if not network.ours():
        without |= servers.NETWORKED.keys() | connections.NETWORKED.keys()
    if not Clocks.available():
        without |= clocks.ANY.keys() | clocks.ALONE.keys()
    lanes = {lane: {name: faults[name] for name in faults.keys() - without} for lane, faults in EVERY.items()}
    if kind != "single":  # refusals also lead to a failover, and failovers must not overlap
        lanes["servers"] |= lanes.pop("refusals")
    return {lane: faults for lane, faults in lanes.items() if faults}


def left_out() -> list[str]:
    """The faults that are impossible on this machine, and why."""
    found = []
    if not network.ours():
        found.append("network faults: no network namespace with iptables is available")
    if not Clocks.available():
        found.append("clock faults: gcc is not installed")
    return found
