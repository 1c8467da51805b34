"""Long tests: a backlog of a million entries, 500 restarts, and no growth under repeated load."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from zlib import crc32

import pytest
import redis

from imc_common import keys
from imc_common.rooms.request import RETRANSMISSION_SECONDS, RequestData
from tests.chaos.log import Sent
from tests.chaos.scenario import Scenario, memory_kb, open_files, service
from tests.chaos.servers import Single
from tests.chaos.streams import backlog, leftovers
from tests.chaos.users import DOMAIN
from tests.integration.service import options
from tests.processes import Process

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(900)]

ENTRIES = 1_000_000
EACH = 500
"""One of so many entries is a message to the observed room."""
RESTARTS = 500
"""Seconds for which a request is remembered to recognise retransmissions."""

FORKED = """
import os, random, signal, sys, time
from imc_worker.__main__ import main
for number in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os._exit(main())
    time.sleep(random.uniform(0.05, 0.5))
    os.kill(child, random.choice((signal.SIGTERM, signal.SIGKILL)))
    os.waitpid(child, 0)
"""
"""Starts a worker again and again by fork, without loading Python and its modules each time."""


def neighbour(room: str) -> str:
    """Another room of the same shard."""
    shard = keys.shard_of(f"{room}@{DOMAIN}", 4)
    return next(f"q{n}" for n in range(1000) if crc32(f"q{n}@{DOMAIN}".encode()) & 15 == shard)


def request(user: str, room: str, text: str) -> dict[str, str | bytes]:
    """An entry of an in-stream."""
    data = RequestData("text/plain", text.encode(), call_id=text, at=1_700_000_000_000).pack()
    about = {"type": "message", "from": f"{user}@{DOMAIN}", "room": f"{room}@{DOMAIN}"}
    return {**about, "data": data}


def pile_up(port: int, room: str, quiet: str) -> list[str]:
    """Write a million requests to one shard, most of them to an empty room; returns the other ones' marks."""
    client = redis.Redis(port=port)
    stream = keys.requests(keys.shard_of(f"{room}@{DOMAIN}", 4))
    filler = [part for pair in request("observer1", quiet, "to nobody").items() for part in pair]
    fill = client.register_script(
        "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2)) end"
    )
    marks = [f"u1.{number}" for number in range(ENTRIES // EACH)]
    for mark in marks:
        fill([stream], [EACH - 1, *filler])
        client.xadd(stream, request("u1", room, f"mark={mark}"))  # type: ignore[arg-type]
    client.close()
    return marks


async def test_a_backlog_of_a_million_requests_is_handled_once_and_in_order(tmp_path: Path) -> None:
    """New requests are refused meanwhile, and a worker and an edge are killed."""
    quiet = neighbour("room0")
    async with service(tmp_path, Single(tmp_path)) as scenario:
        users, deployment = scenario.users, scenario.deployment
        await users.command("observer0", "room0", "#create")
        await users.command("observer1", quiet, "#create")
        await users.command("u1", "room0", "#join")
        await users.command("u2", "room0", "#join")
        await scenario.wait_until_idle()
        before = memory_kb(deployment)
        for worker in deployment.workers:
            await asyncio.to_thread(worker.end)
        marks = await asyncio.to_thread(pile_up, deployment.redis.primaries()[0], "room0", quiet)
        users.history.sent += [Sent("room0", "u1", mark, accepted=True, at=0.0) for mark in marks]
        assert await users.retry_after(deployment.edge_ports[0]) > 0
        for worker in deployment.workers:
            worker.start()
        await until_below(scenario, ENTRIES * 3 // 4)
        await asyncio.to_thread(deployment.workers[0].end)
        await asyncio.to_thread(deployment.edges[0].end)
        deployment.workers[0].start()
        deployment.edges[0].start()
        await until_below(scenario, ENTRIES // 4)
        assert memory_kb(deployment) < before + 100_000
        await scenario.wait_until_idle(400)
        await scenario.users.command("u1", "room0", "#list")
        assert await asyncio.to_thread(options, deployment.edge_ports[1]) == 200
        verdict = users.history.check({"room0": "observer0"})
        assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3], verdict.reordered[:3])
        assert verdict.deliveries - verdict.duplicates == 2 * len(marks)


async def until_below(scenario: Scenario, entries: int) -> None:
    async with asyncio.timeout(400):
        while await asyncio.to_thread(backlog, scenario.redis) > entries:
            await asyncio.sleep(0.2)


async def test_500_restarts_of_a_worker_leave_no_groups_consumers_or_leases(tmp_path: Path) -> None:
    """Half of them by SIGKILL, under load."""
    async with service(tmp_path, Single(tmp_path), IMC_LEASE_TTL="1") as scenario:
        users = scenario.users
        await users.command("observer0", "room0", "#create")
        (steady, replaced) = scenario.deployment.workers
        await asyncio.to_thread(replaced.end)
        command = [sys.executable, "-c", FORKED, str(RESTARTS)]
        restarted = Process("restarted", command, tmp_path, replaced.env).start()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(scenario.talk(f"u{number + 1}", "room0"))
                while restarted.alive:
                    await asyncio.sleep(0.5)
                scenario.stop_talking.set()
        finally:
            restarted.end()
        await scenario.wait_until_idle()
        await asyncio.sleep(3)  # the lease and heartbeat of the last one expire
        assert await asyncio.to_thread(leftovers, scenario.redis) == []
        assert await scenario.cli("ZCARD", keys.WORKERS) == "1"
        assert steady.alive
        verdict = users.history.check({"room0": "observer0"})
        assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def test_memory_keys_and_files_do_not_grow_under_repeated_load(tmp_path: Path) -> None:
    """After a second round of the same load there is no more than after the first."""
    async with service(tmp_path, Single(tmp_path)) as scenario:
        for number in range(4):
            await scenario.users.command(f"observer{number}", f"room{number}", "#create")
        measures = [await round_of_load(scenario, f"r{number}.") for number in range(2)]
        assert measures[0]["keys"] == measures[1]["keys"]
        assert measures[0]["entries"] == measures[1]["entries"] == 0
        assert measures[1]["open files"] <= measures[0]["open files"]
        assert measures[1]["bytes of Redis"] < measures[0]["bytes of Redis"] + (1 << 20)
        assert measures[1]["kB of processes"] < measures[0]["kB of processes"] + 12_000


async def round_of_load(scenario: Scenario, name: str) -> dict[str, int]:
    """Half a minute of users who join, talk and leave; returns the sizes when remembered requests expired."""
    scenario.stop_talking.clear()
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(visit(scenario, number, name))
        await asyncio.sleep(30)
        scenario.stop_talking.set()
    await scenario.wait_until_idle()
    await asyncio.sleep(RETRANSMISSION_SECONDS + 1)
    about = dict(
        line.split(":", 1) for line in (await scenario.cli("INFO", "memory")).splitlines() if ":" in line
    )
    names = (await scenario.cli("--scan")).split()
    return {
        # without leases: a process that the machine does not let run for some seconds has none for a moment
        "keys": sum(":lease:" not in name for name in names),
        "entries": await asyncio.to_thread(backlog, scenario.redis),
        "open files": open_files(scenario.deployment),
        "bytes of Redis": int(about["used_memory"]),
        "kB of processes": memory_kb(scenario.deployment),
    }


async def visit(scenario: Scenario, number: int, name: str) -> None:
    """A user who joins, talks and leaves in a loop."""
    user, room = f"u{number + 1}", f"room{number % 4}"
    said = 0
    while not scenario.stop_talking.is_set():
        await scenario.users.command(user, room, "#join")
        for _ in range(5):
            said += 1
            await scenario.users.say(user, room, f"{name}{user}.{said}")
        await scenario.users.command(user, room, "#exit")
