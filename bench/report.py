"""Turns records into lines of output, Markdown tables, plots and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from bench.plot import Bar, bars

Record = dict[str, Any]
FULL, LIGHT = "fan_out", "latency"
GOALS = {
    2: (0.85, 1.15),
    20: (0.28, 2.9),
    200: (0.21, 3.4),
}  # CPU at most, throughput at least; ours / Kamailio's
HALF_OFFLINE_GOAL = (0.2, 5.0)
"""The same, per message to a room of which half of the members are offline."""


def line(record: Record) -> str:
    """One line for one window."""
    about = " ".join(
        f"{name}={record[name]}"
        for name in (
            "members",
            "rooms",
            "transport",
            "body",
            "processes",
            "beside",
            "unrenderable_per_second",
            "recipients",
            "history",
            "asking",
            "build",
            "returning",
            "stored",
        )
        if name in record
    )
    cpu = " ".join(
        f"{name} {seconds / max(_deliveries(record), 1) * 1e6:.1f}" for name, seconds in record["cpu"].items()
    )
    latency = record["groups"][0]["delivered_latency"]
    return (
        f"{record['case']:<10} {record['system']:<8} {about:<22} {record['deliveries_per_second']:>8,.0f}/s "
        f"{record['cpu_us_per_delivery']:6.1f} us ({cpu}) p50 {latency['p50_us'] / 1000:.1f} ms "
        f"p99 {latency['p99_us'] / 1000:.1f} ms load {record['generator_cpu'] / record['seconds']:.2f} cores "
        f"{record['faults'] or ''}"
    )


def judge(records: list[Record]) -> int:
    """1 if imc lost, doubled, changed or reordered a delivery. Faults of Kamailio are only reported."""
    wrong = [record for record in records if record["faults"] and record["system"] == "imc"]
    for record in wrong:
        print(f"WRONG: {record['case']} {record['faults']}")
    return 1 if wrong else 0


def write(results: dict[str, Any], folder: Path) -> None:
    """Write results.md and the plots."""
    records = results["records"]
    parts = [_head(results)]
    for case, table in TABLES.items():
        chosen = [record for record in records if record["case"] == case]
        if chosen:
            parts.append(table(chosen))
    (folder / "results.md").write_text("\n".join(parts))
    full = [record for record in records if record["case"] == FULL]
    if full:
        (folder / "cpu.svg").write_text(_cpu_plot(full))
        (folder / "throughput.svg").write_text(_throughput_plot(full))
    growth = [record for record in records if record["case"] == "growth"]
    if growth:
        (folder / "growth.svg").write_text(_growth_plot(growth))


def _head(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return (
        f"# Results of {results['when']}{' (quick run)' if results['quick'] else ''}\n\n"
        f"{machine['cores']} cores, {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, "
        f"Python {machine['python']}, imc's hot path {'' if machine['compiled'] else 'not '}compiled; "
        f"{machine['kamailio']}; {machine['redis']}.\n"
        "All processes, the load generator too, share these cores. Medians of all windows. "
        f"Load average when it began: {machine['load_average']}; "
        "other work on the machine makes all figures worse, those of both systems.\n"
    )


def _full_table(records: list[Record]) -> str:
    rows = []
    for members in _values(records, "members"):
        theirs, ours = _pick(records, members, "kamailio"), _pick(records, members, "imc")
        their_cpu, our_cpu = (_median(side, "cpu_us_per_delivery") for side in (theirs, ours))
        their_rate, our_rate = (_median(side, "deliveries_per_second") for side in (theirs, ours))
        most, least = GOALS[members]
        rows.append(
            f"| {members} | {their_cpu:.1f} | {_cpu_split(ours)} | {our_cpu / their_cpu:.2f} (≤ {most}) "
            f"| {their_rate:,.0f} | {our_rate:,.0f} | {our_rate / their_rate:.2f} (≥ {least}) "
            f"| {_faults(theirs)} | {_faults(ours)} |"
        )
    return _table(
        "Full load, UDP",
        "members | Kamailio: CPU µs per delivery | imc: CPU µs per delivery (edge + worker + Redis) "
        "| imc / Kamailio (goal) | Kamailio: deliveries/s | imc: deliveries/s | imc / Kamailio (goal) "
        "| Kamailio: faults | imc: faults",
        rows,
    )


def _latency_table(records: list[Record]) -> str:
    rows = []
    for system in _values(records, "system"):
        mine = [record for record in records if record["system"] == system]
        cells = [
            f"{median(record['groups'][0][kind][at] for record in mine) / 1000:.2f}"
            for kind in ("delivered_latency", "accepted_latency")
            for at in ("p50_us", "p90_us", "p99_us")
        ]
        rate = median(record["groups"][0]["rate"] for record in mine)
        rows.append(f"| {system} | {rate:,.0f} | {' | '.join(cells)} | {_faults(mine)} |")
    return _table(
        "Latency: 20 members, a tenth of full load, ms",
        "system | messages/s | last member p50 | p90 | p99 | 202 p50 | p90 | p99 | faults",
        rows,
    )


def _half_offline_table(records: list[Record]) -> str:
    theirs, ours = ([each for each in records if each["system"] == name] for name in ("kamailio", "imc"))
    their_cpu, our_cpu = _cpu_per_message(theirs), _cpu_per_message(ours)
    their_rate, our_rate = (_median(side, "messages_per_second") for side in (theirs, ours))
    most, least = HALF_OFFLINE_GOAL
    ratios = (f"{our_cpu / their_cpu:.2f} (≤ {most})", f"{our_rate / their_rate:.1f} (≥ {least})", "")
    rows = [
        f"| {name} | {cpu:,.0f} | {rate:,.0f} | {_median(side, 'seconds_until_50'):.2f} | {_faults(side)} |"
        for name, cpu, rate, side in (
            ("Kamailio with msilo, and MariaDB", their_cpu, their_rate, theirs),
            ("imc", our_cpu, our_rate, ours),
        )
    ]
    return _table(
        "Half of the members offline: rooms of 20",
        "system | CPU µs per message | messages/s | seconds until a returning user has 50 messages | faults",
        [*rows, f"| imc / Kamailio (goal) | {' | '.join(ratios)} | |"],
    )


def _cpu_per_message(records: list[Record]) -> float:
    """CPU of all components per message, in microseconds."""
    shares = [sum(each["cpu"].values()) / each["messages_per_second"] / each["seconds"] for each in records]
    return float(median(shares)) * 1e6


def _plain_table(
    title: str, by: tuple[str, ...], extra: tuple[str, ...] = ()
) -> Callable[[list[Record]], str]:
    """A table with one row for each different value of `by`."""

    def table(records: list[Record]) -> str:
        rows = []
        for key in dict.fromkeys(tuple(record[name] for name in by) for record in records):
            mine = [record for record in records if tuple(record[name] for name in by) == key]
            largest = max(
                max(record["largest_process"].get(role, 0) for role in ("edge", "worker")) for record in mine
            )
            latency = median(record["groups"][0]["delivered_latency"]["p99_us"] for record in mine) / 1000
            cells = [
                *(f"{value:,}" if isinstance(value, int) else str(value) for value in key),
                f"{_median(mine, 'deliveries_per_second'):,.0f}",
                _cpu_split(mine),
                f"{latency:.1f}",
                f"{largest / 2**20:.0f}",
                *(f"{_median(mine, name):,.1f}" for name in extra),
                _faults(mine),
            ]
            rows.append(f"| {' | '.join(cells)} |")
        head = (
            *by, "deliveries/s", "CPU µs per delivery (edge + worker + Redis)", "p99 ms",
            "largest edge or worker MiB", *extra, "faults",
        )  # fmt: skip
        return _table(title, " | ".join(name.replace("_", " ") for name in head), rows)

    return table


TABLES: dict[str, Callable[[list[Record]], str]] = {
    FULL: _full_table,
    LIGHT: _latency_table,
    "transport": _plain_table("Deliveries over UDP and TCP to the outbound proxy", ("transport", "members")),
    "cpim": _plain_table("Texts in CPIM beside plain text", ("body", "members")),
    "devices": _plain_table("20 devices that show group chats beside 20 members", ("recipients", "body")),
    "half_offline": _half_offline_table,
    "herd": _plain_table(
        "20-member rooms beside users who all return within a second",
        ("returning",),
        ("seconds_until_all_caught_up",),
    ),
    "history": _plain_table("With and without the history of rooms", ("history", "members")),
    "other_build": _plain_table(
        "This build without the history of rooms beside another", ("build", "members")
    ),
    "history_requests": _plain_table(
        "20-member rooms beside members of others who ask for their history",
        ("asking",),
        ("p50_ms", "longest_ms", "history_per_second", "refused_requests"),
    ),
    "growth": _plain_table("Growth with the size of the room", ("members",)),
    "large_room": _plain_table("20-member rooms beside a room of 10,000", ("beside",)),
    "unrenderable": _plain_table(
        "20-member rooms beside a member of another room who sends what cannot be rendered",
        ("unrenderable_per_second",),
        ("accepted",),
    ),
    "many_rooms": _plain_table(
        "Rooms of 5 members",
        ("rooms",),
        ("redis_bytes_per_room", "redis_bytes_per_further_member", "startup_seconds"),
    ),
    "histories": _plain_table(
        "Rooms of 2 members, by messages stored in each", ("rooms", "stored"), ("redis_bytes_per_room",)
    ),
    "scaling": _plain_table("Edges and workers", ("share_of_core", "processes")),
}


def _cpu_plot(records: list[Record]) -> str:
    groups = {
        f"{members} members": [
            Bar("Kamailio", _cpu_parts(_pick(records, members, "kamailio"))),
            Bar("imc", _cpu_parts(_pick(records, members, "imc"))),
        ]
        for members in _values(records, "members")
    }
    return bars("CPU per delivery", "µs of all processes together; less is better", groups)


def _throughput_plot(records: list[Record]) -> str:
    groups = {
        f"{members} members": [
            Bar(name, {system: _median(_pick(records, members, system), "deliveries_per_second")})
            for system, name in (("kamailio", "Kamailio"), ("imc", "imc"))
        ]
        for members in _values(records, "members")
    }
    return bars(
        "Deliveries per second at full load", "two cores, load generator included; more is better", groups
    )


def _growth_plot(records: list[Record]) -> str:
    groups = {
        f"{members:,}": [
            Bar("imc", _cpu_parts([record for record in records if record["members"] == members]))
        ]
        for members in _values(records, "members")
    }
    return bars("CPU per delivery by members of the room", "µs; less is better", groups)


def _cpu_parts(records: list[Record]) -> dict[str, float]:
    order = [name for name in ("edge", "worker", "redis", "kamailio") if name in records[0]["cpu"]]
    return {
        name: median(record["cpu"][name] / max(_deliveries(record), 1) * 1e6 for record in records)
        for name in order
    }


def _cpu_split(records: list[Record]) -> str:
    parts = " + ".join(f"{value:.1f}" for value in _cpu_parts(records).values())
    return f"{_median(records, 'cpu_us_per_delivery'):.1f} ({parts})"


def _faults(records: Iterable[Record]) -> str:
    sums: dict[str, int] = {}
    for record in records:
        for name, count in record["faults"].items():
            sums[name] = sums.get(name, 0) + count
    return ", ".join(f"{count} {name}" for name, count in sums.items()) or "none"


def _deliveries(record: Record) -> int:
    return sum(group["deliveries"] for group in record["groups"])


def _median(records: list[Record], name: str) -> float:
    return float(median(record[name] for record in records))


def _values(records: list[Record], name: str) -> list[Any]:
    return list(dict.fromkeys(record[name] for record in records))


def _pick(records: list[Record], members: int, system: str) -> list[Record]:
    return [record for record in records if record["members"] == members and record["system"] == system]


def _table(title: str, head: str, rows: list[str]) -> str:
    rule = "|".join("---" for _ in head.split(" | "))
    return "\n".join([f"\n## {title}\n", f"| {head} |", f"|{rule}|", *rows, ""])
