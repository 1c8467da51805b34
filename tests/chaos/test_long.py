"""What only shows after long: a backlog of a million, five hundred restarts, nothing that grows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from zlib import crc32

import pytest
import redis

from imc_common import keys
from imc_common.rooms.request import RequestData
from tests.chaos.case import Case, memory_kb, open_files, service
from tests.chaos.history import Sent
from tests.chaos.plant import Process
from tests.chaos.servers import Single
from tests.chaos.streams import backlog, unrest
from tests.chaos.users import DOMAIN
from tests.integration.service import options

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(900)]

ENTRIES = 1_000_000
EACH = 500
"""Every so many entries, one is said aloud."""
RESTARTS = 500
SEEN_SECONDS = 64
"""For so long a request is remembered, so that it is known when it comes again."""

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
"""A worker that is started again and again, without loading Python and its modules each time."""


def neighbour(room: str) -> str:
    """Another room of the same shard."""
    shard = keys.shard_of(f"{room}@{DOMAIN}", 4)
    return next(f"q{n}" for n in range(1000) if crc32(f"q{n}@{DOMAIN}".encode()) & 15 == shard)


def request(user: str, room: str, text: str) -> dict[str, str | bytes]:
    """An entry of an in-stream."""
    data = RequestData("text/plain", text.encode()).pack()
    about = {"type": "message", "from": f"{user}@{DOMAIN}", "room": f"{room}@{DOMAIN}"}
    return {**about, "call_id": text, "at": "1700000000000", "data": data}


def pile_up(port: int, room: str, quiet: str) -> list[str]:
    """A million requests in one shard, most of them to nobody; the marks of the others, in order."""
    client = redis.Redis(port=port)
    stream = keys.requests(keys.shard_of(f"{room}@{DOMAIN}", 4))
    filler = [part for pair in request("anchor1", quiet, "to nobody").items() for part in pair]
    fill = client.register_script(
        "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2)) end"
    )
    marks = [f"u1.{number}" for number in range(ENTRIES // EACH)]
    for mark in marks:
        fill([stream], [EACH - 1, *filler])
        client.xadd(stream, request("u1", room, f"mark={mark}"))  # type: ignore[arg-type]
    client.close()
    return marks


async def test_row_17_a_backlog_of_a_million_is_worked_off_in_order(tmp_path: Path) -> None:
    """New requests are refused meanwhile; a worker and an edge die in the middle; all is delivered once."""
    quiet = neighbour("room0")
    async with service(tmp_path, Single(tmp_path)) as case:
        users, plant = case.users, case.plant
        await users.command("anchor0", "room0", "#create")
        await users.command("anchor1", quiet, "#create")
        await users.command("u1", "room0", "#join")
        await users.command("u2", "room0", "#join")
        await case.come_to_rest()
        before = memory_kb(plant)
        for worker in plant.workers:
            await asyncio.to_thread(worker.end)
        marks = await asyncio.to_thread(pile_up, plant.redis.primaries()[0], "room0", quiet)
        users.history.sent += [Sent("room0", "u1", mark, accepted=True, at=0.0) for mark in marks]
        assert await users.retry_after(plant.edge_ports[0]) > 0
        for worker in plant.workers:
            worker.start()
        await until_below(case, ENTRIES * 3 // 4)
        await asyncio.to_thread(plant.workers[0].end)
        await asyncio.to_thread(plant.edges[0].end)
        plant.workers[0].start()
        plant.edges[0].start()
        await until_below(case, ENTRIES // 4)
        assert memory_kb(plant) < before + 100_000
        await case.come_to_rest(400)
        await case.users.command("u1", "room0", "#list")
        assert await asyncio.to_thread(options, plant.edge_ports[1]) == 200
        verdict = users.history.judge({"room0": "anchor0"})
        assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3], verdict.reordered[:3])
        assert verdict.deliveries - verdict.repeats == 2 * len(marks)


async def until_below(case: Case, entries: int) -> None:
    async with asyncio.timeout(400):
        while await asyncio.to_thread(backlog, case.redis) > entries:
            await asyncio.sleep(0.2)


async def test_row_18_five_hundred_restarts_leave_one_consumer(tmp_path: Path) -> None:
    """Half of them by SIGKILL, under load: no group, consumer, lease or heartbeat of the dead is left."""
    async with service(tmp_path, Single(tmp_path), IMC_LEASE_TTL="1") as case:
        users = case.users
        await users.command("anchor0", "room0", "#create")
        (steady, replaced) = case.plant.workers
        await asyncio.to_thread(replaced.end)
        command = [sys.executable, "-c", FORKED, str(RESTARTS)]
        restarted = Process("restarted", command, tmp_path, replaced.env).start()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(case.talk(f"u{number + 1}", "room0"))
                while restarted.alive:
                    await asyncio.sleep(0.5)
                case.silence.set()
        finally:
            restarted.end()
        await case.come_to_rest()
        await asyncio.sleep(3)  # the last one's lease and heartbeat end
        assert await asyncio.to_thread(unrest, case.redis) == []
        assert await case.cli("ZCARD", keys.WORKERS) == "1"
        assert steady.alive
        verdict = users.history.judge({"room0": "anchor0"})
        assert verdict.ok, (verdict, verdict.lost[:3], verdict.doubled[:3])


async def test_nothing_grows(tmp_path: Path) -> None:
    """Two rounds of the same load: at rest after the second there is no more than after the first."""
    async with service(tmp_path, Single(tmp_path)) as case:
        for number in range(4):
            await case.users.command(f"anchor{number}", f"room{number}", "#create")
        measures = [await round_of_load(case, f"r{number}.") for number in range(2)]
        assert measures[0]["keys"] == measures[1]["keys"]
        assert measures[0]["entries"] == measures[1]["entries"] == 0
        assert measures[1]["open files"] <= measures[0]["open files"]
        assert measures[1]["bytes of Redis"] < measures[0]["bytes of Redis"] + (1 << 20)
        assert measures[1]["kB of processes"] < measures[0]["kB of processes"] + 12_000


async def round_of_load(case: Case, name: str) -> dict[str, int]:
    """Half a minute of talking, joining and leaving; what is there when all helpers' time is over."""
    case.silence.clear()
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(visit(case, number, name))
        await asyncio.sleep(30)
        case.silence.set()
    await case.come_to_rest()
    await asyncio.sleep(SEEN_SECONDS + 1)
    about = dict(
        line.split(":", 1) for line in (await case.cli("INFO", "memory")).splitlines() if ":" in line
    )
    return {
        "keys": int(await case.cli("DBSIZE")),
        "entries": await asyncio.to_thread(backlog, case.redis),
        "open files": open_files(case.plant),
        "bytes of Redis": int(about["used_memory"]),
        "kB of processes": memory_kb(case.plant),
    }


async def visit(case: Case, number: int, name: str) -> None:
    """A user who comes, talks and goes, again and again."""
    user, room = f"u{number + 1}", f"room{number % 4}"
    said = 0
    while not case.silence.is_set():
        await case.users.command(user, room, "#join")
        for _ in range(5):
            said += 1
            await case.users.say(user, room, f"{name}{user}.{said}")
        await case.users.command(user, room, "#exit")
