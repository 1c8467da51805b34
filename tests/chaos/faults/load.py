"""Faults caused by users: requests that always fail, overload, recipients that never respond."""

from __future__ import annotations

import asyncio
import signal

from imc_common import keys
from tests.chaos.faults.injector import PATIENCE_SECONDS, Fault, FaultInjector
from tests.chaos.proxy import Absence
from tests.chaos.servers import redis_cli
from tests.chaos.users import DOMAIN
from tests.processes import wait_until

MAX_BACKLOG = 50
"""The `max_backlog` of a run: requests waiting in a shard before it gets 503."""
CROWD_ROOM = "crowd"
CROWD = [f"u{number}" for number in range(5000, 5000 + MAX_BACKLOG * 3 // 2)]
MAX_BURSTS = 20


async def send_failing_request(injector: FaultInjector) -> None:
    """Send a request whose script always fails, because a key of the room has the wrong type."""
    room = f"failing{len(injector.target.failing_rooms)}"
    address = f"{room}@{DOMAIN}"
    key = keys.Keys().room(keys.shard_of(address, 4), address)
    port = await injector.primary()
    stored = f"SET {key} wrong-type\nWAIT {int(injector.redis.replicas)} 1000\n"
    wanted = ["OK", str(int(injector.redis.replicas))]

    def written() -> bool:
        ports = injector.redis.primaries() or [port]
        replies = redis_cli(ports[0], "-c", script=stored, seconds=5).splitlines()
        said = [line for line in replies if not line.startswith("->")]
        return len(said) == 2 and said[0] == wanted[0] and said[1] >= wanted[1]

    await asyncio.to_thread(wait_until, written, "a key of the wrong type", PATIENCE_SECONDS)
    injector.target.failing_rooms.append(room)
    await injector.target.users.command("failing-sender", room, "#join")


async def overload(injector: FaultInjector) -> None:
    """While all workers are suspended, send more messages at once to one room than its shard accepts."""
    users = injector.target.users
    if CROWD_ROOM not in users.rooms:
        await users.command("crowdobserver", CROWD_ROOM, "#create")
        users.rooms[CROWD_ROOM] = "crowdobserver"  # from now on others may join it
        await asyncio.gather(*(users.command(user, CROWD_ROOM, "#join") for user in CROWD))
    for burst in range(MAX_BURSTS):
        workers = injector.deployment.all_workers()
        for worker in workers:
            worker.send(signal.SIGSTOP)
        number = injector.target.done["overload"]
        statuses = await asyncio.gather(
            *(users.say_once(user, CROWD_ROOM, f"{user}.{number}.{burst}") for user in CROWD)
        )
        for worker in workers:
            worker.send(signal.SIGCONT)
        if 503 in statuses:
            return
        await asyncio.sleep(1)  # a worker that started after the others were suspended handled them all
    users.problems.append(f"no message of {MAX_BURSTS} bursts of {len(CROWD)} was refused")


async def silent_recipient(injector: FaultInjector) -> None:
    """A member ignores all deliveries, for longer than Timer F if the run is long enough."""
    target = injector.target
    user = f"silent{target.done['silent recipient']}"
    room = injector.random.choice(sorted(target.users.rooms))
    target.users.proxy.unchecked.add(user)
    await target.users.command(user, room, "#join")
    target.users.leave(user, Absence())
    await injector.wait(target.longest + 5)
    await target.users.command(user, room, "#exit")
    target.users.come_back(user)


LOAD: dict[str, Fault] = {"failing request": send_failing_request, "overload": overload}
RECIPIENTS: dict[str, Fault] = {"silent recipient": silent_recipient}
