"""``python -m bench``: runs the cases and writes the results. Exit status 1 if imc made a mistake."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import cases, load, machine, report
from bench.cases import Plan, Record

KAMAILIO = "kamailio kamailio-sqlite-modules kamailio-mysql-modules mariadb-server"
DEBIAN = f"gcc libc6-dev python3-dev {KAMAILIO} redis-server"
QUICK = ("fan_out", "latency")
CASES: dict[str, Callable[[Plan], Iterator[Record]]] = {
    "fan_out": cases.fan_out,
    "transport": cases.transport,
    "cpim": cases.cpim,
    "devices": cases.devices,
    "half_offline": cases.half_offline,
    "herd": cases.herd,
    "history": cases.history,
    "other_build": cases.other_build,
    "history_requests": cases.history_requests,
    "growth": cases.growth,
    "large_room": cases.large_room,
    "unrenderable": cases.unrenderable_messages,
    "many_rooms": cases.many_rooms,
    "histories": cases.histories,
    "scaling": cases.scaling,
}


def main() -> int:
    options = _options()
    missing = [
        tool
        for tool in ("gcc", "kamailio", "mariadbd", "redis-server", "redis-cli")
        if not shutil.which(tool)
    ]
    if missing:
        print(f"not installed: {', '.join(missing)}; on Debian: apt-get install {DEBIAN}")
        return 2
    names = options.only or (QUICK if options.quick else (*CASES, "latency"))
    if not options.other:
        names = [name for name in names if name != "other_build"]
    records: list[Record] = []
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="imc-bench-") as folder:
        plan = Plan(
            program=load.build(Path(folder)),
            one_by_one=load.build_one_by_one(Path(folder)),
            runs=options.runs or (1 if options.quick else 5),
            seconds=options.seconds or (2.0 if options.quick else 5.0),
            warmup=0.7 if options.quick else 1.5,
            quick=options.quick,
            other=options.other,
        )
        for name in sorted(names, key=["fan_out", "latency", *CASES].index):
            case = CASES.get(name) or (lambda plan: cases.latency(plan, cases.full_load(records)))
            for record in case(plan):
                records.append(record)
                print(report.line(record), flush=True)
    kept = _kept(options.out / "results.json", {record["case"] for record in records})
    results = {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "quick": options.quick,
        "machine": described,
        "records": kept + records,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, options.out)
    print(f"written to {options.out}/")
    return report.judge(records)


def _kept(path: Path, measured: set[str]) -> list[Record]:
    """Records of an earlier run for cases that were not measured now; none in a fresh checkout."""
    if not path.exists():
        return []
    return [record for record in json.loads(path.read_text())["records"] if record["case"] not in measured]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only the main table and latency, in less than two minutes"
    )
    parser.add_argument(
        "--only", action="append", choices=(*CASES, "latency"), help="run only this case; may be repeated"
    )
    parser.add_argument("--runs", type=int, help="number of windows per system and case")
    parser.add_argument("--seconds", type=float, help="length of a window in seconds")
    parser.add_argument(
        "--other",
        default="",
        metavar="PYTHON",
        help="the interpreter of another build, for the case other_build",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if "other_build" in (options.only or ()) and not options.other:
        parser.error("other_build needs --other")
    return options


if __name__ == "__main__":
    sys.exit(main())
