"""What users do: requests that cannot be handled, more than can be taken, recipients that never answer."""

from __future__ import annotations

import asyncio
import signal

from imc_common import keys
from tests.chaos.faults.saboteur import PATIENCE_SECONDS, Fault, Saboteur
from tests.chaos.plant import wait_until
from tests.chaos.servers import redis_cli
from tests.chaos.users import DOMAIN

MAX_BACKLOG = 50
"""What the run's service takes for each shard before it says 503."""
CROWD_ROOM = "crowd"
CROWD = [f"u{number}" for number in range(5000, 5000 + MAX_BACKLOG * 3 // 2)]
MOST_BURSTS = 20


async def poison(saboteur: Saboteur) -> None:
    """A request whose script fails each time it is tried, because its room's key is of another type."""
    room = f"poison{len(saboteur.site.poisoned)}"
    address = f"{room}@{DOMAIN}"
    key = keys.Keys().room(keys.shard_of(address, 4), address)
    port = await saboteur.primary()
    kept = f"SET {key} poison\nWAIT {int(saboteur.redis.replicas)} 1000\n"
    wanted = ["OK", str(int(saboteur.redis.replicas))]

    def planted() -> bool:
        ports = saboteur.redis.primaries() or [port]
        replies = redis_cli(ports[0], "-c", script=kept, seconds=5).splitlines()
        said = [line for line in replies if not line.startswith("->")]
        return len(said) == 2 and said[0] == wanted[0] and said[1] >= wanted[1]

    await asyncio.to_thread(wait_until, planted, "a poisoned room", PATIENCE_SECONDS)
    saboteur.site.poisoned.append(room)
    await saboteur.site.users.command("poisoner", room, "#join")


async def overload(saboteur: Saboteur) -> None:
    """While all workers stand still, more is said at once in one room than its shard takes."""
    users = saboteur.site.users
    if CROWD_ROOM not in users.rooms:
        users.rooms[CROWD_ROOM] = "crowdanchor"
        await users.command("crowdanchor", CROWD_ROOM, "#create")
        await asyncio.gather(*(users.command(user, CROWD_ROOM, "#join") for user in CROWD))
    for burst in range(MOST_BURSTS):
        workers = saboteur.plant.all_workers()
        for worker in workers:
            worker.send(signal.SIGSTOP)
        number = saboteur.site.done["overload"]
        answers = await asyncio.gather(
            *(users.say_once(user, CROWD_ROOM, f"{user}.{number}.{burst}") for user in CROWD)
        )
        for worker in workers:
            worker.send(signal.SIGCONT)
        if 503 in answers:
            return
        await asyncio.sleep(1)  # a worker that began after the others were stopped took it all
    users.problems.append(f"{MOST_BURSTS} bursts of {len(CROWD)}, and none was refused")


async def silent_recipient(saboteur: Saboteur) -> None:
    """A member that takes nothing and answers nothing, for longer than anybody tries if there is time."""
    site = saboteur.site
    user = f"deaf{site.done['silent recipient']}"
    room = saboteur.random.choice(sorted(site.users.rooms))
    site.users.unheard.add(user)
    await site.users.command(user, room, "#join")
    site.users.silent.add(user)
    await saboteur.wait(site.longest + 5)
    await site.users.command(user, room, "#exit")
    site.users.silent.discard(user)


LOAD: dict[str, Fault] = {"poison": poison, "overload": overload}
RECIPIENTS: dict[str, Fault] = {"silent recipient": silent_recipient}
