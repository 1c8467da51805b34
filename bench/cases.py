"""The cases of the benchmark. Each yields its windows as records for JSON."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import beside, load
from bench.asking import Asking
from bench.load import Group, Measured
from bench.preload import preload
from bench.quota import shares
from bench.returning import Herd, seconds_until_caught_up
from bench.systems import RAISED_LIMITS, Imc, Kamailio, KamailioMsilo, System, running
from imc_common.settings import Settings

Record = dict[str, Any]

# The number of messages in flight that suits each system best. With more, Kamailio loses datagrams. imc
# makes larger batches, but records partial deliveries in Redis if they take longer than 150 ms.
DEPTH = {"kamailio": {2: 64, 20: 32, 200: 8}, "imc": {2: 512, 20: 256, 200: 16}}
SENDERS = 32
"""Sockets of users: enough for an even distribution by the kernel."""
SHARE = 0.15
"""The part of a core for each edge and worker, so that four of each and the rest fit on two cores."""
DEFAULT_LIMITS = {name: str(Settings.model_fields[name].default) for name in RAISED_LIMITS}
NO_LIMITS = {"max_members": "0", "max_rooms_per_owner": "0"}


@dataclass(frozen=True)
class Plan:
    """Number and length of windows. `program`: the compiled load generator. `one_by_one`: see `load`.

    `other`: the interpreter of another build of imc.
    """

    program: Path
    one_by_one: Path
    runs: int
    seconds: float
    warmup: float
    quick: bool
    other: str = ""

    def measure(self, system: System, groups: list[Group], **options: Any) -> Measured:
        """Measure one window of this plan's length."""
        options.setdefault("seconds", self.seconds)
        return load.run(self.program, system, groups, warmup=self.warmup, **options)


def record(case: str, measured: Measured, **about: Any) -> Record:
    """The record of a window, with derived figures."""
    return {
        "case": case,
        **about,
        **asdict(measured),
        "deliveries_per_second": measured.deliveries / measured.seconds,
        "messages_per_second": measured.messages / measured.seconds,
        "cpu_us_per_delivery": measured.cpu_per_delivery,
        "faults": measured.faults,
    }


def fan_out(plan: Plan) -> Iterator[Record]:
    """Full load with 2, 20 and 200 members per room, both systems in turn."""
    for members, rooms in ((2, 1000), (20, 100), (200, 3 if plan.quick else 10)):
        systems: list[System] = [Kamailio(), Imc()]
        with running(*systems):
            for system in systems:
                plan.measure(system, [Group(rooms, members, 16)], setup=True, seconds=0.2)
            for number in range(plan.runs):
                for system in systems:
                    group = Group(rooms, members, DEPTH[system.name][members])
                    measured = plan.measure(system, [group])
                    yield record("fan_out", measured, members=members, number=number)


def latency(plan: Plan, full_load: dict[str, float]) -> Iterator[Record]:
    """20 members at a tenth of each system's own full load (messages per second), with random arrival
    times."""
    systems: list[System] = [Kamailio(), Imc()]
    with running(*systems):
        for system in systems:
            plan.measure(system, [Group(100, 20, 16)], setup=True, seconds=0.2)
        for number in range(plan.runs):
            for system in systems:
                group = Group(100, 20, 1000, rate=full_load[system.name] / 10)
                yield record("latency", plan.measure(system, [group]), members=20, number=number)


def transport(plan: Plan) -> Iterator[Record]:
    """Deliveries to the outbound proxy over TCP, over UDP, and over UDP with one datagram per system call."""
    for members, rooms in ((20, 100), (200, 10)):
        systems: dict[str, System] = {
            "udp": Imc(),
            "udp, one by one": Imc(preload=plan.one_by_one),
            "tcp": Imc("tcp"),
        }
        with running(*systems.values()):
            for system in systems.values():
                plan.measure(system, [Group(rooms, members, 16)], setup=True, seconds=0.2)
            for number in range(plan.runs):
                for name, system in systems.items():
                    group = Group(rooms, members, DEPTH["imc"][members])
                    measured = plan.measure(system, [group])
                    yield record("transport", measured, transport=name, members=members, number=number)


def cpim(plan: Plan) -> Iterator[Record]:
    """The same texts as plain text and in CPIM with a wish for receipts, as Linphone sends them, in turn.

    Each has rooms of its own, because a member who has sent CPIM gets CPIM.
    """
    for members, rooms in ((2, 1000), (20, 100), (200, 3 if plan.quick else 10)):
        system = Imc()
        groups = {
            body: Group(rooms, members, DEPTH["imc"][members], id=number)
            for number, body in enumerate(("text/plain", "message/cpim"))
        }
        with running(system):
            for group in groups.values():
                preload(system.redis_socket, group)
            for number in range(plan.runs):
                for body, group in groups.items():
                    measured = plan.measure(system, [group], cpim=body == "message/cpim")
                    yield record("cpim", measured, body=body, members=members, number=number)


def devices(plan: Plan) -> Iterator[Record]:
    """Rooms of 20 members, and of 20 who have a device each that shows group chats, in turn.

    The members get plain text, and CPIM in rooms of their own; the devices get CPIM.
    """
    system = Imc()
    groups = {
        about: Group(100, 20, DEPTH["imc"][20], id=number)
        for number, about in enumerate(
            (("members", "text/plain"), ("members", "message/cpim"), ("devices", "message/cpim"))
        )
    }
    with running(system):
        for (recipients, _), group in groups.items():
            preload(system.redis_socket, group, devices=recipients == "devices")
        for number in range(plan.runs):
            for (recipients, body), group in groups.items():
                forms = {"cpim": body == "message/cpim", "devices": recipients == "devices"}
                measured = plan.measure(system, [group], **forms)
                yield record("devices", measured, recipients=recipients, body=body, number=number)


def history(plan: Plan) -> Iterator[Record]:
    """Full load while rooms keep a history, as by default, and while they keep none, in turn."""
    for members, rooms in ((2, 1000), (20, 100), (200, 3 if plan.quick else 10)):
        systems = {"kept": Imc(), "off": Imc(settings={"history_max_messages": "0"})}
        group = Group(rooms, members, DEPTH["imc"][members])
        with running(*systems.values()):
            for system in systems.values():
                preload(system.redis_socket, group)
            for number in range(plan.runs):
                for kept, system in systems.items():
                    measured = plan.measure(system, [group])
                    yield record("history", measured, history=kept, members=members, number=number)


def other_build(plan: Plan) -> Iterator[Record]:
    """Full load on this build, whose rooms keep no history, and on another build, in turn.

    The order changes with every turn. The rooms are created by commands: builds may store them differently.
    """
    for members, rooms in ((2, 1000), (20, 100), (200, 10)):
        systems = {"this": Imc(settings={"history_max_messages": "0"}), "other": Imc(python=plan.other)}
        with running(*systems.values()):
            for system in systems.values():
                plan.measure(system, [Group(rooms, members, 16)], setup=True, seconds=0.2)
            for number in range(plan.runs):
                for build in sorted(systems, reverse=number % 2 == 0):
                    measured = plan.measure(systems[build], [Group(rooms, members, DEPTH["imc"][members])])
                    yield record("other_build", measured, build=build, members=members, number=number)


def half_offline(plan: Plan) -> Iterator[Record]:
    """Rooms of 20, every second member without a phone, beside Kamailio with `msilo` on MariaDB, in turn.

    Also: how long a user who returns waits for 50 messages, without other load.
    """
    systems: list[System] = [KamailioMsilo(), Imc()]
    with running(*systems):
        for system in systems:
            plan.measure(system, [Group(100, 20, 16)], setup=True, seconds=0.2, offline=0)
        for number in range(plan.runs):
            for system in systems:
                group = Group(100, 20, DEPTH[system.name][20])
                measured = plan.measure(system, [group], offline=0)
                returning = {"seconds_until_50": seconds_until_caught_up(system, number)}
                yield record("half_offline", measured, members=20, **returning, number=number)


def herd(plan: Plan) -> Iterator[Record]:
    """Rooms of 20 at a steady rate, alone and beside 10,000 users who register again within a second.

    Half of the members of 1,000 other rooms are offline, and have missed some messages.
    """
    small, away = Group(100, 20, 1000, rate=100, id=1), Group(1000, 20, 100, rate=1000)
    for number in range(plan.runs):
        system = Imc()
        with running(system):
            for group in (small, away):
                preload(system.redis_socket, group)
            plan.measure(system, [away], seconds=5, offline=0)
            seconds = max(plan.seconds, 10)
            alone = plan.measure(system, [small], seconds=seconds, offline=0)
            yield record("herd", alone, returning=0, seconds_until_all_caught_up=0.0, number=number)
            herd = Herd(system, away)
            beside = plan.measure(
                system, [small], seconds=3 * seconds, offline=0, return_after=0.0, on_begin=herd.run
            )
            about = {"returning": herd.users, "seconds_until_all_caught_up": herd.seconds}
            yield record("herd", beside, **about, number=number)


def history_requests(plan: Plan) -> Iterator[Record]:
    """Rooms of 20 at a steady rate, alone and beside members of 20 other rooms who ask for their history.

    These rooms hold 500 messages each, and the limits of users are the default ones. Half of the windows with
    requests begin with as many as are allowed at once, and some more; in the others they come as often as is
    allowed in the long run. Raises `RuntimeError` if not all arrives that was asked for.
    """
    system = Imc(settings=DEFAULT_LIMITS)
    small, full = Group(100, 20, 1000, rate=100), Group(20, 20, 1, id=1)
    seconds = max(plan.seconds, 10)  # in which the budgets of users are full again
    with running(system):
        preload(system.redis_socket, small)
        preload(system.redis_socket, full, stored=500)
        for number in range(plan.runs):
            for name in ("nobody", "all at once", "steadily"):
                asking = Asking(system, full, at_once=name == "all at once", seconds=seconds)
                on_begin = None if name == "nobody" else asking.run
                measured = plan.measure(system, [small], seconds=seconds, grace=60.0, on_begin=on_begin)
                group = measured.groups[0]
                if name != "nobody":
                    asking.check(group["earlier"])
                about = {
                    "p50_ms": group["delivered_latency"]["p50_us"] / 1000,
                    "longest_ms": group["delivered_latency"]["max_us"] / 1000,
                    "history_per_second": group["earlier_in_window"] / seconds,
                    "refused_requests": asking.statuses[403],
                }
                yield record("history_requests", measured, asking=name, **about, number=number)


def growth(plan: Plan) -> Iterator[Record]:
    """Rooms of 2 to 10,000 members, one size after the other: the cost of one delivery.

    The small and the middle rooms have the same number of users, and so have the two largest, because the
    cost also depends on the number of users: those in no processor cache cost more.
    """
    for members, rooms, outstanding in (
        (2, 1000, 512), (20, 100, 128), (200, 10, 16), (2000, 10, 8), (10_000, 2, 2),
    ):  # fmt: skip
        system = Imc(settings=NO_LIMITS)
        with running(system):
            group = Group(rooms, members, outstanding)
            preload(system.redis_socket, group)
            for number in range(plan.runs):
                yield record("growth", plan.measure(system, [group]), members=members, number=number)


def large_room(plan: Plan) -> Iterator[Record]:
    """Rooms of 20 at a steady rate, alone and beside messages to a room of 10,000 members."""
    system = Imc(settings=NO_LIMITS)
    small, large = Group(100, 20, 1000, rate=100), Group(1, 10_000, 1, rate=0.5, id=1)
    with running(system):
        preload(system.redis_socket, small)
        preload(system.redis_socket, large)
        for number in range(plan.runs):
            for groups in ([small], [small, large]):
                measured = plan.measure(system, groups, seconds=max(plan.seconds, 10))
                yield record("large_room", measured, beside=len(groups) == 2, number=number)


def unrenderable_messages(plan: Plan) -> Iterator[Record]:
    """Rooms of 20 at a steady rate, alone and beside a member of another room whose messages cannot be
    rendered."""
    system = Imc()
    small, spoiled = Group(100, 20, 1000, rate=100), Group(1, 20, 1, id=1)
    with running(system):
        for group in (small, spoiled):
            preload(system.redis_socket, group)
        for number in range(plan.runs):
            for rate in (0, 50):
                with beside.beside(system, spoiled, rate, beside.unrenderable) as statuses:
                    measured = plan.measure(system, [small], seconds=max(plan.seconds, 10))
                about = {"unrenderable_per_second": rate, "accepted": statuses.count(202)}
                yield record("unrenderable", measured, **about, number=number)


def many_rooms(plan: Plan) -> Iterator[Record]:
    """100 rooms and 1,000,000 rooms of 5 members each: bytes in Redis, start-up, throughput."""
    one, five = _stored(1), _stored(5)
    sizes = {"redis_bytes_per_room": one, "redis_bytes_per_further_member": (five - one) / 4}
    systems = {100: Imc(), 1_000_000: Imc()}
    startup = {}
    with running(*systems.values()):
        for rooms, system in systems.items():
            preload(system.redis_socket, Group(rooms, 5, 256))
            system.rewrite_log()  # otherwise it happens in some window and dominates it
            system.stop_processes()
            started = time.monotonic()
            system.start_processes()
            startup[rooms] = time.monotonic() - started
        for number in range(plan.runs):
            for rooms, system in systems.items():
                measured = plan.measure(system, [Group(rooms, 5, 256)])
                about = {"rooms": rooms, "startup_seconds": startup[rooms], **sizes}
                yield record("many_rooms", measured, **about, number=number)


def histories(plan: Plan) -> Iterator[Record]:
    """A million rooms of 2 members, without and with 20 stored messages each: memory in Redis, throughput."""
    rooms = 50_000 if plan.quick else 1_000_000
    for stored in (0, 20):
        system = Imc()
        system.start_redis()
        empty = _redis_memory(system)
        try:
            group = Group(rooms, 2, 256)
            preload(system.redis_socket, group, stored=stored)
            taken = _redis_memory(system) - empty
            system.rewrite_log()
            system.start_processes()
            about = {"rooms": rooms, "stored": stored, "redis_bytes_per_room": taken / rooms}
            for number in range(plan.runs):
                yield record("histories", plan.measure(system, [group]), **about, number=number)
        finally:
            system.stop()


def _stored(members: int, rooms: int = 100_000) -> float:
    """Bytes of Redis memory for all keys of a room with this number of members."""
    system = Imc()
    system.start_redis()
    try:
        empty = _redis_memory(system)
        preload(system.redis_socket, Group(rooms, members, 1))
        return (_redis_memory(system) - empty) / rooms
    finally:
        system.stop()


def _redis_memory(system: Imc) -> int:
    lines = system.redis("INFO", "memory").splitlines()
    return int(next(line.split(":")[1] for line in lines if line.startswith("used_memory:")))


def scaling(plan: Plan) -> Iterator[Record]:
    """Edges and workers that share all cores, and more of them with a limited part of a core each."""
    for share, counts in ((1.0, (1, 2)), (SHARE, (1, 2, 4))):
        for processes in counts:
            system = Imc(processes=processes)
            with running(system), contextlib.ExitStack() as stack:
                group = Group(400, 20, 64 if share == 1.0 else 64 * processes)
                preload(system.redis_socket, group)
                plan.measure(system, [group], senders=SENDERS)  # until the shards are distributed
                if share != 1.0:
                    pids = system.components()
                    try:
                        stack.enter_context(shares([*pids["edge"], *pids["worker"]], share))
                    except OSError as error:
                        print(f"scaling with a part of a core is skipped: {error}")
                        return
                for number in range(plan.runs):
                    measured = plan.measure(system, [group], senders=SENDERS)
                    yield record("scaling", measured, share_of_core=share, processes=processes, number=number)


def full_load(records: list[Record]) -> dict[str, float]:
    """Messages per second of each system with 20 members, from `fan_out`; a low default without it."""
    found = {"kamailio": 1000.0, "imc": 1000.0}
    for name in found:
        rates = [
            record["messages_per_second"]
            for record in records
            if record["case"] == "fan_out" and record["system"] == name and record["members"] == 20
        ]
        if rates:
            found[name] = median(rates)
    return found
