"""A phone that is there and fails on one message gets all others; a phone that is off loses nothing.

Real edges, workers and servers. Nobody is sent a copy of a REGISTER, unless a test says so: then probes alone
have to find out which of the two it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import sipmessage

from imc_common import keys
from imc_common.settings import Settings
from tests.integration.conftest import OpenUser
from tests.integration.service import Service, service
from tests.integration.sip_user import SipUser
from tests.integration.test_away import a_name, in_a_room, register, told
from tests.patience import PATIENCE

pytestmark = pytest.mark.integration

POISON = "too long for this phone"


@pytest.fixture(scope="module")
def imc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An edge and a worker; the rooms keep messages."""
    settings = {"history_max_messages": "500"}
    with service(tmp_path_factory.mktemp("stuck"), "redis", settings) as running:
        yield running


class Phone:
    """Fails on the text `POISON`, and takes all others while it is on. `shown` are the texts that it took."""

    def __init__(self, user: SipUser, status: int) -> None:
        self._status = status
        self._known: set[str] = set()
        self.is_on = True
        self.shown: list[str] = []
        user.status_for = self._status_for

    def _status_for(self, request: sipmessage.Request) -> int:
        text = request.body.decode().rpartition(">: ")[2]
        if POISON in text or not self.is_on:
            return self._status
        if request.call_id not in self._known and "<state>" not in text:
            self._known.add(request.call_id)
            self.shown.append(text)
        return 200


async def until_shown(phone: Phone, texts: list[str], user: SipUser | None = None) -> None:
    """The phone shows exactly these texts, in this order. ``user`` registers again and again meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while len(phone.shown) < len(texts):
            await asyncio.sleep(0.5)
            if user is not None:
                await register(user)
    assert phone.shown == texts


@asynccontextmanager
async def due_probes(imc: Service, user: SipUser) -> AsyncIterator[None]:
    """The probes of the user are due all the time."""
    names = [keys.probes(shard) for shard in range(1 << Settings().hash_size)]

    async def hurry() -> None:
        while True:
            for name in names:
                imc.redis.zadd(name, {user.address: 1}, xx=True)
            await asyncio.sleep(0.2)

    hurrying = asyncio.create_task(hurry())
    try:
        yield
    finally:
        hurrying.cancel()


def given_up(imc: Service, user: SipUser) -> list[str]:
    """Who wrote the messages that this user has lost, as the records say."""
    return [
        entry[b"user"].decode()
        for shard in range(1 << Settings().hash_size)
        for _, entry in imc.redis.xrange(keys.undelivered(shard))
        if entry[b"status"] == b"refused" and entry[b"from"].decode() == user.address
    ]


@pytest.mark.parametrize("status", [503, 480])
@pytest.mark.parametrize("registers", [False, True])
async def test_a_phone_that_fails_on_one_message_gets_all_others(
    imc: Service, open_user: OpenUser, room: str, status: int, registers: bool
) -> None:
    """In order, and the one that it does not get is counted and recorded."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    phone = Phone(carol, status)
    texts = await told(alice, room, 0, 2)
    await until_shown(phone, texts)
    await alice.say(room, POISON)
    texts += await told(alice, room, 2, 3)
    if registers:
        await until_shown(phone, texts, carol)
    else:
        async with due_probes(imc, carol):
            await until_shown(phone, texts)
    texts += await told(alice, room, 5, 1)
    await until_shown(phone, texts)
    assert given_up(imc, carol) == [alice.address]


@pytest.mark.parametrize("status", [503, 480])
async def test_a_phone_that_is_off_for_many_probes_loses_nothing(
    imc: Service, open_user: OpenUser, room: str, status: int
) -> None:
    """Nor does one that takes nothing but what nobody sees."""
    alice, carol = await open_user(a_name()), await open_user(a_name())
    await in_a_room(room, alice, carol)
    phone = Phone(carol, status)
    phone.is_on = False
    texts = await told(alice, room, 0, 12)
    async with due_probes(imc, carol), asyncio.timeout(PATIENCE):
        while sum("<state>" in body for _, body in carol.arrivals) < 4:
            await asyncio.sleep(0.1)
        assert phone.shown == []
        phone.is_on = True
        await until_shown(phone, texts)
    assert given_up(imc, carol) == []
