"""One chaos run with a seed: ``python -m tests.chaos --seconds 60 --seed 7 --redis single``."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys

from tests.chaos import network
from tests.chaos.faults import faults_for, left_out
from tests.chaos.run import Outcome, Scale, play
from tests.chaos.servers import redis_kinds


def main() -> int:
    """Run and print a summary. The exit status is 1 if the checker found anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    kinds = redis_kinds()
    parser.add_argument("--redis", choices=[*kinds, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--rooms", type=int, default=Scale.rooms)
    parser.add_argument("--talkers", type=int, default=Scale.talkers)
    parser.add_argument(
        "--group-chats", type=int, default=Scale.group_chats, help="rooms of phones like Linphone"
    )
    parser.add_argument("--pause", type=float, default=Scale.pause)
    parser.add_argument("--fault-pause", type=float, default=Scale.fault_pause)
    parser.add_argument("--longest-fault", type=float, default=Scale.longest_fault)
    options = parser.parse_args()
    network.enter("tests.chaos")
    scale = Scale(
        rooms=options.rooms,
        talkers=options.talkers,
        group_chats=options.group_chats,
        pause=options.pause,
        fault_pause=options.fault_pause,
        longest_fault=options.longest_fault,
    )
    for unavailable in left_out():
        print(f"left out: {unavailable}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does, so that servers are stopped
    names = list(kinds) if options.redis == "all" else [options.redis]
    good = True
    for name in names:
        outcome = asyncio.run(play(kinds[name], options.seconds, options.seed, faults_for(name), scale))
        _report(name, options.seed, outcome)
        good = good and outcome.ok
    return 0 if good else 1


def _report(name: str, seed: int, outcome: Outcome) -> None:
    print(f"{name}, seed {seed}: {outcome}")
    for fault, times in sorted(outcome.faults.items()):
        print(f"  {times:4} x {fault}")
    for finding in outcome.findings[:20]:
        print(f"  {finding}")
    if outcome.folder is not None:
        print(f"  history, logs and the servers' data: {outcome.folder}")


if __name__ == "__main__":
    sys.exit(main())
