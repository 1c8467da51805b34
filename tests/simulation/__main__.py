"""Simulated runs, one seed after another: ``python -m tests.simulation --seconds 600``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

import structlog

from tests.servers import redis_alone
from tests.simulation.group_chats import GroupChatRun
from tests.simulation.redis import simulated_scripts
from tests.simulation.run import Run


def main() -> int:
    """The command. Its exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Simulate edges and workers that fail.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--length", type=float, default=15)
    parser.add_argument("--group-chats", action="store_true", help="rooms of phones like Linphone")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if not options.verbose:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    end, bad, deliveries, duplicates = time.monotonic() + options.seconds, 0, 0, 0
    with redis_alone() as server, simulated_scripts() as scripts:
        for seed in range(options.seed, options.seed + options.runs):
            if time.monotonic() > end:
                break
            run = (GroupChatRun if options.group_chats else Run)(seed, server.socket, scripts)
            try:
                findings = run.play(options.length)
            except Exception:
                print(f"seed {seed} raises:", flush=True)
                raise
            finally:
                run.close()
            deliveries += findings.deliveries
            duplicates += findings.duplicates
            if findings.problems:
                bad += 1
                print(f"seed {seed}:", *findings.problems[:6], sep="\n  ", flush=True)
            if options.runs == 1:
                print(*findings.events, sep="\n")
    print(f"seeds {options.seed} to {seed}: {deliveries} deliveries, {duplicates} duplicates, {bad} bad runs")
    return int(bool(bad))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names are read in the same order in each run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606 # no shell needed
    sys.exit(main())
