"""Members go away in one of several ways, miss messages, and come back in one of several ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.chaos.faults.injector import Fault, FaultInjector
from tests.chaos.proxy import Absence

AWAY = (404, 408, 410, 430, *range(473, 481), 500, 502, 503, 504, 604)
"""What a registrar or proxy responds for a user who is not there."""
LANES = ("absences", "more absences", "yet more absences")
"""Several groups of users are away at the same time."""
PART = 0.5
"""Part of the longest time. What is missed meanwhile must not exceed `catch_up_max`."""
MAX_GROUP = 4
QUIET_SECONDS = 45.0
"""How long a user who came back unannounced waits for a probe before it talks again."""


async def refused(injector: FaultInjector) -> None:
    """The registrar in front of them says that they are not there."""
    await _go_away(injector, lambda: Absence(injector.random.choice(AWAY)))


async def silent(injector: FaultInjector) -> None:
    """Their phones are switched off, and nobody says so."""
    await _go_away(injector, Absence)


async def refused_late(injector: FaultInjector) -> None:
    """The proxy holds each request for a dead contact, and responds 408 when its own timer ends."""
    await _go_away(injector, lambda: Absence(408, delay=injector.random.uniform(1.0, 6.0)))


async def responses_lost(injector: FaultInjector) -> None:
    """Their phones get everything, but the proxy never hears of it, and responds 408 or nothing."""
    late = Absence(408, delay=injector.random.uniform(0.2, 3.0), receives=True)
    await _go_away(injector, lambda: injector.random.choice((late, Absence(receives=True))))


async def one_way(injector: FaultInjector) -> None:
    """They are unreachable and go on talking, each message being a sign that they are there."""
    await _go_away(injector, lambda: Absence(injector.random.choice((480, 503, 0))), talks=True)


async def deregistered(injector: FaultInjector) -> None:
    """They log out: the proxy copies the REGISTER that ends their registration."""
    await _go_away(injector, lambda: Absence(480), says_so=True)


async def flicker(injector: FaultInjector) -> None:
    """They come and go, several times within seconds."""
    for _ in range(injector.random.randint(2, 5)):
        await _go_away(injector, lambda: Absence(injector.random.choice((480, 0))), longest=1.5)


async def room_gone(injector: FaultInjector) -> None:
    """All who talk in one room go at once, and are back at once: their registrar restarts."""
    room = injector.random.choice(sorted(injector.target.members))
    group = _present(injector, injector.target.members[room])
    seconds = injector.random.uniform(0.1, PART) * injector.target.longest
    await asyncio.gather(*(_be_away(injector, user, Absence(480), seconds, "register") for user in group))


async def proxy_gone(injector: FaultInjector) -> None:
    """The socket of the proxy closes, and is opened again before Timer F ends any delivery.

    In a busy room too much may wait meanwhile, so that notices end as `surplus`.
    """
    proxy = injector.target.users.proxy
    if not proxy.is_open:  # by another lane, which opens it again
        return
    injector.target.users.been_absent.update(proxy.heard)
    port = injector.deployment.proxy_port
    proxy.close()
    await asyncio.sleep(0.1)  # the socket closes in the next turn of the event loop; the run may be over now
    await injector.wait(injector.random.uniform(0.1, 0.3) * injector.target.longest)
    await proxy.open(port)


async def _go_away(
    injector: FaultInjector,
    absence: Callable[[], Absence],
    *,
    longest: float | None = None,
    talks: bool = False,
    says_so: bool = False,
) -> None:
    """Some members go away at once. Each is back after a time of its own, in a way of its own."""
    everyone = sorted(user for users in injector.target.members.values() for user in users)
    group = _present(injector, everyone)
    random = injector.random
    random.shuffle(group)
    longest = PART * injector.target.longest if longest is None else longest
    plans = [
        (user, absence(), random.uniform(0.1, 1) * longest, random.choice(("message", "register", "nothing")))
        for user in group[: random.randint(1, MAX_GROUP)]
    ]
    if says_so:
        await asyncio.gather(*(injector.target.users.register(plan[0], 0) for plan in plans))
    await asyncio.gather(*(_be_away(injector, *plan, talks=talks) for plan in plans))


def _present(injector: FaultInjector, users: list[str]) -> list[str]:
    return [user for user in users if user not in injector.target.users.proxy.absent]


async def _be_away(
    injector: FaultInjector, user: str, absence: Absence, seconds: float, by: str, *, talks: bool = False
) -> None:
    users = injector.target.users
    users.leave(user, absence, talks=talks)
    await injector.wait(seconds)
    users.come_back(user)
    heard = users.proxy.heard[user]
    if by == "register":
        await users.register(user, 3600)
    if by != "message":  # its own message would be a sign, too
        for _ in range(int(QUIET_SECONDS / 0.1)):
            if users.proxy.heard[user] != heard or injector.target.stop.is_set():
                break
            await injector.wait(0.1)
    users.talk_again(user)


ABSENCES: dict[str, Fault] = {
    "refused by proxy": refused,
    "phone silent": silent,
    "late 408": refused_late,
    "responses lost": responses_lost,
    "one way": one_way,
    "deregistered": deregistered,
    "flicker": flicker,
    "room gone": room_gone,
    "proxy gone": proxy_gone,
}
