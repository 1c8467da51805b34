"""Random conversations in random rooms: ``python -m tests.state_fuzz --seconds 600``.

After each step, rooms and news must be what `tests/state_fuzz/rules.py` says. A failure prints its steps and
the seed that repeats it. With ``--planted`` it searches the scripts with each of the planted faults instead,
and has to find them all.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import structlog

from imc_common.scripts import Scripts
from tests.state_fuzz.planted import PLANTED, plant
from tests.state_fuzz.search import CONVERSATIONS, Search, searching

TRIES = 20
"""Seeds with which a planted fault has to be found."""


def main() -> int:
    """The command. Its exit status is 0 if nothing was found, or all that was planted."""
    parser = argparse.ArgumentParser(description="Compare rooms with a model of their rules.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--planted", action="store_true", help="search faults that were planted on purpose")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with searching() as search:
        if options.planted:
            found = [_finds(search, name, options.seed) for name in PLANTED]
            return int(not all(found))
        return _search(search, options.seconds, options.seed)


def _search(search: Search, seconds: float, seed: int) -> int:
    """As many seeds as there is time for, the given one first."""
    scripts, end, count = Scripts(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            search.run(scripts, seed=seed + count)
        except Exception:
            print(f"found with --seed {seed + count}", flush=True)
            raise
        count += 1
    print(f"{count * CONVERSATIONS} conversations from seed {seed} on: rooms and news are what the rules say")
    return 0


def _finds(search: Search, name: str, seed: int) -> bool:
    for count in range(TRIES):
        with (
            tempfile.TemporaryDirectory() as folder,
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            try:
                search.run(plant(PLANTED[name], Path(folder)), seed=seed + count, shrinks=False)
            except Exception as error:  # whatever shows the fault
                found = str(error)
                break
    else:
        print(f"not found: {name}")
        return False
    print(f"found: {name}, with --seed {seed + count}: {found.splitlines()[0][:200]}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
